"""Hiding parts of a batch's cells, for masked pretraining: what is hidden has to be guessed.

Subwords as in BERT (Devlin et al. 2019, section 3.1), patches as in the MAE of He et al. (2022)
and VideoMAE, stretches of sounds and signals, and whole cells of a table. All randomness comes from
torch's global generator.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from plait.model.tokens import CELLS, ColumnBatch, fold_frames, unfold_frames

WORDS = 0.3
"""Share of a text's subwords that are hidden."""

PARTS = 0.5
"""Share of the patches of an image or video, and of a sound's or signal's stretches."""

FIELDS = 0.3
"""Share of the numbers, categories and dates."""

PATCHES = 8
"""Patches a side of an image."""

STRETCH = 8
"""Steps of a sound or signal that are hidden together."""


def hide(
    columns: Mapping[str, ColumnBatch], modalities: Mapping[str, str]
) -> dict[str, ColumnBatch]:
    """A batch with parts of its cells hidden; a cell that is missing stays so.

    Of a frozen encoder's tokens, beside which their cells are kept, some tokens are hidden.

    Args:
        columns: one batch.
        modalities: each column's modality; one that cannot be masked stays as it is.
    """
    hidden = dict(columns)
    for name, modality in modalities.items():
        mask = hide_tokens if name + CELLS in columns else MASKS.get(modality)
        if mask is not None and name in columns:
            hidden[name] = mask(columns[name])
    return hidden


def hide_tokens(column: ColumnBatch) -> ColumnBatch:
    """Some tokens become zeros, the mean of standardised ones."""
    hidden = torch.rand(column.mask.shape, device=column.mask.device) < PARTS
    return ColumnBatch(column.values.masked_fill(hidden.unsqueeze(-1), 0), column.mask)


def hide_words(column: ColumnBatch) -> ColumnBatch:
    """Some subwords become id 0, which no text holds."""
    hidden = torch.rand(column.mask.shape, device=column.mask.device) < WORDS
    return ColumnBatch(column.values.masked_fill(hidden, 0), column.mask)


def hide_patches(column: ColumnBatch) -> ColumnBatch:
    """Some patches take the image's mean colour."""
    values = column.values
    batch, height, width, _ = values.shape
    hidden = torch.rand(batch, PATCHES, PATCHES, device=values.device) < PARTS
    rows = torch.arange(height, device=values.device) * PATCHES // height
    across = torch.arange(width, device=values.device) * PATCHES // width
    mean = values.float().mean(dim=(1, 2), keepdim=True).to(values.dtype)
    shown = torch.where(hidden[:, rows][:, :, across].unsqueeze(-1), mean, values)
    return ColumnBatch(shown, column.mask)


def hide_tubes(column: ColumnBatch) -> ColumnBatch:
    """The same patches of every frame take that frame's mean colour.

    Tubes, as in VideoMAE (Tong et al. 2022, section 3.3): what is hidden cannot be looked up in the next
    frame.
    """
    shown = hide_patches(ColumnBatch(fold_frames(column.values), column.mask))
    return ColumnBatch(unfold_frames(shown.values, column.values.shape[1]), column.mask)


def hide_stretches(column: ColumnBatch) -> ColumnBatch:
    """Some stretches of time take the cell's mean."""
    real = column.mask.unsqueeze(-1)
    values = column.values.float() * real
    mean = values.sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True).clamp(min=1)
    shown = torch.where(_stretches(column.mask).unsqueeze(-1), mean, values) * real
    return ColumnBatch(shown.to(column.values.dtype), column.mask)


def _stretches(mask: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "batch steps"]:
    batch, steps = mask.shape
    count = -(-steps // STRETCH)
    hidden = torch.rand(batch, count, device=mask.device) < PARTS
    return hidden.repeat_interleave(STRETCH, dim=1)[:, :steps]


def hide_cell(column: ColumnBatch) -> ColumnBatch:
    """Some cells go missing."""
    shown = column.mask & (torch.rand(column.mask.shape, device=column.mask.device) >= FIELDS)
    return ColumnBatch(column.values, shown)


MASKS: dict[str, Callable[[ColumnBatch], ColumnBatch]] = {
    "image": hide_patches,
    "video": hide_tubes,
    "audio": hide_stretches,
    "signal": hide_stretches,
    "text": hide_words,
    "numeric": hide_cell,
    "categorical": hide_cell,
    "datetime": hide_cell,
}
"""Modality → how parts of it are hidden."""
