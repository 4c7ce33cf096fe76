"""Models exported once for all tests of the folder. Do not change them; copy them."""

import shutil

import pytest
from jaxtyping import config

from plait.export import export


@pytest.fixture(scope="session")
def unwatched_export():
    """Exports without shape checks, which would pin the symbolic sizes of torch.export."""

    def call(*args, **named):
        config.update("jaxtyping_disable", True)
        try:
            return export(*args, **named)
        finally:
            config.update("jaxtyping_disable", False)

    return call


@pytest.fixture(scope="session")
def plain_app(plain_run, unwatched_export, tmp_path_factory):
    """What was exported, and where, of a model without media: two streams."""
    folder = tmp_path_factory.mktemp("plain-app") / "app"
    return unwatched_export(plain_run[0], folder), folder


@pytest.fixture(scope="session")
def full_app(fitted, unwatched_export, tmp_path_factory):
    """The same of a model of every modality: five streams."""
    folder = tmp_path_factory.mktemp("full-app") / "app"
    return unwatched_export(fitted[0], folder), folder


@pytest.fixture
def copy(plain_app, tmp_path):
    """A copy of an exported model, to be damaged."""
    folder = tmp_path / "app"
    shutil.copytree(plain_app[1], folder)
    return folder
