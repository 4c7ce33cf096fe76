"""`plait.register`: parts from outside plait, under the words that users write."""

from collections.abc import Callable
from typing import Any

from plait.data.modalities.base import Modality
from plait.data.modalities.registry import MODALITIES, TABULAR_MODALITIES
from plait.data.targets.registry import KINDS
from plait.data.targets.target import Target
from plait.errors import ConfigError, unknown


def register(name: str, part: Any, *, modality: str | None = None) -> None:
    """Make a part known by name, as if it were plait's own, for as long as this process runs.

    The same part again, that is of the same module and qualified name, replaces the earlier one: a
    notebook cell can be run twice.

    A package does so for everybody who installs it by entry points, without being imported: of the
    groups ``plait.fusions``, ``plait.modalities``, ``plait.targets``, and ``plait.encoders.image`` for
    those of images.

    Args:
        name: the word that users write: ``plait.fit(..., fusion=name)``.
        part: a class derived from `plait.Fusion` or `plait.Target`; a
            `plait.data.modalities.base.Modality` object; or, with ``modality``, a function of the
            column's state, the tokens' width, the preset's sizes and the dropout that builds a
            `plait.Encoder`.
        modality: what the encoder reads, for an encoder only.

    Raises:
        ConfigError: the name is no text or taken by another part, the modality is unknown, or the part
            is none of these, abstract, or cannot be called with the arguments that plait passes.

    A model that was fitted with the part needs it registered again when it is loaded; a bundle names
    its parts by these words and never says what to import. Check a part with `plait.testing` first.
    """
    if not isinstance(name, str):
        raise ConfigError([f"register: a name is text, such as 'mine', got {name!r}"])
    if modality is not None:
        _add_encoder(name, part, modality)
    elif isinstance(part, Modality):
        if part.name != name:
            raise ConfigError([f"modality '{name}': the object calls itself '{part.name}'"])
        MODALITIES.add(name, part)
    elif isinstance(part, type) and issubclass(part, Target):
        KINDS.add(name, part)
    else:
        _add_fusion(name, part)


def _add_encoder(name: str, build: Callable[..., Any], modality: str) -> None:
    from plait.model.encoders.registry import ENCODERS, encoders_of

    if str(modality) not in MODALITIES:  # whatever was passed, also what cannot be hashed
        raise ConfigError([f"register: {unknown('modality', str(modality), MODALITIES)}"])
    if modality in TABULAR_MODALITIES:
        raise ConfigError(
            [
                f"register: '{name}' cannot read {modality} columns: all tabular columns are one stream "
                "and have one encoder, which is plait's own"
            ]
        )
    if modality not in ENCODERS:
        ENCODERS[modality] = encoders_of(modality, {})
    ENCODERS[modality].add(name, build)


def _add_fusion(name: str, part: Any) -> None:
    from plait.model.fusion.base import Fusion
    from plait.model.fusion.registry import FUSIONS

    if not (isinstance(part, type) and issubclass(part, Fusion)):
        raise ConfigError(
            [
                f"register: '{name}' must be a class derived from plait.Fusion or plait.Target, a "
                f"Modality object, or, with modality=, a function that builds an encoder; got {part!r}"
            ]
        )
    FUSIONS.add(name, part)
