"""A batch's inputs as numbers a gradient can be taken by: pixels, steps, fields, embedded ids."""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from plait.data.modalities import registry
from plait.data.modalities.base import TIMED, State, Unit
from plait.data.targets.target import Target
from plait.model.heads.base import Head
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Tokens


def unit_of(modality: str, column: ColumnBatch, state: State) -> Unit:
    """What of a column's cells is marked."""
    ragged = column.mask.ndim == 2
    inner = tuple(column.values.shape[2 if ragged else 1 :])
    return registry.get(modality).unit(inner, ragged, state)


class Inputs:
    """One batch, its values replaceable.

    The baseline is what an input without news would be: an image of its own mean colour, a sound that
    holds its mean spectrum, a signal that holds its mean, a number at the mean of training (0), a word
    or a category whose embedding is 0, features of 0. Padding and missing cells are their own baseline.

    Args:
        kinds: of every column.

    Attributes:
        values: column → float32 numbers; the embeddings of a column of ids.
        base: column → its baseline, of the same shape.
        mask: column → which of its leading positions are real.
    """

    def __init__(
        self, model: Model, batch: Mapping[str, ColumnBatch], kinds: Mapping[str, Unit]
    ) -> None:
        self.model = model
        self.batch = batch
        self.mask: dict[str, Bool[Tensor, batch * steps]] = {
            name: column.mask for name, column in batch.items()
        }
        self._ids = {name for name, column in batch.items() if _is_ids(column.values)}
        self.values = {
            name: column.values.to(torch.float32)
            for name, column in batch.items()
            if name not in self._ids
        }
        with torch.no_grad():
            self.encode(self.values, keep=self.values.__setitem__)
        self.base = {
            name: _baseline(values, self.mask[name], kinds[name])
            for name, values in self.values.items()
        }

    def repeated(self, times: int) -> "Inputs":
        """The same rows so many times over, one copy after the other, for values of that many."""

        def again(values: Tensor) -> Tensor:
            return values.repeat(times, *[1] * (values.ndim - 1))

        # Shallow: the model is shared, the values are passed by the caller.
        wide = copy(self)
        wide.mask = {name: again(mask) for name, mask in self.mask.items()}
        wide.batch = {
            name: ColumnBatch(again(self.batch[name].values), wide.mask[name]) for name in self._ids
        }
        return wide

    def encode(
        self,
        values: Mapping[str, Tensor],
        keep: Callable[[str, Tensor], None] | None = None,
    ) -> dict[str, Tokens]:
        """Each stream's tokens, with these values in place of the batch's.

        Args:
            keep: told each column's embeddings, instead of replacing them.
        """
        tokens = {}
        for (name, columns), encoder in zip(
            self.model.streams.items(), self.model.encoders, strict=True
        ):
            swap = self._swap([column for column in columns if column in self._ids], values, keep)
            hooks = [
                part.register_forward_hook(swap)
                for part in encoder.modules()
                if isinstance(part, nn.Embedding)
            ]
            try:
                tokens[name] = encoder(
                    *(
                        self.batch[column]
                        if column in self._ids
                        else ColumnBatch(values[column], self.mask[column])
                        for column in columns
                    )
                )
            finally:
                for hook in hooks:
                    hook.remove()
        return tokens

    def scores(self, values: Mapping[str, Tensor], target: int) -> Float[Tensor, "batch outputs"]:
        """One target's scores (probabilities, or the standardised number) at these values."""
        fused = self.model.fuse(self.encode(values))
        head = self.model.heads[target]
        return head.scores(head(fused))  # type: ignore[operator]

    def _swap(
        self,
        waiting: list[str],
        values: Mapping[str, Tensor],
        keep: Callable[[str, Tensor], None] | None,
    ) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        """A hook on tables of embeddings; a table that looks up a column's ids is that column's."""

        def swap(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
            for name in waiting:
                ids = self.batch[name].values
                # By content: encoders do not say which of their tables reads which column.
                if given[0].shape == ids.shape and torch.equal(given[0].long(), ids.long()):
                    waiting.remove(name)
                    if keep is not None:
                        keep(name, output.detach())
                        return None
                    return values[name]
            return None

        return swap


def _is_ids(values: Shaped[Tensor, "batch ..."]) -> bool:
    """Whole numbers that are looked up; those of an image are brightness."""
    return not values.is_floating_point() and values.ndim < 4


def _baseline(
    values: Float[Tensor, "batch ..."], mask: Bool[Tensor, "batch *steps"], kind: Unit
) -> Float[Tensor, "batch ..."]:
    real = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
    if kind == "pixels":
        base = values.mean(dim=(1, 2), keepdim=True)
    elif kind in TIMED:
        count = real.sum(dim=1, keepdim=True).clamp(min=1)
        base = (values * real).sum(dim=1, keepdim=True) / count
    else:
        base = torch.zeros_like(values)
    # Padding does not move along the path, so it gets no share.
    return torch.where(real, base, values)


def answer_score(
    target: Target,
    head: Head,
    scores: Float[Tensor, "batch outputs"],
    answers: Shaped[Tensor, "batch ..."],
) -> Float[Tensor, " batch"]:
    """`plait.data.targets.target.Target.row_scores` for given answers, with a gradient.

    Args:
        answers: what ``head.answered`` gave.
    """
    return head.answer_score(scores, answers) * target.scale + target.mean
