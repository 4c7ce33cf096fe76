"""Risk-coverage curves by hand and against sorting, and answers that are withheld."""

import csv
import json

import numpy as np
import pytest

from plait.answers.abstain import risk_coverage, withhold
from plait.answers.answers import Answers
from plait.data.table.quarantine import Quarantine
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.data.targets.numbers import Numbers
from plait.errors import ConfigError


def test_a_curve_by_hand():
    found = risk_coverage(np.array([True, False, True, True]), np.array([0.9, 0.6, 0.8, 0.5]))
    assert found.coverage == [0.25, 0.5, 0.75, 1.0]
    assert found.risk == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert found.threshold == pytest.approx([0.9, 0.8, 0.6, 0.5])
    assert found.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert found.best_area == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert json.loads(json.dumps(found.to_json()))["area"] == found.area


def test_the_area_is_that_of_every_prefix(rng):
    right, sure = rng.random(300) < 0.7, rng.random(300)
    order = np.argsort(-sure)
    risks = [np.mean(~right[order[:count]]) for count in range(1, 301)]
    found = risk_coverage(right, sure)
    assert found.area == pytest.approx(np.mean(risks))
    np.testing.assert_allclose(found.risk, risks, atol=1e-12)


def test_ties_are_answered_together_and_no_order_of_rows_counts(rng):
    right, sure = rng.random(60) < 0.5, rng.integers(0, 4, 60) / 4
    found = risk_coverage(right, sure)
    assert len(found.coverage) == 4 and found.coverage[-1] == 1.0
    mixed = rng.permutation(60)
    again = risk_coverage(right[mixed], sure[mixed])
    assert again.area == pytest.approx(found.area) and again.risk == pytest.approx(found.risk)
    same = risk_coverage(right, np.ones(60))
    assert same.area == pytest.approx((~right).mean()) and same.coverage == [1.0]


def test_no_rows_no_curve():
    with pytest.raises(ValueError, match="a risk-coverage curve needs at least one row, got none"):
        risk_coverage(np.zeros(0, bool), np.zeros(0))


def test_confidence_by_kind():
    scores = np.array([[0.7, 0.1], [0.2, 0.6]])
    assert Classes("y", ("a", "b")).confidence(scores).tolist() == [0.7, 0.6]
    assert Labels("y", ("a", "b")).confidence(scores) == pytest.approx([0.7, 0.6])
    number = Numbers("y")
    assert number.confidence(scores[:, :1]) is None
    answers = Answers.of([number], {"y": scores[:, :1]}, Quarantine(), [])
    with pytest.raises(
        ConfigError, match="abstain_below: 'y' is a number, whose answers have no confidence"
    ):
        withhold(answers, 0.5)


def test_withheld_answers_are_rows_still(several, braid):
    model, _ = several
    answers = model.answer(braid / "test.csv")
    assert withhold(answers, None) is answers and answers.abstained == {}
    sure = answers.scores["label"].max(axis=1)
    limit = float(np.median(sure))
    found = withhold(answers, limit)
    assert len(found) == 24 and (found.abstained["label"] == (sure < limit)).all()
    assert 0 < found.abstained["label"].sum() < 24
    for row in range(24):
        told = None if sure[row] < limit else answers.values["label"][row]
        assert found.values["label"][row] == told
    assert (
        "score" not in found.abstained and (found.values["score"] == answers.values["score"]).all()
    )
    columns = found.to_columns()
    names = list(columns)
    assert names.index("label_abstained") == names.index("label") + 1
    assert columns["label_abstained"] == (sure < limit).tolist()
    held_back = np.flatnonzero(found.abstained["tags"])
    assert all(columns["tags"][row] is None for row in held_back)
    told = model.predict(braid / "test.csv", abstain_below=limit)
    assert told["label"].tolist() == found.values["label"].tolist()
    # The answers themselves stay as they were.
    assert None not in answers.values["label"].tolist()


@pytest.mark.parametrize("below", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(several, braid, below):
    model, _ = several
    with pytest.raises(ConfigError, match="a probability between 0 and 1, such as 0.7"):
        model.predict(braid / "test.csv", abstain_below=below)


def test_numbers_alone_cannot_be_withheld(several, braid):
    from dataclasses import replace

    model, _ = several
    answers = replace(model.answer(braid / "test.csv"), targets=model.targets[1:2])
    with pytest.raises(ConfigError) as caught:
        withhold(answers, 0.5)
    assert str(caught.value).endswith(
        "'score' is a number, whose answers have no confidence. predict_set gives intervals."
    )


def test_the_command_writes_empty_answers(run, plain_run, maker, tmp_path):
    _, folder = plain_run
    table = maker.csv(tmp_path, "new.csv", maker.plain(10, seed=5))
    code, _, _ = run(
        "predict", folder, table, "-o", tmp_path / "a.csv", "--abstain-below", "1", "-q"
    )
    assert code == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert all(row["label"] == "" and row["label_abstained"] == "True" for row in rows)
    assert all(row["label_p_no"] for row in rows)
    code, _, err = run("predict", folder, table, "--abstain-below", "7", "-q")
    assert code == 2 and "abstain_below=7.0: a probability between 0 and 1, such as 0.7." in err
