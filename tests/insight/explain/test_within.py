"""Integrated gradients against closed forms and captum's way of counting, and their completeness."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import plait
from plait.data.features import Features, settings_for
from plait.data.store import PreparedColumn
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.data.targets.numbers import Numbers
from plait.insight.explain.path import Inputs, answer_score, unit_of
from plait.insight.explain.within import attribute, integrated, kinds_of, pooled
from plait.model.encoders.base import Encoder
from plait.model.fusion import build_fusion
from plait.model.heads import Regress, build_head
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Tokens

SIZE = Numbers("size", mean=5.0, scale=2.0)


class Sum(Encoder):
    """A token whose numbers are all a weighted sum of the cell: linear, so the gradient is known."""

    width = 4

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, *columns):
        (column,) = columns
        values = column.values.to(torch.float32)
        if values.ndim == 3:
            values = (values * column.mask.unsqueeze(-1)).sum(dim=1)
        one = (values * self.weights).sum(dim=1)
        return Tokens(one[:, None, None].expand(-1, 1, 4), column.present[:, None])


class Line(Regress):
    """A head and a fusion in one: the sum of the streams' first numbers, squared where asked."""

    def __init__(self, squared):
        super().__init__(width=4)
        self.squared = squared

    def forward(self, fused):
        total = fused.vector[:, :1]
        return total**2 if self.squared else total


class Add(nn.Module):
    width, widths, voting = 4, {"one": 4, "two": 4}, False

    def forward(self, tokens):
        from plait.model.tokens import Fused

        return Fused(sum(t.values[:, 0] * t.present[:, None] for t in tokens.values()))


def line(squared=False):
    model = Model(
        streams={"one": ["one"], "two": ["two"]},
        encoders={"one": Sum([1.0, 2.0]), "two": Sum([3.0])},
        fusion=build_fusion("concat", {"one": 4, "two": 4}, width=4, dropout=0.0),
        heads={"size": build_head("regress", width=4, outputs=1, dropout=0.0)},
    )
    model.fusion, model.heads = Add(), nn.ModuleList([Line(squared)])
    return model


def cells():
    return {
        "one": ColumnBatch(torch.tensor([[1.0, 1.0], [0.5, -2.0]]), torch.tensor([True, True])),
        "two": ColumnBatch(torch.tensor([[2.0], [7.0]]), torch.tensor([True, False])),
    }


KINDS = {"one": "field", "two": "field"}


def test_of_a_linear_model_they_are_weight_times_input():
    maps, score, base, _ = integrated(line(), cells(), SIZE, KINDS, steps=3)
    np.testing.assert_allclose(maps["one"], 2.0 * np.array([[1, 2], [0.5, -4]]), atol=1e-5)
    np.testing.assert_allclose(maps["two"], 2.0 * np.array([[6], [0]]), atol=1e-5)
    np.testing.assert_allclose(score, [5 + 2 * 9, 5 + 2 * -3.5], atol=1e-5)
    np.testing.assert_allclose(base, [5, 5], atol=1e-5)


def test_of_a_quadratic_they_are_the_aumann_shapley_values():
    # f = (a + b)^2 from 0: each part gets its share of the sum, times the sum.
    maps, score, _, _ = integrated(line(squared=True), cells(), SIZE, KINDS, steps=4)
    np.testing.assert_allclose(maps["two"][0], [2 * 6 * 9], rtol=1e-5)
    np.testing.assert_allclose(maps["one"][0], [2 * 1 * 9, 2 * 2 * 9], rtol=1e-5)
    assert score[0] == pytest.approx(5 + 2 * 81)


def test_ragged_tokens_of_a_frozen_encoder():
    """Half-precision features ``[steps, hidden]``: one weight a token, padding none."""
    model = line()
    batch = cells()
    values = torch.tensor([[[1.0, 1.0], [2.0, 0.0]], [[4.0, 4.0], [9.0, 9.0]]], dtype=torch.float16)
    batch["one"] = ColumnBatch(values, torch.tensor([[True, True], [True, False]]))
    kinds = {"one": unit_of("image", batch["one"], {}), "two": "field"}
    assert kinds["one"] == "tokens"
    maps, *_ = integrated(model, batch, SIZE, kinds, steps=3)
    np.testing.assert_allclose(pooled(maps["one"], "tokens"), [[6, 4], [24, 0]], atol=1e-4)


