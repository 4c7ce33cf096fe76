"""The contract of a pretrained model: one column's prepared cells to the tokens it knows."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from plait.data.modalities.base import State
from plait.devices import channels_last
from plait.model.tokens import ColumnBatch, Tokens


class Backbone(nn.Module):
    """A pretrained model of one modality, without any head of its own.

    It takes what the modality prepared with the state that `Family.state` gave (images as bytes, ids,
    frames), does in torch what is left of the checkpoint's own preprocessing (scaling, padding to a
    fixed length), and gives the last hidden states. A row whose cell is missing has no True in its mask;
    more padding changes nothing in ``eval`` mode.

    Attributes:
        hidden: numbers in one of its tokens.
    """

    hidden: int

    @abstractmethod
    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode one batch to ``[batch, tokens, hidden]``."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Its layers from input to output, embeddings first: for tuning the last ones, or each at a rate
        of its own. Together they hold every weight that `forward` uses.
        """

    def settle(self) -> None:
        """Get ready to run often and never learn; a subclass may do once what each run would do."""
        self.eval().requires_grad_(False)
        channels_last(self)

    def weights(self) -> dict[str, Tensor]:
        """What a bundle holds of it, as the checkpoint has it, settled or not."""
        return self.state_dict()


@dataclass(frozen=True)
class Family:
    """How checkpoints of one modality are read.

    Attributes:
        state: a checkpoint's folder to a modality's state, read from the checkpoint's own processor
            settings. No weights are opened. Raises CheckpointError when there are none, or they ask for
            something plait cannot do, naming it.
        make: a checkpoint's ``config.json`` (as a dict), the state, and the folder whose weights to
            load (None: fresh ones, about to be filled from a bundle) to a backbone. Raises
            CheckpointError when the model is of another modality.
    """

    state: Callable[[Path], State]
    make: Callable[[dict[str, Any], State, Path | None], Backbone]
