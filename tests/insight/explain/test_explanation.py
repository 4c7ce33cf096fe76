"""`Predictor.explain` and `plait explain`: the same numbers as their parts, laid out for a terminal."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

import plait
from plait.errors import TableError
from plait.insight.explain.explanation import AGAIN, whole
from plait.insight.explain.held_out import HeldOut


@pytest.fixture(scope="module")
def told(several, braid):
    model, _ = several
    return model, model.explain(plait.open_table(braid / "test.csv").slice(0, 4), steps=4)


def test_it_holds_what_its_parts_hold(told, braid):
    model, found = told
    table = plait.open_table(braid / "test.csv").slice(0, 4)
    assert len(found) == 4 and list(found.within) == ["label", "score", "tags"]
    answers, shares = model.answer(table), model.contributions(table)
    assert found.answers.values["label"].tolist() == answers.values["label"].tolist()
    np.testing.assert_array_equal(
        found.contributions.targets["label"].values, shares.targets["label"].values
    )
    assert found.contributions.targets["label"].metrics == {}
    np.testing.assert_array_equal(found.unusual, model.held.outlier.percentile(model.embed(table)))


def test_words_fit_their_maps(told):
    _, found = told
    for words, one in zip(found.words["note"], found.within["label"].maps["note"], strict=True):
        assert (words is None) == (one is None)
        if words is not None:
            assert len(words) == len(one)
    first = next(words for words in found.words["note"] if words is not None)
    assert "seen" in "".join(first) and list(found.words) == ["note"]


def test_one_row_of_many(told, several, braid):
    model, found = told
    one = model.explain(braid / "test.csv", row=2, steps=4)
    assert len(one) == 1
    assert one.within["label"].score[0] == pytest.approx(found.within["label"].score[2], abs=1e-5)
    for wrong, table in ((24, braid / "test.csv"), (-1, braid / "test.csv")):
        with pytest.raises(
            TableError, match=rf"row={wrong}: test.csv has 24 rows, counted from 0 to 23\."
        ):
            model.explain(table, row=wrong)
    empty = plait.open_table(braid / "test.csv").slice(0, 0)
    with pytest.raises(TableError, match=r"test.csv has no rows; there is nothing to explain\.$"):
        model.explain(empty, row=0)
    assert len(model.explain(empty)) == 0


def test_it_is_json(told):
    _, found = told
    data = json.loads(json.dumps(found.to_json(), allow_nan=False, default=str))
    assert set(data) == {"answers", "contributions", "within", "words", "unusual"}
    assert len(data["unusual"]) == 4


def test_rows_of_several_runs_are_joined(several, braid, monkeypatch):
    model, _ = several
    whole = model.explain(braid / "test.csv", steps=2)
    monkeypatch.setattr("plait.answers.answerer.ROWS", 10)
    parts = model.explain(braid / "test.csv", steps=2)
    assert len(parts) == 24 and len(parts.words["note"]) == 24
    np.testing.assert_allclose(whole.within["label"].score, parts.within["label"].score, atol=1e-5)
    for one, two in zip(
        whole.within["label"].maps["photo"], parts.within["label"].maps["photo"], strict=True
    ):
        assert (one is None) == (two is None)


def test_pieces_of_other_alphabets(maker):
    rows = [{**row, "note": f"{row['note']} 完全 🙂"} for row in maker.plain(40)]
    model = maker.fit(rows, "label")
    (words,) = model.explain([{"note": "cheap thing 完"}]).words["note"]
    assert "".join(words).split()[:2] == ["cheap", "thing"]
    (words,) = model.explain([{"note": "罕见 cheap"}]).words["note"]
    assert AGAIN in words  # no character of those is in the vocabulary
    marks = np.arange(len(words), dtype=float)
    read, summed = whole(words, marks)
    assert "".join(read).replace(" ", "") == "罕见cheap"
    assert "\ufffd" not in "".join(read)
    assert len(read) == len(summed) < len(words)
    assert summed.sum() == marks.sum()
    assert whole([], marks[:0])[0] == []


# The command.


@pytest.mark.parametrize("width", [80, 120])
def test_the_command_fits_the_terminal(run, several, braid, monkeypatch, width):
    import plait.cli.explain as commands

    _, folder = several
    row = 1
    monkeypatch.setattr(commands, "console", Console(width=width))
    code, out, _ = run("explain", folder, braid / "test.csv", "--row", row)
    assert code == 0
    lines = [line for line in out.splitlines() if "test.csv" not in line]
    assert max(map(len, lines)) <= width
    for word in (
        "label: ",
        "score: ",
        "tags: ",
        "Contribution of each stream, from",
        "What mattered inside",
    ):
        assert word in out
    assert f"row {row} of {braid / 'test.csv'}" in out
    assert "% of the validation rows" in out
    assert "tabular" in out and re.search(r"field +contribution", out) and "(start to end)" in out


def test_every_kind_of_row(run, several, braid, maker, tmp_path):
    """Missing streams, unreadable cells, a bundle without a neighbourhood."""
    model, folder = several
    code, out, _ = run("explain", folder, braid / "test.csv", "--json")
    assert code == 0 and json.loads(out)["row"] == 0
    table = maker.csv(tmp_path, "new.csv", [{"photo": "gone.png", "price": 3.0, "note": "apple !"}])
    code, out, _ = run("explain", folder, table)
    assert code == 0 and "! the table has no column 'voice'" in out and "missing" in out
    code, _, err = run("explain", folder, table, "--row", "9")
    assert code == 1 and "row=9: new.csv has 1 row," in err
    model = plait.load(folder)
    model.held = HeldOut()
    model.save(tmp_path / "bare")
    code, out, _ = run("explain", tmp_path / "bare", table)
    assert code == 0 and "validation rows" not in out
    assert model.explain(table).unusual is None


def test_an_unreadable_cell_is_told_by_the_row_of_the_table(run, several, maker, tmp_path):
    rows = [{"photo": name, "price": 3.0, "note": "apple"} for name in ("", "gone.png")]
    code, out, _ = run("explain", several[1], maker.csv(tmp_path, "t.csv", rows), "--row", 1)
    assert code == 0 and "photo: 1 unreadable cell in row 1" in " ".join(out.split())


def test_sampled_streams_show_their_error(run, several, braid, monkeypatch):
    from functools import partial

    from plait.insight.explain import contributions
    from plait.insight.explain.shapley import Game

    _, folder = several
    monkeypatch.setattr(contributions, "Game", partial(Game, exact=2))
    code, out, _ = run("explain", folder, braid / "test.csv")
    assert code == 0 and " ± " in out


def test_the_command_explains_itself(run):
    code, out, _ = run("explain", "--help")
    assert code == 0 and "plait explain runs/a new.csv --row 17" in " ".join(out.split())


def test_words_without_letters_are_quoted():
    from plait.cli.explain import _named, _picture, _shrunk

    assert _named(" two") == "two" and _named(",") == "','" and _named(" ") == "' '"
    assert _shrunk(np.arange(6.0), 3).tolist() == [1, 5, 9]
    paper = io.StringIO()
    _picture(Console(width=80, file=paper), np.eye(4))
    assert paper.getvalue().splitlines() == ["  |█   |", "  | █  |", "  |  █ |", "  |   █|"]
