"""A model with every kind of target, shared by the tests of diagnosis."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def several_run(maker: Any, braid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of `braid`'s three targets, from three columns. Do not change it."""
    out = tmp_path_factory.mktemp("diagnosed") / "run"
    maker.fit(
        braid / "train.csv", ["label", "score", "tags"], out=out, epochs=1, golden_rows=0,
        ignore=("photo", "voice", "pulse", "day"), target_kinds={"tags": "multilabel"},
        separator=";", validation=0.45,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def several_here(several_run: Path, braid: Path) -> tuple[Any, Any]:
    """The model, and the test table."""
    import plait
    from plait.data.table.source import open_table

    return plait.load(several_run), open_table(braid / "test.csv")
