"""The contract every encoder keeps."""

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64
from torch import nn

from plait.tokens import ColumnBatch, Tokens


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


class Fitted(Encoder):
    """An encoder of one column with a part that is fitted to training rows once, before training.

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
            what was found, in a few words for the user.

        Raises:
            AlignError: these rows cannot be fitted to.
        """
