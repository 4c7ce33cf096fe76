"""The contract every encoder keeps."""

from abc import abstractmethod

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
