"""Tiny checkpoints, each built once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints_image_text import save_image, save_text

from plait.data.media import Media
from plait.data.modalities.base import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Media(tmp_path), "fast", 1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The folder of a modality's checkpoint of some kind. Do not change it."""
    built: dict[tuple[str, str], Path] = {}

    def get(modality: str, kind: str) -> Path:
        if (modality, kind) not in built:
            folder = tmp_path_factory.mktemp(kind)
            built[modality, kind] = {"image": save_image, "text": save_text}[modality](folder, kind)
        return built[modality, kind]

    return get
