"""Degraded columns, curves under them, and the two robustness figures by hand."""

import json

import numpy as np
import pytest

import plait
import plait.insight.explain.robustness as module
from plait.data.features import settings_for
from plait.data.store import PreparedColumn
from plait.errors import TableError
from plait.insight.explain.curves import effective_robustness, relative_robustness
from plait.insight.explain.degrade import degradations, degrade
from plait.insight.explain.robustness import robustness


def flat(values, present=None):
    values = np.asarray(values)
    return PreparedColumn(values, None, np.ones(len(values), bool) if present is None else present)


def ragged(*cells):
    values = np.concatenate(cells)
    offsets = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])]).astype(np.int64)
    return PreparedColumn(values, offsets, np.array([len(cell) > 0 for cell in cells]))


@pytest.fixture
def images(rng):
    return flat(rng.integers(0, 255, (6, 8, 8, 3)).astype(np.uint8))


@pytest.fixture
def sounds(rng):
    return ragged(*(rng.normal(size=(steps, 4)).astype(np.float16) for steps in (10, 0, 7)))


def same(one, two):
    rows = np.arange(len(one))
    return all(np.array_equal(a, b) for a, b in zip(one.batch(rows), two.batch(rows), strict=True))


def test_what_can_be_done_to_what(images, sounds):
    ids = ragged(np.array([1, 2, 3]), np.array([4]))
    assert degradations("image", images) == ["noise", "blur", "crop", "missing"]
    assert degradations("audio", sounds) == ["noise", "cut", "missing"]
    assert degradations("signal", sounds) == ["noise", "cut", "missing"]
    assert degradations("text", ids) == ["drop", "missing"]
    assert degradations("numeric", flat(np.ones((3, 1), np.float32))) == ["noise", "missing"]
    assert degradations("categorical", flat(np.ones(3, np.int32))) == ["swap", "missing"]
    assert degradations("datetime", flat(np.ones((3, 7), np.float32))) == ["swap", "missing"]
    assert degradations("image", sounds) == ["drop", "missing"]  # a frozen encoder's tokens
    assert degradations("text", flat(np.ones((3, 5), np.float32))) == ["missing"]


def test_level_nought_changes_nothing(images, sounds):
    for modality, column in (
        ("image", images),
        ("audio", sounds),
        ("categorical", flat(np.arange(5))),
    ):
        for how in degradations(modality, column):
            assert same(degrade(column, modality, how, 0.0), column), how


def test_level_one_is_the_worst(images, sounds):
    ids = ragged(np.arange(50), np.arange(3))
    assert not degrade(ids, "text", "drop", 1.0).rows_present.any()
    assert not degrade(sounds, "audio", "cut", 1.0).rows_present.any()
    assert not degrade(images, "image", "missing", 1.0).rows_present.any()
    cropped = degrade(images, "image", "crop", 1.0).values
    assert (cropped == cropped[:, :1, :1]).all()  # one pixel, enlarged
    blurred = degrade(images, "image", "blur", 1.0).values.astype(float)
    assert blurred.std() < images.values.std() and blurred.dtype == float


def test_noise_grows_and_keeps_the_kind(images, sounds):
    far = [
        np.abs(degrade(images, "image", "noise", level).values.astype(int) - images.values).mean()
        for level in (0.2, 0.6, 1.0)
    ]
    assert far[0] < far[1] < far[2]
    worse = degrade(sounds, "audio", "noise", 1.0)
    assert worse.values.dtype == np.float16 and np.array_equal(worse.offsets, sounds.offsets)
    added = worse.values.astype(float) - sounds.values
    assert added.std() == pytest.approx(sounds.values.astype(float).std(), rel=0.3)
    assert not worse.rows_present[1]


def test_shares_are_as_asked():
    ids = ragged(*(np.arange(100) for _ in range(20)))
    dropped = degrade(ids, "text", "drop", 0.3)
    assert len(dropped.values) == pytest.approx(1400, abs=80)
    assert (np.diff(dropped.values[: dropped.offsets[1]]) > 0).all()  # the order stays
    cut = degrade(ids, "audio", "cut", 0.25)
    assert (np.diff(cut.offsets) == 75).all() and (np.diff(cut.values[:75]) == 1).all()
    gone = degrade(flat(np.ones((1000, 1), np.float32)), "numeric", "missing", 0.4)
    assert gone.rows_present.mean() == pytest.approx(0.6, abs=0.05)
    swapped = degrade(flat(np.arange(1000)), "categorical", "swap", 0.5)
    assert (swapped.values != np.arange(1000)).mean() == pytest.approx(0.5, abs=0.05)


def test_rows_that_share_a_cell_are_degraded_apart(rng):
    column = PreparedColumn(
        np.full((1, 4, 4, 3), 100, np.uint8), None, np.array([True]), np.zeros(5, np.int64)
    )
    worse = degrade(column, "image", "noise", 1.0)
    assert len(worse) == 5 and worse.index is None
    assert np.array_equal(worse.values[0], column.values[0])  # no deviation, no noise
    assert np.array_equal(degrade(column, "image", "missing", 0.0).values, column.values[[0] * 5])


