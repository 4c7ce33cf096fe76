"""Temperatures against known ones, and what a calibrated bundle answers."""

import json

import numpy as np
import pytest
import torch

import plait
from plait.data.targets.classes import calibration_error, classification
from plait.insight.explain.calibration import (
    MAX_TEMPERATURE,
    MIN_CALIBRATION_ROWS,
    MIN_TEMPERATURE,
    Calibration,
    calibrate,
    probabilities,
    reliability,
)
from plait.model.heads import build_head


def drawn(rng, rows, temperature, classes=4):
    """Logits that are ``temperature`` times too sure of themselves, and truths drawn from what is right."""
    right = rng.normal(0, 1.5, (rows, classes))
    chances = np.exp(right) / np.exp(right).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(classes, p=row) for row in chances])
    return truth, (right * temperature).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_a_known_temperature_is_found(rng, temperature):
    truth, logits = drawn(rng, 4000, temperature)
    found = calibrate(truth, logits)
    assert found.temperature == pytest.approx(temperature, rel=0.07)
    assert found.applied and found.rows == 4000
    assert found.log_loss[1] < found.log_loss[0] and found.error[1] < found.error[0] / 2


def test_it_is_where_torch_finds_the_least_loss(rng):
    """LBFGS over 1 / T, as Guo et al. do it."""
    truth, logits = drawn(rng, 300, 1.8)
    inverse = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([inverse], max_iter=100, tolerance_grad=1e-10)

    def step():
        optimizer.zero_grad()
        scaled = torch.from_numpy(logits).double() * inverse
        loss = torch.nn.functional.cross_entropy(scaled, torch.from_numpy(truth))
        loss.backward()
        return loss

    optimizer.step(step)
    assert calibrate(truth, logits).temperature == pytest.approx(1 / inverse.item(), rel=1e-3)


def test_labels_have_one_temperature_too(rng):
    right = rng.normal(0, 2, (3000, 3))
    truth = (rng.random((3000, 3)) < 1 / (1 + np.exp(-right))).astype(np.float32)
    found = calibrate(truth, (3 * right).astype(np.float32))
    assert found.temperature == pytest.approx(3, rel=0.07)
    assert found.error[1] < found.error[0]


def test_the_figures_are_of_rows_the_temperature_was_not_fitted_to(rng):
    truth, logits = drawn(rng, 200, 2.0)
    found = calibrate(truth, logits)
    fold, loss = np.arange(200) % 5, []
    from scipy.optimize import minimize

    for number in range(5):
        held = fold == number

        def nll(t, rows):
            scaled = logits[rows].astype(float) / np.exp(t)
            return np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(scaled)), truth[rows]]

        best = minimize(
            lambda t, rows=~held: nll(t, rows).mean(),
            0.0,
            method="Nelder-Mead",
            options={"xatol": 1e-6},
        ).x
        loss.append(nll(best, held))
    assert found.log_loss[1] == pytest.approx(np.concatenate(loss).mean(), abs=1e-5)
    assert found.log_loss[0] == pytest.approx(nll(0.0, np.arange(200)).mean(), abs=1e-6)


def test_what_would_not_help_is_left_alone():
    # The truth cannot be foretold: the first folds want what the last one suffers from.
    rng = np.random.default_rng(1)
    for seed in range(20):
        truth, logits = drawn(np.random.default_rng(seed), 40, 1.0)
        found = calibrate(truth, logits)
        assert found.applied == (found.log_loss[1] < found.log_loss[0])
        if not found.applied:
            assert found.temperature == 1.0
            assert (
                "is not calibrated, because a temperature would not help: log loss"
                in found.summary("y")
            )
            break
    else:
        raise AssertionError("no case where it would not help")
    few = calibrate(
        rng.integers(0, 2, MIN_CALIBRATION_ROWS - 1), rng.normal(size=(MIN_CALIBRATION_ROWS - 1, 2))
    )
    assert few == Calibration(1.0, MIN_CALIBRATION_ROWS - 1)
    assert few.summary("y") == (
        "'y' is not calibrated: 19 labelled validation rows, and a temperature needs 20"
    )


def test_the_search_is_bounded():
    truth = np.zeros(50, np.int64)
    sure = np.tile(np.array([[1.0, -1.0]], np.float32), (50, 1))
    assert calibrate(truth, sure).temperature == pytest.approx(MIN_TEMPERATURE, rel=0.25)
    assert calibrate(truth, -sure).temperature == pytest.approx(MAX_TEMPERATURE, rel=0.25)