def test_baselines():
    model = line()
    pixels = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 4, 3)
    model.encoders[0].forward = lambda *c: Tokens(torch.zeros(1, 1, 4), c[0].present[:, None])
    model.encoders[1].forward = model.encoders[0].forward
    sound = torch.arange(12.0).reshape(1, 3, 4)
    batch = {
        "one": ColumnBatch(pixels, torch.tensor([True])),
        "two": ColumnBatch(sound, torch.tensor([[True, True, False]])),
    }
    found = Inputs(model, batch, {"one": "pixels", "two": "spectrum"})
    mean = pixels.float().mean(dim=(1, 2))
    np.testing.assert_allclose(found.base["one"], mean[:, None, None].expand(1, 2, 4, 3))
    np.testing.assert_allclose(
        found.base["two"][0, 0], [2, 3, 4, 5]
    )  # the mean of the two real steps
    np.testing.assert_allclose(found.base["two"][0, 2], sound[0, 2])  # padding is its own


def test_what_is_marked_by_modality():
    ragged = torch.ones(1, 3, dtype=torch.bool)
    flat = torch.ones(1, dtype=torch.bool)
    kinds = [
        unit_of("image", ColumnBatch(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), flat), {}),
        unit_of("audio", ColumnBatch(torch.zeros(1, 3, 5), ragged), {"mels": 5}),
        unit_of("audio", ColumnBatch(torch.zeros(1, 3, 6), ragged), {"mels": 5}),
        unit_of("signal", ColumnBatch(torch.zeros(1, 3, 2), ragged), {"leads": 2}),
        unit_of("text", ColumnBatch(torch.zeros(1, 3, dtype=torch.int32), ragged), {}),
        unit_of("numeric", ColumnBatch(torch.zeros(1, 1), flat), {}),
    ]
    assert kinds == ["pixels", "spectrum", "tokens", "signal", "tokens", "field"]


def test_scores_of_answers():
    scores = torch.tensor([[0.2, 0.8], [0.6, 0.4]])

    def told(target, scores):
        head = build_head(target.head, width=4, outputs=target.outputs, dropout=0.0)
        return answer_score(target, head, scores, head.answered(scores)).tolist()

    assert told(Classes("y", ("a", "b")), scores) == pytest.approx([0.8, 0.6])
    assert told(Labels("y", ("a", "b")), scores) == pytest.approx([0.8, 0.6])
    assert told(SIZE, scores[:, :1]) == pytest.approx([5.4, 6.2])


# Of a fitted model.


@pytest.fixture(scope="module")
def prepared(several, braid):
    model = plait.load(several[1])
    for head in model.model.heads:  # scores that move
        head.temperature = 0.3
    table = plait.open_table(braid / "test.csv").slice(0, 10)
    return model, model.features.prepare(table, settings_for(table, model.config)).columns


@pytest.mark.parametrize("place", [0, 1, 2])
def test_completeness(prepared, place):
    """All maps of a row sum to the score less the score at the baseline, the more points the nearer."""
    model, columns = prepared
    target, rows = model.targets[place], np.arange(10)
    found = attribute(model.model, columns, rows, target, model.features, steps=64)
    change = np.abs(found.score - found.base).max()
    assert change > 1e-3 and np.abs(found.gap).max() < 0.03 * change
    for row in range(10):
        total = sum(found.totals(row).values())
        assert total == pytest.approx(found.score[row] - found.base[row] - found.gap[row], abs=1e-4)
    rough = attribute(model.model, columns, rows, target, model.features, steps=2)
    assert np.abs(rough.gap).mean() > np.abs(found.gap).mean()


