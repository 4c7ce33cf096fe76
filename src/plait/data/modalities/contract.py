"""What every modality keeps, as checks that anybody can run: `plait.testing.check_modality`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from plait.data.media import Media
from plait.data.modalities.base import Modality, Prepared, Settings
from plait.data.modalities.registry import MODALITIES
from plait.data.rules import applied, require

MISSING: list[object] = [None, float("nan"), "", "  ", np.float32("nan"), np.datetime64("NaT")]


def check_modality(
    modality: Modality,
    good: Sequence[object],
    bad: Sequence[object],
    *,
    root: str | Path = ".",
    distinct: bool = True,
) -> None:
    """Check a modality on cells of yours.

    Args:
        good: at least three cells it can read.
        bad: at least three that it cannot, and that are not missing.
        root: the folder of media files.
        distinct: whether the good cells look like no other modality's.

    Raises:
        AssertionError: naming the rule.
    """
    settings = Settings(Media(Path(root).resolve()), "fast", 2)
    for rule, check in MODALITY_RULES.items():
        applied(rule, check, modality, list(good), list(bad), settings)
    if distinct:
        applied("its cells are recognised", _is_recognised, modality, list(good), settings)


def _equal(left: Prepared, right: Prepared) -> None:
    np.testing.assert_array_equal(left.values, right.values)
    require(left.values.dtype == right.values.dtype, "the types of the values differ")
    np.testing.assert_array_equal(left.present, right.present)
    require((left.lengths is None) == (right.lengths is None), "only one of them has lengths")
    if left.lengths is not None:
        np.testing.assert_array_equal(left.lengths, right.lengths)
    require(left.problems == right.problems, "the problems differ")


def check_form(prepared: Prepared, rows: int) -> None:
    """Prepared cells are as `Prepared` describes them."""
    require(prepared.present.shape == (rows,) and prepared.present.dtype == bool, "present")
    if prepared.lengths is None:
        require(len(prepared.values) == rows, f"{len(prepared.values)} values of {rows} rows")
        require(not prepared.values[~prepared.present].any(), "a missing cell is not zeros")
    else:
        require(prepared.lengths.dtype == np.int64, "lengths are not int64")
        require(len(prepared.values) == prepared.lengths.sum(), "lengths do not sum to the values")
        np.testing.assert_array_equal(prepared.lengths > 0, prepared.present)
    require(not any(prepared.present[p.row] for p in prepared.problems), "a problem is present")
    if prepared.values.dtype.kind == "f":
        require(np.isfinite(prepared.values).all(), "values are not finite")


Cells = list[object]


def _rows_of(prepared: Prepared) -> list[object]:
    if prepared.lengths is None:
        return list(prepared.values)
    return list(np.split(prepared.values, np.cumsum(prepared.lengths)[:-1]))


def _rows(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(good, settings)
    cells: Cells = []
    for number, cell in enumerate(good):
        cells += [cell, MISSING[number % len(MISSING)], bad[number % 3]]
    mixed = modality.prepare(cells, state, settings)
    check_form(mixed, len(cells))
    require(mixed.present.tolist() == [True, False, False] * len(good), "other cells are present")
    rows = [problem.row for problem in mixed.problems]
    require(rows == list(range(2, len(cells), 3)), f"problems are of the rows {rows}")
    alone = modality.prepare(good, state, settings)
    for left, right in zip(_rows_of(mixed)[::3], _rows_of(alone), strict=True):
        np.testing.assert_array_equal(left, right)


def _reasons(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    prepared = modality.prepare(bad, modality.fit(good, settings), settings)
    require(len(prepared.problems) == len(bad), f"{len(prepared.problems)} reasons of {len(bad)}")
    for problem in prepared.problems:
        fitting = 10 < len(problem.reason) < 160
        private = ("Traceback", "0x", str(settings.media.root))
        clean = not any(word in problem.reason for word in private)
        require(fitting and clean, f"the reason is {problem.reason!r}")


def _json(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(good, settings)
    again = json.loads(json.dumps(state, allow_nan=False))
    require(again == state, "the state changes in JSON")
    _equal(modality.prepare(good, state, settings), modality.prepare(good, again, settings))


def _deterministic(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(good, settings)
    require(modality.fit(good, settings) == state, "two fits give other states")
    require(modality.fit(iter(good), settings) == state, "an iterator gives another state")
    _equal(modality.prepare(good, state, settings), modality.prepare(good, state, settings))


def _chunks(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(good, settings)
    cells = [*good, None, *bad, *good[::-1]]
    whole = modality.prepare(cells, state, settings)
    parts = [
        modality.prepare(cells[at : at + 4], state, settings) for at in range(0, len(cells), 4)
    ]
    np.testing.assert_array_equal(whole.values, np.concatenate([part.values for part in parts]))
    np.testing.assert_array_equal(whole.present, np.concatenate([part.present for part in parts]))
    reasons = [problem.reason for part in parts for problem in part.problems]
    require([problem.reason for problem in whole.problems] == reasons, "the reasons differ")


def _threads(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(good, settings)
    alone, crowd = replace(settings, threads=1), replace(settings, threads=8)
    cells = good * 40
    _equal(modality.prepare(cells, state, alone), modality.prepare(cells, state, crowd))


def _nothing(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    check_form(modality.prepare([], modality.fit(good, settings), settings), 0)
    require(modality.matches("column", [], settings) is None, "no cell at all is recognised")
    for cells in ([], MISSING):
        blank = modality.fit(cells, settings)
        prepared = modality.prepare(MISSING, blank, settings)
        check_form(prepared, len(MISSING))
        require(not prepared.present.any(), "a missing cell is present")
        check_form(modality.prepare(good, blank, settings), len(good))
        require(modality.describe(blank), "no description")


def _broken_only(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    state = modality.fit(bad, settings)
    check_form(modality.prepare(good, state, settings), len(good))


def _described(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    text = modality.describe(modality.fit(good, settings))
    require(3 < len(text) < 100, f"the description is {text!r}")
    evidence = modality.matches("column", [c for c in good if not isinstance(c, bool)], settings)
    require(evidence is not None, "its own cells are not recognised")
    assert evidence is not None
    require(0 < evidence.strength <= 1 and evidence.reason, f"the evidence is {evidence}")


def _presets(modality: Modality, good: Cells, bad: Cells, settings: Settings) -> None:
    for preset in ("fast", "balanced", "best"):
        sized = Settings(settings.media, preset)
        check_form(modality.prepare(good, modality.fit(good, sized), sized), len(good))


def _is_recognised(modality: Modality, good: Cells, settings: Settings) -> None:
    clear = [cell for cell in good if not isinstance(cell, bool)]
    own = modality.matches("column", clear, settings)
    require(own is not None, "its own cells are not recognised")
    assert own is not None
    for name, other in MODALITIES.items():
        rival = None if name == modality.name else other.matches("column", clear, settings)
        require(rival is None or own.strength > rival.strength, f"they look as much like {name}")


MODALITY_RULES: Mapping[str, Callable[[Modality, Cells, Cells, Settings], None]] = {
    "as many rows as cells, in their order": _rows,
    "reasons are short sentences": _reasons,
    "the state survives JSON": _json,
    "the same cells give the same arrays": _deterministic,
    "chunks are the whole": _chunks,
    "threads change nothing": _threads,
    "nothing at all is no error": _nothing,
    "it can be fitted on broken cells only": _broken_only,
    "it describes itself": _described,
    "every preset fits": _presets,
}
