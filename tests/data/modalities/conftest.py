"""A folder for media cells, and settings that open it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from plait.data.media import Limits, Media
from plait.data.modalities.base import Modality, Prepared, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Media(tmp_path), "fast", 2)


@pytest.fixture
def limited(settings: Settings):
    """Settings with other caps."""

    def build(**caps: float) -> Settings:
        return replace(settings, media=replace(settings.media, limits=Limits(**caps)))

    return build


@pytest.fixture
def picture(tmp_path: Path):
    """Save an image and return its cell."""

    def save(name: str, pixels: np.ndarray | Image.Image, **options: object) -> str:
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(tmp_path / name, **options)
        return name

    return save


@pytest.fixture
def sound(tmp_path: Path):
    """Save a sound and return its cell."""

    def save(name: str, wave: np.ndarray, rate: int = 8000, **options: object) -> str:
        soundfile.write(tmp_path / name, wave, rate, **options)
        return name

    return save


@pytest.fixture
def reasons(settings: Settings):
    """Fit on good cells, prepare the others, and return the reason given for each of these."""

    def ask(
        modality: Modality, good: list[object], bad: list[object], using: Settings = settings
    ) -> list[str]:
        state = modality.fit(good, using)
        prepared = modality.prepare(bad, state, using)
        assert not prepared.present.any()
        assert [problem.row for problem in prepared.problems] == list(range(len(bad)))
        return [problem.reason for problem in prepared.problems]

    return ask


def rows_of(prepared: Prepared) -> list[np.ndarray]:
    """Each row's own values."""
    if prepared.lengths is None:
        return list(prepared.values)
    return np.split(prepared.values, np.cumsum(prepared.lengths)[:-1])


@pytest.fixture(name="rows_of")
def rows_of_fixture():
    return rows_of
