"""A model with every kind of target, shared by the tests of explanations."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def several(maker: Any, braid: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model of `braid`'s three targets and the folder it is saved to. Do not change either."""
    out = tmp_path_factory.mktemp("several") / "run"
    model = maker.fit(
        braid / "train.csv", ["label", "score", "tags"], out=out, epochs=2, golden_rows=2,
        target_kinds={"tags": "multilabel"}, separator=";",
        validation=0.45,
    )  # fmt: skip
    return model, out
