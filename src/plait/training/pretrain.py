"""Pretraining: encoders, fusion and decoders learn to rebuild the cells, before any target is read."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.infer import BATCH
from plait.model.loader import Batch, Loader, collate
from plait.model.masking import hide
from plait.model.model import AUXILIARY, Model, Trainable, drop_streams
from plait.model.tokens import ColumnBatch
from plait.training.job import Job
from plait.training.loop import Trainer
from plait.training.session import Session

HIDDEN = 0.5
"""Chance that masked pretraining hides a present stream from a row; one always stays."""


class Autoencoder(Trainable):
    """The model seen as an autoencoder: its losses are those of rebuilding, and no target counts.

    Plain (Hinton & Salakhutdinov 2006): a row's cells, encoded and fused, have to come out again;
    modality dropout acts as the model has it. Masked: parts of every cell are hidden
    (`plait.model.masking`), each present stream is hidden with chance .5, and the whole cells have to
    come out, so that what is hidden is learnt from the other streams. What a fusion wants to be
    trained on besides (``Fused.losses``) is added.

    Heads learn nothing here; nor do a fusion's parts that only its votes use.
    """

    def __init__(self, model: Model, modalities: Mapping[str, str], *, masked: bool) -> None:
        super().__init__()
        self.model = model
        self.modalities = dict(modalities)
        self.masked = masked

    def row_losses(
        self, batch: Mapping[str, ColumnBatch], targets: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each column's loss over the number of columns, a row; zero where its cell is missing."""
        if self.masked:
            tokens = self.model.encode(hide(batch, self.modalities))
            fused = self.model.fusion(drop_streams(tokens, HIDDEN))
        else:
            fused = self.model.fuse(self.model.encode(batch))
        losses = self.model.rebuild_losses(fused, batch)
        losses |= {AUXILIARY + name: loss for name, loss in (fused.losses or {}).items()}
        return losses


def rows_to_rebuild(
    rows: int,
    train: Int64[np.ndarray, " train"],
    validation: Int64[np.ndarray, " held"],
    groups: Sequence[object] | None = None,
) -> Int64[np.ndarray, " all"]:
    """The training rows, and the rows without any target, which rebuilding can use as well.

    A row without a target that shares its group with a validation row stays out.
    """
    known = np.zeros(rows, bool)
    known[train] = known[validation] = True
    others = np.flatnonzero(~known)
    if groups is not None:
        held = {str(groups[row]) for row in validation.tolist()}
        others = others[[str(groups[row]) not in held for row in others.tolist()]]
    return np.sort(np.concatenate([train, others])).astype(np.int64)


def pretrain(
    model: Model, job: Job, rows: Int64[np.ndarray, " rows"], session: Session
) -> list[dict[str, float]]:
    """Pretrain a model in place; it keeps the weights of the epoch that rebuilt held-out rows best.

    It is the one training loop over an `Autoencoder`: as seeded, as resumable, as careful with a NaN.
    Cells are not augmented. Masked pretraining hides the same parts of the validation rows each time.

    Args:
        rows: to learn from; no target of theirs is read.

    Returns:
        Losses by epoch.
    """
    columns, config = job.prepared.columns, job.loop_config
    autoencoder = Autoencoder(model, job.features.modalities, masked=config.pretrain == "masked")
    loader = Loader(columns, {}, rows, batch_size=config.batch_size, seed=config.seed)

    def validate(learner: Autoencoder) -> dict[str, float]:
        loss = held_out_loss(learner, columns, job.data.validation, seed=config.seed)
        return {"score": -loss, "loss": loss}

    trainer = Trainer(autoencoder, loader, validate, config, session)
    if job.resume and trainer.resume():
        at = trainer.progress
        job.reporter.note(f"pretraining resumed at epoch {at.epoch + 1}, step {at.step}")
    return trainer.run().history


@torch.no_grad()
def held_out_loss(
    autoencoder: Autoencoder,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    *,
    seed: int,
) -> float:
    """The mean loss over some rows; what is hidden from them depends on the seed alone."""
    device = next(autoencoder.parameters()).device
    autoencoder.eval()
    torch.manual_seed(seed)
    total = 0.0
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        batch = Batch(part, collate(columns, part), {}).to(device)
        losses = autoencoder.row_losses(batch.columns, {})
        total += float(torch.stack(list(losses.values())).sum())
    return total / max(1, len(rows))
