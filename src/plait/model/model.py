"""The model: encoders → fusion → heads. It composes, nothing else."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from plait.data.targets.scores import Scores
from plait.model.decoders.base import Decoder
from plait.model.encoders.base import Encoder
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.heads.base import Head
from plait.model.tokens import ColumnBatch, Fused, Tokens, cells_in

AUXILIARY = "auxiliary/"
"""Before the name of a loss that belongs to no target."""


FOLLOW = 0.1
"""Weight of the decoders' loss where it teaches nobody but them; what it does to others is nothing."""


class Trainable(nn.Module):
    """What `plait.training.loop.Trainer` trains: it turns a batch into losses."""

    @abstractmethod
    def row_losses(
        self, batch: Mapping[str, ColumnBatch], targets: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each loss a row, by target, or by a name after `AUXILIARY`."""


class Model(Trainable):
    """Encoders, a fusion and heads, all injected.

    Args:
        streams: stream name → the columns its encoder reads, in order.
        encoders: stream name → encoder; two streams may share one.
        fusion: fuses the streams.
        heads: target name → head.
        modality_dropout: chance that a present stream is hidden from a training row; a row always
            keeps at least one of its streams (Neverova et al. 2016, ModDrop).
        unimodal_loss: weight of an auxiliary loss for which each stream answers by itself (Wang et al.
            2020, Gradient-Blending, with fixed weights), so that no encoder is left untrained because
            another is quicker to learn.
        decoders: column → what rebuilds its cells from the fused vector; may be empty.
        reconstruct: weight of the loss by which the fused vector has to rebuild its columns (the mean
            over them). At 0 the decoders only follow: they learn, and encoders and fusion do not.
    """

    def __init__(
        self,
        *,
        streams: Mapping[str, Sequence[str]],
        encoders: Mapping[str, Encoder],
        fusion: Fusion,
        heads: Mapping[str, Head],
        modality_dropout: float = 0.0,
        unimodal_loss: float = 0.0,
        decoders: Mapping[str, Decoder] | None = None,
        reconstruct: float = 0.0,
    ) -> None:
        super().__init__()
        self.streams = {name: tuple(columns) for name, columns in streams.items()}
        self.targets = list(heads)
        # Names are the user's and may hold dots; torch's module names may not.
        self.encoders = nn.ModuleList(encoders[name] for name in self.streams)
        self.fusion = fusion
        self.heads = nn.ModuleList(heads.values())
        self.modality_dropout = modality_dropout
        self.unimodal_loss = unimodal_loss if len(self.streams) > 1 and not fusion.voting else 0.0
        self.emphasis: Tensor | None = None
        """Factors of each stream's own loss, then of the fused answer's, while training; None: 1."""
        self.voices = (
            StreamVectors(fusion.widths, width=fusion.width) if self.unimodal_loss else None
        )
        self.rebuilt = list(decoders or {})
        self.decoders = nn.ModuleList((decoders or {}).values())
        self.reconstruct = reconstruct

    def encode(self, batch: Mapping[str, ColumnBatch]) -> dict[str, Tokens]:
        """Each stream's tokens."""
        return {
            name: encoder(*(batch[column] for column in columns))
            for (name, columns), encoder in zip(self.streams.items(), self.encoders, strict=True)
        }

    def fuse(self, tokens: dict[str, Tokens], keep: Sequence[str] | None = None) -> Fused:
        """Fuse the tokens; ``keep`` names the streams that may be seen (None: all)."""
        if keep is not None:
            tokens = {
                name: stream
                if name in keep
                else Tokens(stream.values, torch.zeros_like(stream.mask))
                for name, stream in tokens.items()
            }
        elif self.training and self.modality_dropout:
            tokens = drop_streams(tokens, self.modality_dropout)
        return self.fusion(tokens)

    def answer(self, fused: Fused) -> dict[str, Shaped[Tensor, "batch ..."]]:
        """Each target's logits."""
        return {name: head(fused) for name, head in zip(self.targets, self.heads, strict=True)}

    def scores(self, fused: Fused) -> dict[str, Scores]:
        """Each target's scores: probabilities, standardised numbers, or sequences."""
        return {
            name: head.numpy_scores(head(fused))  # type: ignore[operator]
            for name, head in zip(self.targets, self.heads, strict=True)
        }

    def forward(self, batch: Mapping[str, ColumnBatch]) -> dict[str, Shaped[Tensor, "batch ..."]]:
        """Prepared columns to logits."""
        return self.answer(self.fuse(self.encode(batch)))

    def row_losses(
        self, batch: Mapping[str, ColumnBatch], targets: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each target's loss a row, zero where that target is missing.

        What a fusion adds (``Fused.losses``) comes under its name after `AUXILIARY`.
        """
        tokens = self.encode(batch)
        return self.losses(tokens, self.fuse(tokens), batch, targets)

    def losses(
        self,
        tokens: dict[str, Tokens],
        fused: Fused,
        batch: Mapping[str, ColumnBatch],
        targets: Mapping[str, Tensor],
    ) -> dict[str, Float[Tensor, " batch"]]:
        """`row_losses` of a batch that is encoded and fused."""
        losses = {}
        for name, head in zip(self.targets, self.heads, strict=True):
            losses[name] = head.row_loss(fused, targets[name], self.emphasis)  # type: ignore[operator]
            if self.voices is not None:
                vectors, present = self.voices(tokens)
                losses[name] = (
                    losses[name]
                    + self.unimodal_loss
                    * head.votes_loss(  # type: ignore[operator]
                        Tokens(vectors, present),
                        targets[name],
                        emphasis=None if self.emphasis is None else self.emphasis[:-1],
                    )
                )
        for name, loss in (fused.losses or {}).items():
            losses[AUXILIARY + name] = loss
        if self.rebuilt:
            weight = self.reconstruct or FOLLOW
            vector = fused.vector if self.reconstruct else fused.vector.detach()
            for name, loss in self.rebuild_losses(Fused(vector), batch).items():
                losses[name] = weight * loss
        return losses

    def rebuild_losses(
        self, fused: Fused, batch: Mapping[str, ColumnBatch]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each column's loss of reconstruction over the number of columns, zero where it is missing."""
        return {
            f"{AUXILIARY}rebuild {name}": decoder.loss(decoder(fused), cells_in(batch, name))  # type: ignore[operator]
            / len(self.rebuilt)
            for name, decoder in zip(self.rebuilt, self.decoders, strict=True)
        }


def drop_streams(tokens: dict[str, Tokens], rate: float) -> dict[str, Tokens]:
    """Hide each present stream of a row with chance ``rate``, never the last one."""
    present = torch.stack([stream.present for stream in tokens.values()], dim=1)
    shown = _keep_one(torch.rand(present.shape, device=present.device), present, rate)
    return {
        name: Tokens(stream.values, stream.mask & shown[:, index, None])
        for index, (name, stream) in enumerate(tokens.items())
    }


def _keep_one(
    chance: Float[Tensor, "batch streams"], present: Bool[Tensor, "batch streams"], rate: float
) -> Bool[Tensor, "batch streams"]:
    """Which streams stay: each with chance ``1 - rate``, and always the row's luckiest present one."""
    luckiest = torch.where(present, chance, -1.0).argmax(dim=1, keepdim=True)
    return (chance >= rate).scatter(1, luckiest, True)