def test_the_head_gives_what_was_fitted(rng):
    truth, logits = drawn(rng, 100, 2.0)
    head = build_head("classify", width=8, outputs=4, dropout=0.0)
    before = head.scores(torch.from_numpy(logits))
    head.temperature = 2.0
    after = head.scores(torch.from_numpy(logits))
    np.testing.assert_allclose(after, probabilities(truth, logits, np.full(100, 2.0)), atol=1e-6)
    assert torch.equal(before.argsort(dim=1), after.argsort(dim=1))
    labels = build_head("labels", width=8, outputs=4, dropout=0.0)
    labels.temperature = 2.0
    told = probabilities(np.zeros((100, 4)), logits, np.full(100, 2.0))
    np.testing.assert_allclose(labels.scores(torch.from_numpy(logits)), told, atol=1e-6)
    assert "temperature" not in head.state_dict()


def test_reliability_by_hand():
    scores = np.array([[0.95, 0.05], [0.9, 0.1], [0.3, 0.7], [0.55, 0.45]])
    found = reliability(np.array([0, 1, 1, 1]), scores, bins=5)
    assert found.edges == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert found.count == [0, 0, 1, 1, 2]
    assert found.confidence[2:] == pytest.approx([0.55, 0.7, 0.925])
    assert found.accuracy[2:] == [0, 1, 0.5]
    assert found.error == pytest.approx((0.55 + 0.3 + 2 * 0.425) / 4)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["confidence"][:2] == [None, None] and data["count"] == found.count


def test_reliability_of_labels_is_that_of_every_label(rng):
    truth = (rng.random((50, 3)) < 0.4).astype(np.float32)
    scores = rng.random((50, 3))
    found = reliability(truth, scores)
    assert sum(found.count) == 150
    assert found.error == pytest.approx(calibration_error(truth.ravel() > 0.5, scores.ravel()))
    none = reliability(np.zeros(0, np.int64), np.zeros((0, 2)))
    assert np.isnan(none.error) and sum(none.count) == 0


def test_reliability_agrees_with_the_metric(rng):
    truth, logits = drawn(rng, 200, 1.0)
    scores = probabilities(truth, logits, np.ones(200))
    assert reliability(truth, scores).error == pytest.approx(
        classification(truth, scores)["calibration_error"]
    )


# In a fit.


def test_a_fit_tells_and_keeps_its_temperatures(several, braid):
    model, folder = several
    saved = json.loads((folder / "held_out.json").read_text())["calibration"]
    assert set(saved) == {"label", "tags"}  # numbers have none
    assert any(one["temperature"] != 1 for one in saved.values())
    assert saved["label"]["temperature"] == model.model.heads[0].temperature
    again = plait.load(folder)
    assert [head.temperature for head in again.model.heads] == [
        head.temperature for head in model.model.heads
    ]
    assert again.held.calibration == model.held.calibration
    one, two = model.predict_proba(braid / "test.csv"), again.predict_proba(braid / "test.csv")
    np.testing.assert_array_equal(one["label"], two["label"])


def test_golden_rows_hold_the_calibrated_answers(several):
    _, folder = several
    again = plait.load(folder)
    assert len(again.golden) == 2 and again.verify() < 1e-5
    for head in again.model.heads:
        head.temperature = 5.0
    with pytest.raises(plait.errors.BundleError, match="golden rows now give answers that differ"):
        again.verify()


def test_calibration_is_a_note_and_changes_no_answer(maker, plain_run):
    class Notes:
        def __init__(self):
            self.told = []

        def note(self, text):
            self.told.append(text)

        def stage(self, title, total, unit):
            from plait.display.progress import Silent

            return Silent().stage(title, total, unit)

    notes = Notes()
    table = maker.plain(120)
    model = maker.fit(table, "label", progress=notes, epochs=3)
    (told,) = [line for line in notes.told if "calibrated" in line]
    assert told == model.held.calibration["label"].summary("label")
    before = model.predict(table).tolist()
    for head in model.model.heads:
        head.temperature = 1.0
    assert model.predict(table).tolist() == before


def test_a_bundle_of_before_loads_uncalibrated(several, braid, tmp_path):
    import shutil

    _, folder = several
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    manifest = json.loads((old / "bundle.json").read_text())
    for name in ("held_out.json", "held_out.safetensors"):
        (old / name).unlink()
        del manifest["files"][name]
    (old / "bundle.json").write_text(json.dumps(manifest))
    model = plait.load(old)
    assert (
        model.held.calibration == {} and model.held.conformal == {} and model.held.outlier is None
    )
    assert all(head.temperature == 1 for head in model.model.heads)
    assert len(model.predict(braid / "test.csv")["label"]) == 24


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_is_a_positive_number(temperature):
    with pytest.raises(ValueError, match="a temperature is a positive number, got"):
        Calibration.from_json(
            {"temperature": temperature, "rows": 3, "log_loss": None, "error": None}
        )
    fine = Calibration(1.5, 30, (0.5, 0.4), (0.1, 0.05))
    assert Calibration.from_json(json.loads(json.dumps(fine.to_json()))) == fine
