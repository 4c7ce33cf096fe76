"""What a model remembers of a pretrained encoder: enough to find it again and to know it is the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plait.data.modalities.base import State
from plait.errors import CheckpointError
from plait.model.pretrained.base import Backbone
from plait.model.pretrained.hub import HUB, Note
from plait.model.pretrained.registry import family_of
from plait.model.pretrained.source import Checkpoint, find_checkpoint
from plait.model.pretrained.tuning import FROZEN


@dataclass(frozen=True)
class Record:
    """A pretrained encoder of a stream, as JSON values.

    Attributes:
        reference, revision, licence, digest, config: see `plait.model.pretrained.source.Checkpoint`.
        modality: that it encodes.
        hidden: numbers in one of its tokens.
        how: ``frozen``, ``full``, ``last-2``, ``lora`` ...
        most: tokens of a cell that are kept at most when it is frozen.
        views: versions of each training cell when it is frozen.
        rank: of LoRA's matrices.
        checkpointing: whether activations are computed twice.
        unfreeze: whether blocks join one an epoch.
        embedded: whether the bundle holds all weights, and the checkpoint is not needed.
    """

    reference: str
    revision: str
    licence: str
    digest: str
    config: dict[str, Any]
    modality: str
    hidden: int
    how: str = FROZEN
    most: int = 128
    views: int = 1
    rank: int = 8
    checkpointing: bool = False
    unfreeze: bool = False
    embedded: bool = False

    @property
    def frozen(self) -> bool:
        """Whether it runs once a cell and learns nothing."""
        return self.how == FROZEN

    @property
    def summary(self) -> str:
        """The encoder in a few words: what, which revision, under which licence, how it learns."""
        more = [f"revision {self.revision[:12]}"] if self.revision else []
        more += [self.licence or "licence not stated", self.how]
        return f"{self.reference} ({', '.join(more)})"

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Record":
        """What `to_json` gave."""
        return cls(**data)


def open_backbone(modality: str, checkpoint: Checkpoint, state: State) -> Backbone:
    """A checkpoint's model with its weights.

    Raises:
        CheckpointError: it cannot be an encoder of that modality.
    """
    family = family_of(modality, checkpoint.config, checkpoint.reference)
    return family.make(checkpoint.config, state, checkpoint.folder)


def revive(
    record: Record, state: State, *, empty: bool = False, note: Note | None = None
) -> Backbone:
    """The backbone of a record again, as its checkpoint has it.

    Args:
        empty: with fresh weights, about to be replaced by those of a bundle.

    Raises:
        CheckpointError: the checkpoint is not there, or is not the one it was.
    """
    folder: Path | None = None
    if not empty:
        revision = f"@{record.revision}" if record.reference.startswith(HUB) else ""
        try:
            checkpoint = find_checkpoint(record.reference + revision, note=note)
        except CheckpointError as error:
            raise CheckpointError(
                f"this model reads {record.modality} with {record.reference}, which is not at hand: "
                f"{error} Put it back where it was, or fit again with --embed-weights, which makes a "
                "model that needs no checkpoint."
            ) from error
        if checkpoint.digest != record.digest:
            raise CheckpointError(
                f"{record.reference} is not the checkpoint that the model was made with: the SHA-256 "
                f"of its weights begins {checkpoint.digest[:12]}, and was {record.digest[:12]}. "
                "Put the old one back, or fit again; --embed-weights makes a bundle that needs no "
                "checkpoint."
            )
        folder = checkpoint.folder
    family = family_of(record.modality, record.config, record.reference)
    return family.make(record.config, state, folder)
