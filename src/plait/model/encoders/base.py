"""The contract every encoder keeps."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int64
from torch import Tensor, nn

from plait.model.tokens import ColumnBatch, Tokens


class Encoder(nn.Module):
    """Prepared columns of one stream in, tokens out.

    A media stream has one column; the tabular stream has several. A row whose cells are all missing
    has no True in its mask. More padding changes nothing in ``eval`` mode.

    Attributes:
        width: numbers in one token.
    """

    width: int

    @abstractmethod
    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode one batch."""

    def fixed(self) -> list[str]:
        """Names of weights that never change, because they are a checkpoint's and stay."""
        return []

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch of training, counted from 0."""
        return

    def column_parts(self, columns: Sequence[str]) -> dict[str, nn.Module]:
        """Column → what reads its cells alone, or this encoder as a whole."""
        return dict.fromkeys(columns, self)


class ClosedForm(Encoder):
    """An encoder of one column with a part that is fitted in closed form, once, before training.

    What is fitted lies in buffers, so that it is saved with the weights; it is not fitted again when
    a model is loaded or a training resumed.

    Attributes:
        needs_classes: whether fitting needs each row's class.
    """

    needs_classes: bool = False

    @abstractmethod
    def fit_rows(
        self, batches: Iterable[tuple[ColumnBatch, ...]], targets: Int64[np.ndarray, " rows"] | None
    ) -> str:
        """Fit to some thousand rows at most.

        Args:
            batches: the column's cells, all present.
            targets: the class of each row of all batches in order; None where none is needed.

        Returns:
            what was fitted, in a few words for the user.

        Raises:
            AlignError: these rows cannot be fitted to.
        """


def learnt_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state without the weights that are a checkpoint's and never change."""
    fixed = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, Encoder)
        for name in part.fixed()
    }
    return {name: value for name, value in module.state_dict().items() if name not in fixed}


def load_learnt(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `learnt_state` gave.

    Raises:
        RuntimeError: as `load_state_dict` does, when names or shapes are others.
    """
    whole = {name: value for name, value in module.state_dict().items() if name not in state}
    expected = learnt_state(module).keys()
    lacking = [name for name in expected if name not in state]
    if lacking:
        raise RuntimeError(f"these weights are missing: {', '.join(lacking[:5])}")
    module.load_state_dict({**whole, **state})
