"""What every kind of target keeps, as checks that anybody can run: `plait.testing.check_target`."""

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from plait.data.rules import applied, require
from plait.data.targets.cells import Cells
from plait.data.targets.target import Target


def check_target(kind: type[Target], cells: Sequence[object], *, name: str) -> None:
    """Check a kind of target on cells of yours.

    Args:
        kind: the class.
        cells: at least four answers of this kind, none missing and not all alike.
        name: of the kind, as it is registered.

    Raises:
        AssertionError: naming the rule.
    """
    present = Cells("y", list(cells))
    applied("it recognises its cells", _recognised, kind, present)
    target = kind.learn(present, kind=name, separator=None, why="for a check")
    require(target.kind == name, f"its kind is '{target.kind}', and it is registered as '{name}'")
    for rule, check in TARGET_RULES.items():
        applied(rule, check, target, list(cells))


def _recognised(kind: type[Target], cells: Cells) -> None:
    evidence = kind.evidence(cells)
    require(evidence is None or evidence.strip(), "the evidence is empty")


def _json(target: Target, cells: list[object]) -> None:
    again = type(target).from_json(json.loads(json.dumps(target.to_json(), allow_nan=False)))
    require(again == target, f"{target} is read back as {again}")


def _encoded(target: Target, cells: list[object]) -> None:
    values, mask, problems = target.encode([*cells, None])
    require(len(values) == len(mask) == len(cells) + 1, f"{len(values)} values, {len(mask)} masks")
    require(mask[:-1].all() and not mask[-1], "a cell is not masked as it is there or missing")
    require(not problems, f"the problems of good cells are {problems}")
    require(len(target.decode(values[:-1])) == len(cells), "decode gives another number of rows")
    require(len(target.strata(values, mask)) == len(mask), "strata are of another number of rows")
    require(len(target.goal(values, mask)) == len(mask), "goals are of another number of rows")
    require(not any(target.strange(cell) for cell in [*cells, None]), "a good cell is strange")


def _same_for_all(target: Target, cells: list[object]) -> tuple[np.ndarray, np.ndarray]:
    """Encoded values, and the scores that are the best for all rows alike."""
    values, _, _ = target.encode(cells)
    constant = np.asarray(target.constant(values))
    require(constant.shape == (target.outputs,), f"constant is {constant.shape}, not [outputs]")
    return values, np.tile(constant.astype(np.float32), (len(cells), 1))


def _measured(target: Target, cells: list[object]) -> None:
    values, scores = _same_for_all(target, cells)
    metrics = target.measure(values, scores)
    listed = set(target.higher_is_better)
    require(set(metrics) <= listed, f"{set(metrics) - listed} are not in higher_is_better")
    require(target.primary in metrics, f"the primary metric {target.primary} is not measured")
    require(np.isfinite(metrics[target.primary]), f"{target.primary} is not finite")
    require(np.isfinite(target.loss(metrics)), "the loss is not finite")


def _resampled(target: Target, cells: list[object]) -> None:
    """Weights of 1 give the primary metric itself."""
    values, scores = _same_for_all(target, cells)
    compared = json.loads(json.dumps(target.compared(scores), allow_nan=False))
    require(len(compared) == len(cells), f"{len(compared)} rows are compared of {len(cells)}")
    truth = target.in_units(values)
    resampled = target.resample(truth, np.array([compared]), np.ones((2, len(cells))))
    require(resampled.shape == (1, 2), f"resample gives {resampled.shape}, not [models, resamples]")
    want = target.measure(values, scores)[target.primary]
    np.testing.assert_allclose(resampled, want, atol=1e-6)


def _rows(target: Target, cells: list[object]) -> None:
    values, scores = _same_for_all(target, cells)
    rows = (len(cells),)
    require(target.errors(values, scores).shape == rows, "errors are not [rows]")
    require(target.row_scores(scores).shape == rows, "row_scores are not [rows]")
    right, confidence = target.right(values, scores), target.confidence(scores)
    require(right is None or right.shape == rows, "right is not [rows]")
    if confidence is not None:
        require(((confidence >= 0) & (confidence <= 1)).all(), "confidence is not from 0 to 1")


def _shown(target: Target, cells: list[object]) -> None:
    _, scores = _same_for_all(target, cells)
    answers = target.answer(scores)
    require(len(answers) == len(cells), f"{len(answers)} answers of {len(cells)} rows")
    require(len(target.column(answers)) == len(cells), "column gives another number of cells")
    for name, column in target.score_columns(scores).items():
        require(len(column) == len(cells), f"the column {name} has another number of cells")
    require(target.text(answers[0]) and target.brief(answers[0], scores[0]), "no text")
    replies = json.loads(json.dumps(target.replies(scores), allow_nan=False))
    require(all("answer" in reply for reply in replies), "a reply has no answer")
    require(len(replies) == len(cells), f"{len(replies)} replies to {len(cells)} rows")
    require(len(target.replied(replies)) == len(cells), "replies are read as other rows")


TARGET_RULES: Mapping[str, Callable[[Target, list[object]], None]] = {
    "it survives JSON": _json,
    "as many values as cells, missing ones masked": _encoded,
    "its metrics are those it lists": _measured,
    "resampling with weights of 1 gives the metric": _resampled,
    "figures per row are of every row": _rows,
    "answers can be shown, written and sent": _shown,
}
