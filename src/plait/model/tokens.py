"""What passes between encoders, fusion and heads."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class ColumnBatch(NamedTuple):
    """One column's cells in a batch.

    ``values`` is ``[batch, ...]``, or ``[batch, steps, ...]`` padded with zeros when cells differ in
    length. ``mask`` is ``[batch]``, or ``[batch, steps]`` for such ragged cells: True is real, False is
    padding or a missing cell.
    """

    values: Shaped[Tensor, "batch ..."]
    mask: Bool[Tensor, "batch *steps"]

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """Which rows hold a cell at all."""
        return self.mask if self.mask.ndim == 1 else self.mask.any(dim=1)


def fold_frames(
    values: Shaped[Tensor, "batch frames height width_px channels"],
) -> Shaped[Tensor, "batch height width_px maps"]:
    """A clip as one picture of ``frames x channels`` channels, whose frames are treated alike."""
    return values.permute(0, 2, 3, 1, 4).flatten(3)


def unfold_frames(
    values: Shaped[Tensor, "batch height width_px maps"], frames: int
) -> Shaped[Tensor, "batch frames height width_px channels"]:
    """The clip that `fold_frames` laid flat."""
    return values.unflatten(3, (frames, -1)).permute(0, 3, 1, 2, 4)


class Tokens(NamedTuple):
    """An encoder's output. A sample whose stream is missing has no True in its row of the mask."""

    values: Float[Tensor, "batch tokens width"]
    mask: Bool[Tensor, "batch tokens"]

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """Which samples have this stream."""
        return self.mask.any(dim=1)


def stack_batches(parts: Sequence[Tokens]) -> Tokens:
    """Batches of one stream one after the other, padded with zeros to the longest of them."""
    pad, most = torch.nn.functional.pad, max(part.mask.shape[1] for part in parts)
    extra = [most - part.mask.shape[1] for part in parts]
    return Tokens(
        torch.cat([pad(part.values, (0, 0, 0, n)) for part, n in zip(parts, extra, strict=True)]),
        torch.cat([pad(part.mask, (0, n)) for part, n in zip(parts, extra, strict=True)]),
    )


def check_stream(what: str, stream: Any, width: int) -> None:
    """Raise TypeError or ValueError, in words, when ``stream`` is not `Tokens` of that width.

    It looks at kinds and shapes only, so it costs microseconds and leaves no trace in an exported model.

    Args:
        what: what the caller calls the stream.
    """
    if not isinstance(stream, Tokens):
        raise TypeError(
            f"{what} is {_told(stream)}; expected Tokens(values, mask) with values [batch, tokens, "
            f"{width}] and a mask [batch, tokens] that is True where a token is real."
        )
    values, mask = stream
    for part, tensor in (("values", values), ("mask", mask)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{what} has {_told(tensor)} as its {part}; expected a torch.Tensor.")
    if values.ndim != 3 or values.shape[2] != width:
        raise ValueError(
            f"{what} has values of shape {list(values.shape)}; expected [batch, tokens, {width}]."
        )
    if not values.is_floating_point():
        raise TypeError(f"{what} has values of {values.dtype}; expected floats: values.float().")
    if mask.dtype != torch.bool:
        raise TypeError(
            f"{what} has a mask of {mask.dtype}; expected torch.bool, True where a token is real: "
            "mask > 0 makes one of zeros and ones."
        )
    if mask.shape != values.shape[:2]:
        raise ValueError(
            f"{what} has a mask of shape {list(mask.shape)} for values of shape {list(values.shape)}; "
            "expected [batch, tokens], like the first two axes of the values."
        )


def _told(thing: Any) -> str:
    """A kind of thing, and its shape where it has one: ``a Tensor of shape [2, 3]``."""
    shape = getattr(thing, "shape", None)
    kind = f"a {type(thing).__name__}"
    return kind if shape is None else f"{kind} of shape {list(shape)}"


class Fused(NamedTuple):
    """A fusion's output.

    ``vector`` is what heads read. ``sequence`` is the fused token sequence, for fusions that have one.
    ``votes`` is set by late fusion alone: one vector a stream, whose *predictions* the head combines
    by ``rule``, each weighing as much as its entry in ``trust``. ``weights`` are the shares a fusion
    gave each stream, for those that can say so; a row sums to one. ``losses`` are what a fusion wants
    to be trained on besides the targets, by name, one number a row and already weighed; set in
    training mode only.
    """

    vector: Float[Tensor, "batch width"]
    sequence: Tokens | None = None
    votes: Tokens | None = None
    trust: Float[Tensor, "batch votes"] | None = None
    weights: Float[Tensor, "batch streams"] | None = None
    rule: str = "product"
    losses: dict[str, Float[Tensor, " batch"]] | None = None


CELLS = "\0cells"
"""After the name of a column whose cells are kept beside their tokens; no table has such a name."""


def cells_in(batch: Mapping[str, ColumnBatch], column: str) -> ColumnBatch:
    """A column's cells, where a frozen encoder's tokens may have taken its name."""
    kept = batch.get(column + CELLS)
    return batch[column] if kept is None else kept
