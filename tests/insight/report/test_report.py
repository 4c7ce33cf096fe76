"""Whole pages of tiny models: every part, both languages, odd tables, the end of a fit, the commands."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import plait
from plait import sealed
from plait.errors import ConfigError, TableError, UnreadableCellsWarning
from plait.insight.report import album as album_module
from plait.insight.report import report as module
from tests.insight.report.conftest import QUICK

ALL = ["summary", "contributions", "within", "robustness", "trust", "training"]


@pytest.fixture(scope="module")
def whole(written, page):
    return page(written), written


def own(found):
    """The parts that this test knows of, in order; others may stand among them."""
    return [key for key in found.keys if key in ALL]


def test_every_part_is_there(whole, fitted):
    found, path = whole
    assert own(found) == ALL
    assert path.stat().st_size < 3_000_000
    assert [one["href"] for one in found.all("a")][:2] == ["#parts", "#summary"]
    assert found.all("html") == [{"lang": "en"}]
    for told in (
        "Report on label", "24 rows of test.csv", "Measured on 24 rows with a label.",
        "only photo", "without voice", "Pairs of streams", "photo and note", "most divided",
        "Example rows", "Are these maps reliable?", "Deletion:", "tabular fields",
        "Missing streams", "relative robustness", "truncation", "swapped between rows",
        "Are the probabilities calibrated?", "Prediction sets", "Accuracy when abstaining",
        "Unusual rows", "Gradient per stream", "Time spent", "rows per second",
        "Decisions, with their reasons", "target label: multiclass",
    ):  # fmt: skip
        assert told in found.text, told


def test_cells_are_shown_as_what_they_are(whole):
    found, _ = whole
    assert found.all("img") and found.all("audio") and found.all("mark") and found.all("polyline")
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in found.all("img"))
    assert all(one["aria-label"] for one in found.all("audio"))
    assert all(one["alt"] for one in found.all("img"))


def test_the_page_can_be_read_by_everyone(whole):
    found, path = whole
    levels = [int(name[1]) for name, _ in found.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert len(found.all("main")) == len(found.all("nav")) == len(found.all("footer")) == 1
    assert all(one["role"] == "img" for one in found.all("svg"))
    assert all(one.get("scope") for one in found.all("th"))
    named = {one["aria-labelledby"] for one in found.all("section")}
    assert named == {one["id"] for one in found.all("h2")}
    text = path.read_text(encoding="utf-8")
    policy = next(str(one["content"]) for one in found.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text and "prefers-reduced-motion" in text


def test_the_figures_are_those_of_evaluate(whole, fitted, braid):
    figures = fitted[0].evaluate(braid / "test.csv", resamples=0).targets["label"]
    found = whole[0].text
    assert f"{figures.metrics['auroc']:.3f}" in found
    assert f"{figures.alone['photo']['log_loss']:.3f}" in found


def test_in_chinese(fitted, braid, page, tmp_path):
    found = page(
        fitted[0].report(braid / "test.csv", tmp_path / "r.html", language="zh", limits=QUICK)
    )
    assert found.all("html") == [{"lang": "zh-Hans"}] and own(found) == ALL
    for told in (
        "label 的报告",
        "概要",
        "各模态的贡献",
        "平衡准确率",
        "可信程度",
        "训练过程",
        "多分类",
    ):
        assert told in found.text, told
    for english in (
        "Summary",
        "Measured on",
        "Example rows",
        "Training",
        "Deletion",
        "Unusual",
    ):
        assert english not in found.text, english


def test_several_targets(several, braid, page, tmp_path):
    found = page(several.report(braid / "test.csv", tmp_path / "r.html", limits=QUICK))
    assert "Report on label, score, tags" in found.text
    for told in ("mean width", "R²", "mAP", "an interval", "regression", "multilabel", "red;green"):
        assert told in found.text, told


def test_without_true_answers(several, braid, page, tmp_path):
    table = plait.open_table(braid / "test.csv")
    bare = table.select([name for name in table.columns if name not in ("label", "score", "tags")])
    found = page(several.report(bare, tmp_path / "r.html", limits=QUICK))
    assert [key for key in found.keys if key in ALL] == [
        "summary", "contributions", "within", "trust", "training",
    ]  # fmt: skip
    assert "nothing is measured" in found.text and "Unusual rows" in found.text
    assert "Pairs of streams" not in found.text


@pytest.mark.parametrize("shape", ["one row", "one class", "two columns gone"])
def test_odd_tables(plain_run, maker, page, tmp_path, shape):
    rows = maker.plain(12, seed=5)
    if shape == "one row":
        rows = rows[:1]
    elif shape == "one class":
        rows = rows[::2]
    else:
        rows = [{"note": row["note"], "price": None, "label": row["label"]} for row in rows]
    found = page(plain_run[0].report(rows, tmp_path / "r.html", limits=QUICK))
    assert own(found) == ALL
    if shape == "two columns gone":
        assert "The table has no column 'shop'" in found.text
    if shape == "one class":
        assert "–" in found.text  # no AUROC of one class


def test_a_single_stream_and_a_number(maker, page, tmp_path):
    rows = [{"x": n / 7, "y": 2.5 * n} for n in range(40)]
    model = maker.fit(rows, "y")
    found = page(model.report(rows, tmp_path / "r.html", limits=QUICK))
    assert own(found) == ["summary", "within", "robustness", "trust", "training"]
    assert "Missing streams" not in found.text and "noise" in found.text
    assert "Gradient per stream" not in found.text


def test_unreadable_cells_are_told(fitted, braid, page, tmp_path):
    table = plait.open_table(braid / "test.csv")
    cells = {name: table.cells(name)[:6] for name in table.columns}
    (tmp_path / "bad.png").write_bytes(b"no picture")
    cells["photo"] = [None, "nowhere.png", *cells["photo"][2:]]
    found = page(fitted[0].report(cells, tmp_path / "r.html", root=braid, limits=QUICK))
    assert "1 cell could not be read and counted as missing." in found.text


def test_a_model_that_kept_little(maker, page, tmp_path):
    from plait.insight.explain.held_out import HeldOut

    model = maker.fit(maker.plain(30), "label")
    model.held, model.history, model.record = HeldOut(), [], {}
    found = page(model.report(maker.plain(8, seed=3), tmp_path / "r.html", limits=QUICK))
    assert own(found) == ["summary", "contributions", "within", "robustness", "trust"]
    assert "This model has no calibration" in found.text
    assert "Prediction sets" not in found.text and "Unusual rows" not in found.text


# Escaping.

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
BIDI = "abc\u202edcba\u2066x"


def test_names_and_cells_are_only_text(maker, page, tmp_path):
    rows = [
        {
            f"note {NASTY}": f"{('cheap thing', 'dear piece')[n % 2]} {NASTY} {BIDI} {n}",
            f"{BIDI} price": float(n % 2) + n / 100,
            "shop": (NASTY, BIDI)[n % 2],
            f"label {NASTY}": (f"no {NASTY}", f"yes {BIDI}")[n % 2],
        }
        for n in range(40)
    ]
    target = f"label {NASTY}"
    model = maker.fit(rows, target, columns={f"note {NASTY}": "text"})
    path = model.report(rows, tmp_path / "r.html", limits=QUICK)
    found = page(path)  # no script, no handler, no address but data: and #
    assert "<script>alert(1)</script>" in found.text  # as words
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text and "\u202e" not in text and "\u2066" not in text
    assert "\u2329U+202E\u232a" in text
    page(model.report(rows, tmp_path / "row.html", row=1))


# Size.


def test_the_page_stays_small_by_leaving_media_out(fitted, braid, page, tmp_path, monkeypatch):
    monkeypatch.setattr(album_module, "MAX_BYTES", 9000)
    path = fitted[0].report(braid / "test.csv", tmp_path / "r.html", limits=QUICK)
    found = page(path)
    media = [str(one["src"]) for name in ("img", "audio") for one in found.all(name)]
    assert sum(map(len, media)) <= 9000
    assert "images or sounds were left out to keep it small." in found.text
    assert "not shown, to limit the size of the page" in found.text


def test_rows_are_capped_and_said(plain_run, maker, page, tmp_path):
    given = replace(QUICK, rows=5)
    found = page(plain_run[0].report(maker.plain(24), tmp_path / "r.html", limits=given))
    assert "5 of 24, evenly spaced" in found.text


# One row.


def test_one_row(several, braid, page, tmp_path):
    found = page(several.report(braid / "test.csv", tmp_path / "r.html", row=4, limits=QUICK))
    assert found.keys == ["answer", "contributions", "within"]
    assert "Row 4, explained" in found.text and "true answer" in found.text
    with pytest.raises(TableError, match="row=24: test.csv has 24 rows, counted from 0 to 23"):
        several.report(braid / "test.csv", tmp_path / "r.html", row=24)


def test_one_row_with_a_cell_that_cannot_be_read(fitted, braid, page, tmp_path):
    row = {"photo": "nowhere.png", "note": "apple orchard", "price": 1.0}
    path = tmp_path / "r.html"
    found = page(fitted[0].report([row], path, root=braid, row=0, limits=QUICK, language="zh"))
    assert "无法读取" in found.text and "缺失" in found.text


# Errors.


def test_errors(fitted, braid, tmp_path):
    model, test = fitted[0], braid / "test.csv"
    with pytest.raises(ConfigError, match="language: unknown language 'de'. Choose from: en, zh."):
        model.report(test, tmp_path / "r.html", language="de")
    with pytest.raises(
        TypeError, match="unknown keyword 'lang'.* Choose from: language, limits, run"
    ):
        model.report(test, tmp_path / "r.html", lang="en")
    with pytest.raises(ConfigError, match="is a folder; name a file, such as"):
        model.report(test, tmp_path)
    with pytest.raises(ConfigError, match="output: there is no folder"):
        model.report(test, tmp_path / "no" / "r.html")
    with pytest.raises(TableError, match="has none of the model's input columns"):
        model.report({"other": [1]}, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_a_full_disk(fitted, braid, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "page_of", lambda context: "x")
    monkeypatch.setattr(sealed.os, "fsync", full)
    with pytest.raises(ConfigError, match="could not be written to .*: No space left on device"):
        fitted[0].report(braid / "test.csv", tmp_path / "r.html", limits=QUICK)


# The end of a fit.


def test_a_fit_writes_its_report(maker, page, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BRIEF", QUICK)
    rows = [{**row, "photo": f"{number}.png"} for number, row in enumerate(maker.plain(40))]
    for number in range(0, 40, 3):
        maker.image(tmp_path / f"{number}.png", 90, np.random.default_rng(0))
    table = maker.csv(tmp_path, "t.csv", rows)
    with pytest.warns(UnreadableCellsWarning):
        model = maker.fit(
            *(table, "label"), out=tmp_path / "run", report="zh", max_unreadable=0.9,
            columns={"photo": "image"},
        )  # fmt: skip
    found = page(tmp_path / "run" / "report.html")
    assert own(found) == ALL
    assert re.search(r"[1-6] 个单元格无法读取", found.text)
    assert f"以种子 {model.config.seed} 留出的验证集" in found.text
    assert "这些是训练时的验证数据" in found.text
    assert plait.load(tmp_path / "run").record == model.record
    assert set(model.record["seconds"]) >= {"prepare", "train", "all"}
    assert model.record["rows"] == {"training": 34, "validation": 6}
    assert all(line["seconds"] > 0 for line in model.history)


def test_a_fit_may_leave_it_out_or_fail_to_write_it(maker, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("of an earlier model", encoding="utf-8")
    maker.fit(maker.plain(40), "label", out=tmp_path / "run", report="off")
    assert not (tmp_path / "run" / "report.html").exists()

    def refuse(context, place):
        raise ConfigError(["the report could not be written: no space."])

    monkeypatch.setattr(module, "write", refuse)
    model = maker.fit(maker.plain(40), "label", out=tmp_path / "other", report="en")
    assert plait.load(tmp_path / "other").classes_ == model.classes_


# The commands.


def test_the_commands(run, fitted, braid, page, tmp_path, monkeypatch):
    from plait.insight.report import context

    monkeypatch.setattr(module, "Limits", lambda: QUICK)
    monkeypatch.setattr(context, "Limits", lambda: QUICK)
    path = tmp_path / "r.html"
    code, out, err = run("report", fitted[1], braid / "test.csv", "-o", path, "--rows", 6, "-q")
    assert code == 0 and f"The report was written to {path} (" in out, err
    assert "6 of 24, evenly spaced" in page(path).text
    code, _, err = run("report", fitted[1], braid / "test.csv", "--language", "de")
    assert code == 2 and "unknown language 'de'" in err
    code, out, err = run("explain", fitted[1], braid / "test.csv", "--row", 2, "--html", path)
    assert code == 0 and f"The page was written to {path}" in out, err
    assert page(path).keys == ["answer", "contributions", "within"]
    code, _, err = run("explain", fitted[1], braid / "test.csv", "--html", tmp_path)
    assert code == 2 and "is a folder; name a file" in err


def test_the_command_tells_json(run, plain_run, maker, tmp_path):
    table = maker.csv(tmp_path, "t.csv", maker.plain(6))
    code, out, _ = run("report", plain_run[1], table, "-o", tmp_path / "r.html", "--json", "-q")
    assert code == 0 and '"bytes": ' in out


def test_prepared_rows_are_the_same_rows(fitted, braid):
    from plait.data.features import settings_for
    from plait.insight.report.context import some_rows

    model, table = fitted[0], plait.open_table(braid / "test.csv")
    whole = model.features.prepare(table, settings_for(table, model.config)).columns
    rows = np.array([7, 3, 3])
    for name, column in some_rows(whole, rows).items():
        again = some_rows({name: column}, np.array([1]))[name]
        for one, other in (
            (column.batch(np.arange(3)), whole[name].batch(rows)),
            (again.batch(np.arange(1)), whole[name].batch(rows[1:2])),
        ):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
