"""A kind of target made in a test, whose answers are sequences, from a fit to its report."""

import json

import numpy as np
import pytest
import spelling

import plait
from plait.answers.golden import to_json
from plait.data.targets.registry import propose_target
from plait.data.targets.scores import Steps, finite, gap, gaps, ragged
from plait.data.targets.scores import to_json as row_json
from plait.errors import BundleError, CompressError, ConfigError, ExportError
from plait.export.app import export
from plait.runtime.graphs import Graphs
from plait.serve import replies
from plait.serve.engine import Result
from plait.training.compress.compress import compress


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        spelling.register(monkeypatch)
        folder = tmp_path_factory.mktemp("runs") / "words"
        model = plait.fit(
            spelling.table(),
            "word",
            out=folder,
            epochs=40,
            columns={"note": "text"},
            preset="fast",
            report="en",
            golden_rows=3,
        )
        yield model, folder


def test_a_kind_is_known_by_its_cells_and_learnt(fitted):
    model, _ = fitted
    (target,) = model.targets
    assert target.kind == "spelling" and "letters" in target.to_json()
    assert propose_target("word", ["ab", "cab"]).reason == "words of the letters abc"
    test = spelling.table(rows=20, seed=1)
    assert model.predict(test).tolist() == test["word"]
    found = model.evaluate(test, resamples=20)
    assert found["exact_match"] == 1.0
    assert found.targets["word"].intervals["exact_match"] == (1.0, 1.0)
    assert set(found.targets["word"].alone) == {"note", "tabular"}
    assert found.targets["word"].alone["note"]["exact_match"] < 1.0
    assert json.loads(json.dumps(found.to_json()))["targets"]["word"]["kind"] == "spelling"


def test_a_saved_model_answers_the_same_and_verifies(fitted, tmp_path):
    model, folder = fitted
    again = plait.load(folder)
    assert again.verify() <= 1e-6
    test = spelling.table(rows=150, seed=2)  # more than a batch
    one, other = model.answer(test), again.answer(test)
    assert one.values["word"].tolist() == other.values["word"].tolist()
    assert gaps(one.scores["word"], other.scores["word"]).max() < 1e-6
    saved = to_json(again.golden)
    assert saved[0]["scores"]["word"].keys() == {"ids", "scores"}
    again.golden[0].scores["word"]["ids"][0] += 1
    with pytest.raises(BundleError, match="differ by inf from the saved ones"):
        again.verify()


def test_answers_as_columns_and_as_json(fitted):
    model, _ = fitted
    test = spelling.table(rows=5, seed=3)
    answers = model.answer(test)
    columns = answers.to_columns()
    assert list(columns) == ["word", "word_confidence"]
    assert columns["word"] == test["word"] and all(
        0 < sure <= 1 for sure in columns["word_confidence"]
    )
    result = Result(model.scores(plait.open_table(test))["all"], None, (), [], [])
    told = replies.answers(model.targets, result)
    assert [row["word"]["answer"] for row in told] == test["word"]
    assert len(told[0]["word"]["steps"]) == len(test["word"][0])
    (target,) = model.targets
    back = target.replied([row["word"] for row in told])
    assert gaps(back, answers.scores["word"]).max() < 1e-5


def test_what_each_stream_adds_is_told_and_maps_are_left_out(fitted):
    model, folder = fitted
    test = spelling.table(rows=12, seed=4)
    found = model.contributions(test)
    shares = found.targets["word"]
    whole = shares.empty + shares.values.sum(axis=1)
    np.testing.assert_allclose(whole, shares.fused, atol=1e-5)
    assert shares.metrics["exact_match"].fused == 1.0
    told = model.explain(test, row=2)
    assert told.within == {} and json.dumps(told.to_json())
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "spelling" in html and 'id="robustness"' in html


def test_what_cannot_be_done_with_sequences_is_refused_by_name(fitted, tmp_path):
    model, _ = fitted
    with pytest.raises(ExportError, match="'word' is a word: a graph gives as many numbers"):
        export(model, tmp_path / "app")
    with pytest.raises(CompressError, match="'word' is a word, which cannot be distilled"):
        compress(model, spelling.table())
    with pytest.raises(ConfigError, match="'word' is a word, by which fusions cannot be compared"):
        plait.compare(spelling.table(), "word", fusion="concat", seeds=1)


def test_the_runtime_joins_ragged_scores_and_keeps_their_order():
    """Graphs whose step gives a sequence per row, as a decoder's will."""

    class Echo(Graphs):
        def __init__(self):
            self.targets = ["word"]

        def _step(self, columns, rows, shown):
            return [ragged(Steps(np.arange(row % 3), np.ones(row % 3, np.float32)) for row in rows)]

    scores = Echo().run({}, 300)["word"]
    assert [len(row) for row in scores] == [row % 3 for row in range(300)]


def test_gaps_between_sequences():
    one = Steps(np.array([1, 2]), np.array([0.5, 0.25], np.float32))
    assert gap(one, row_json(one)) == 0
    assert gap(one, {"ids": [1, 2], "scores": [0.5, 0.5]}) == 0.25
    assert gap(one, {"ids": [1], "scores": [0.5]}) == float("inf")
    lost = Steps(np.array([1, 2]), np.array([0.5, np.nan], np.float32))
    assert gap(lost, row_json(one)) == float("inf")
    assert finite(ragged([one])) and not finite(ragged([one, lost]))
    assert gap(np.array([0.5, 0.25]), [0.5, 0.5]) == 0.25 and gap(np.float64(2.0), 1.5) == 0.5
