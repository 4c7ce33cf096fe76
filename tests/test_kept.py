"""Bundles and exports of earlier releases load for ever and keep their answers.

Each folder below ``kept/`` was written by the release it is named after and is never changed or removed;
``answers.json`` holds what that release answered for the rows of ``table/``. A new release adds a folder.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
from plait.data.modalities.registry import MODALITIES
from plait.data.table import list_tables, source
from plait.data.table.source import open_table
from plait.data.targets.registry import KINDS
from plait.errors import UnregisteredError
from plait.runtime import Runtime

KEPT = sorted(path for path in (Path(__file__).parent / "kept").iterdir() if path.is_dir())
each_release = pytest.mark.parametrize("release", KEPT, ids=lambda path: path.name)


def load(release: Path, kind: str) -> Any:
    return plait.load(release / kind) if kind == "bundle" else Runtime(release / kind)


def test_at_least_the_first_release_is_kept() -> None:
    assert "0.1.0" in [path.name for path in KEPT]


@each_release
@pytest.mark.parametrize("kind", ["bundle", "app"])
def test_golden_rows_verify(release: Path, kind: str) -> None:
    model = load(release, kind)
    assert len(model.golden) >= 3
    assert model.verify() < 1e-4


@each_release
@pytest.mark.parametrize("kind", ["bundle", "app"])
def test_answers_are_what_they_were(release: Path, kind: str) -> None:
    expected = json.loads((release / "answers.json").read_text(encoding="utf-8"))
    model = load(release, kind)
    answers = model.answer(release / "table" / "rows.csv")
    check_values(answers.values, expected["values"])
    for name, scores in expected["scores"].items():
        np.testing.assert_allclose(answers.scores[name], scores, atol=1e-4)
    vectors = model.embed(release / "table" / "rows.csv")
    np.testing.assert_allclose(vectors, expected["vectors"], atol=1e-3)


@each_release
@pytest.mark.parametrize("kind", ["bundle", "app"])
@pytest.mark.parametrize("parts", [KINDS, MODALITIES], ids=["kinds", "modalities"])
def test_a_part_that_is_not_registered_is_named(
    release: Path, kind: str, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_parts", {})
    with pytest.raises(
        UnregisteredError,
        match=rf"(model|bundle) .*{kind} was made with {parts.kind} '\w+', which is not registered here: "
        r"plait\.register it, or install the package that brings it\.$",
    ):
        load(release, kind)


def check_values(values: dict[str, np.ndarray], expected: dict[str, list[Any]]) -> None:
    """Equal; numbers to within what exports promise."""
    assert set(values) == set(expected)
    for name, wanted in expected.items():
        if isinstance(wanted[0], float):
            np.testing.assert_allclose(np.asarray(values[name], dtype=float), wanted, atol=1e-4)
        else:
            assert values[name].tolist() == wanted


@each_release
def test_evaluates(release: Path) -> None:
    model = plait.load(release / "bundle")
    results = model.evaluate(release / "table" / "rows.csv", resamples=0)
    assert set(results.targets) == {t.name for t in model.targets}


@each_release
def test_an_export_answers_the_same_without_arrow(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file, and from Python values, whose cells are then not of one type a column."""
    expected = json.loads((release / "answers.json").read_text(encoding="utf-8"))
    path = release / "table" / "rows.csv"
    typed = {
        name: list(map(_typed, open_table(path).cells(name))) for name in open_table(path).columns
    }
    monkeypatch.setattr(source, "_ways", lambda: list_tables)
    app = Runtime(release / "app")
    for table in (path, typed):
        answers = app.answer(table, root=path.parent)
        check_values(answers.values, expected["values"])
        for name, scores in expected["scores"].items():
            np.testing.assert_allclose(answers.scores[name], scores, atol=1e-4)


def _typed(cell: object) -> object:
    """A number where the text is one: whole ones and others side by side."""
    try:
        return json.loads(str(cell))
    except ValueError:
        return cell