def test_the_seed_decides(images):
    one, again, other = (degrade(images, "image", "noise", 0.5, seed=seed) for seed in (1, 1, 2))
    assert same(one, again) and not same(one, other)


def test_figures_by_hand():
    assert relative_robustness([0, 0.5, 1], [1.0, 0.6, 0.2]) == pytest.approx(0.6)
    assert relative_robustness([0, 0.2, 1], [1.0, 1.0, 0.0]) == pytest.approx(0.2 + 0.4)
    # As fast a decline, from a better start: nothing gained.
    assert effective_robustness([0, 0.5, 1], [0.9, 0.7, 0.5], [0.8, 0.6, 0.4]) == pytest.approx(0)
    assert effective_robustness([0, 1], [0.9, 0.9], [0.8, 0.4]) == pytest.approx(0.2)


# Of a fitted model.


@pytest.fixture(scope="module")
def found(several, braid):
    model, _ = several
    return model, robustness(model, braid / "test.csv", levels=(0, 1), columns=["photo", "shop"])


def test_every_subset_is_measured_as_evaluate_does(found, braid):
    model, told = found
    right = model.evaluate(braid / "test.csv", resamples=0)
    streams = tuple(model.model.streams)
    for target in model.targets:
        present = told.present[target.name]
        assert len(present) == 32
        assert present[streams] == pytest.approx(
            right.targets[target.name].metrics, abs=1e-4, nan_ok=True
        )
        for name, figures in right.targets[target.name].alone.items():
            assert present[(name,)] == pytest.approx(figures, abs=1e-4, nan_ok=True)
        for name, figures in right.targets[target.name].without.items():
            rest = tuple(one for one in streams if one != name)
            assert present[rest] == pytest.approx(figures, abs=1e-4, nan_ok=True)


def test_curves_start_at_the_untouched_metric(found):
    model, told = found
    assert {(one.column, one.how) for one in told.curves} == {
        ("photo", "noise"), ("photo", "blur"), ("photo", "crop"), ("photo", "missing"),
        ("shop", "swap"), ("shop", "missing"),
    }  # fmt: skip
    streams = tuple(model.model.streams)
    for one in told.curves:
        assert one.values[0] == pytest.approx(
            told.present[one.target][streams][one.metric], abs=1e-5
        )
        assert one.levels == [0, 1] and one.relative == pytest.approx(sum(one.values) / 2)
    whole = {(one.target, one.column, one.how): one for one in told.curves}
    without = tuple(name for name in streams if name != "photo")
    gone = whole["label", "photo", "missing"]
    assert gone.values[1] == pytest.approx(told.present["label"][without][gone.metric], abs=1e-5)


def test_the_baseline_is_the_mean_of_what_streams_answer_by_themselves(found, braid):
    model, told = found
    table = braid / "test.csv"
    streams = list(model.model.streams)
    own = np.stack([model.answer(table, streams=[name]).scores["score"] for name in streams])
    prepared = model.features.prepare(
        plait.open_table(table), settings_for(plait.open_table(table), model.config)
    )
    there = np.stack(
        [
            np.any([prepared.columns[one].rows_present for one in columns], axis=0)
            for columns in model.model.streams.values()
        ]
    )
    late = (own * there).sum(axis=0) / there.sum(axis=0)
    truth = np.array([float(cell) for cell in plait.open_table(table).cells("score")])
    r2 = 1 - ((truth - late) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    for one in told.curves:
        if one.target == "score":
            assert one.late[0] == pytest.approx(r2, abs=1e-3)
            assert one.effective == pytest.approx(
                effective_robustness(one.levels, one.values, one.late)
            )


def test_results_are_json(found):
    _, told = found
    data = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert data["present"]["label"][0]["streams"] == [] and data["rows"] == 24
    assert data["curves"][0]["relative"] == told.curves[0].relative


def test_many_rows_and_many_streams(several, braid, monkeypatch):
    model, _ = several
    monkeypatch.setattr(module, "MAX_DEGRADED_ROWS", 8)
    monkeypatch.setattr(module, "MAX_EXACT", 3)
    told = robustness(model, braid / "test.csv", levels=(0, 1), columns=[])
    assert told.rows == 8 and told.notes[0] == "8 of 24 rows were used, evenly spaced"
    sizes = sorted(len(names) for names in told.present["label"])
    assert sizes == [1] * 5 + [4] * 5 + [5] and told.curves == []


def test_nothing_to_measure(several, braid):
    model, _ = several
    table = plait.open_table(braid / "test.csv")
    cells = {name: table.cells(name) for name in table.columns}
    gone = {**cells, **dict.fromkeys(("label", "score", "tags"), [None] * 24)}
    with pytest.raises(
        TableError,
        match="has no row with a known answer in label, score, tags: nothing can be measured",
    ):
        robustness(model, gone, root=braid)
    one = robustness(
        model, {**gone, "label": cells["label"]}, root=braid, levels=(0, 1), columns=["price"]
    )
    assert list(one.present) == ["label"] and {curve.target for curve in one.curves} == {"label"}
    with pytest.raises(TableError, match="has no column 'label'"):
        robustness(model, {"price": [1.0]})