def test_maps_have_the_shapes_of_what_they_mark(prepared):
    model, columns = prepared
    found = attribute(
        model.model, columns, np.arange(10), model.targets[0], model.features, steps=4
    )
    assert found.kinds == {
        "photo": "pixels", "note": "tokens", "voice": "spectrum", "price": "field", "shop": "field",
        "day": "field", "pulse": "signal",
    }  # fmt: skip
    assert found.left == [] and len(found) == 10
    for name, maps in found.maps.items():
        values, mask = columns[name].batch(np.arange(10))
        for row, one in enumerate(maps):
            assert (one is None) == (not mask[row].any())
            if one is not None:
                shape = {"photo": values.shape[1:3], "note": (mask[row].sum(),)}.get(
                    name, (mask[row].sum(), *values.shape[2:]) if mask.ndim == 2 else ()
                )
                assert one.shape == tuple(shape), name
    assert any(one is None for maps in found.maps.values() for one in maps)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["kinds"]["voice"] == "spectrum" and len(data["maps"]["photo"]) == 10


def test_the_score_is_that_of_the_answer(prepared, braid):
    model, columns = prepared
    answers = model.answer(plait.open_table(braid / "test.csv").slice(0, 10))
    found = attribute(
        model.model, columns, np.arange(10), model.targets[0], model.features, steps=2
    )
    np.testing.assert_allclose(found.score, answers.scores["label"].max(axis=1), atol=1e-5)
    none = attribute(model.model, columns, np.arange(0), model.targets[0], model.features, steps=2)
    assert len(none) == 0


def test_gradients_agree_with_captum(prepared):
    """captum's IntegratedGradients over the same inputs and baselines."""
    captum = pytest.importorskip("captum.attr")
    model, columns = prepared
    batch = collate(columns, np.arange(4))
    kinds = kinds_of(model.features, batch)
    target = model.targets[0]
    maps, _, _, inputs = integrated(model.model, batch, target, kinds, steps=16)
    with torch.no_grad():
        answers = model.model.heads[0].answered(inputs.scores(inputs.values, 0))
    names = list(inputs.values)

    def one_row(*values):
        # captum lays the points of the path out as a batch; a row at a time keeps ours as it is.
        return torch.stack(
            [
                answer_score(
                    target,
                    model.model.heads[0],
                    inputs.scores({n: v[p : p + 4] for n, v in zip(names, values, strict=True)}, 0),
                    answers,
                )
                for p in range(0, len(values[0]), 4)
            ]
        ).flatten()

    given = tuple(inputs.values[name] for name in names)
    bases = tuple(inputs.base[name] for name in names)
    theirs = captum.IntegratedGradients(one_row).attribute(given, bases, n_steps=16)
    for name, right in zip(names, theirs, strict=True):
        np.testing.assert_allclose(maps[name], right.detach(), atol=1e-5, rtol=1e-3)


def test_ids_that_no_table_looks_up_have_no_map():
    class Deaf(Encoder):
        width = 4

        def forward(self, *columns):
            return Tokens(torch.zeros(len(columns[0].values), 1, 4), columns[0].present[:, None])

    model = line()
    model.encoders[0] = Deaf()
    ids = PreparedColumn(np.array([3, 4]), np.array([0, 1, 2]), np.array([True, True]))
    numbers = PreparedColumn(np.array([[1.0], [2.0]], np.float32), None, np.array([True, True]))
    features = Features({"one": "text", "two": "numeric"}, {"one": {}, "two": {}})
    found = attribute(model, {"one": ids, "two": numbers}, np.arange(2), SIZE, features, steps=2)
    assert found.left == ["one"] and list(found.maps) == ["two"]


def test_two_columns_of_the_same_ids_each_have_their_own_map(maker):
    rows = [{**row, "again": row["shop"]} for row in maker.plain(40)]
    model = maker.fit(rows, "label", columns={"again": "categorical", "shop": "categorical"})
    found = model.explain(rows[:6]).within["label"]
    one, two = found.maps["shop"], found.maps["again"]
    assert all(float(a) != float(b) for a, b in zip(one, two, strict=True))
    assert np.abs(found.gap).max() < 0.01
