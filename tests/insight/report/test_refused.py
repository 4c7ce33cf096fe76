"""What a report refuses, and what it says of labels and tables that are too few or odd."""

from dataclasses import replace

import numpy as np
import pytest

import plait
from plait.errors import ConfigError
from plait.insight.explain.sanity import Deletion
from plait.insight.report import report as module
from plait.insight.report import robustness, summary, within
from plait.insight.report.context import Context
from tests.insight.report.conftest import QUICK


@pytest.mark.parametrize("command", [("report", "-o"), ("explain", "--html")])
def test_no_file_of_the_user_is_replaced(run, plain_run, maker, tmp_path, command):
    folder, table = plain_run[1], maker.csv(tmp_path, "t.csv", maker.plain(4))
    kept = {one: one.read_bytes() for one in (table, *folder.glob("*.*"))}
    for out, told in (
        (table, "is the table being read; writing there would replace it."),
        (folder / "bundle.json", "does not end in .html; name it bundle.html."),
        (folder / "model.safetensors", "does not end in .html; name it model.html."),
    ):
        code, _, err = run(command[0], folder, table, command[1], out)
        assert code == 2 and told in " ".join(err.split())
    link = tmp_path / "link.html"
    link.symlink_to(table)
    with pytest.raises(ConfigError, match="is the table being read"):
        plain_run[0].report(maker.plain(4), link, train=table)
    assert {one: one.read_bytes() for one in kept} == kept


def test_media_of_the_training_table_are_under_the_root_too(fitted, braid, maker, page, tmp_path):
    rows = [
        dict(zip(("photo", "label"), one, strict=True)) for one in (("media/1-1.png", "x"),) * 3
    ]
    table, out = maker.csv(tmp_path, "t.csv", rows), tmp_path / "r.html"
    given = {"train": table, "limits": replace(QUICK, rows=3, checked=0)}
    found = page(fitted[0].report(table, out, root=braid, **given)).text
    assert "Rows that are among the 3 training rows: 3." in found
    found = page(fitted[0].report(braid / "test.csv", out, **given)).text
    assert "could not be read ( photo: 3 )" in found.replace("(photo: 3)", "( photo: 3 )")
    assert "they cannot be checked for leakage" in found and "No row is among" not in found


def test_a_training_table_of_something_else_is_refused(run, plain_run, maker, tmp_path):
    table = maker.csv(tmp_path, "t.csv", maker.plain(4))
    wrong = maker.csv(tmp_path, "w.csv", [{"a": 1, "b": 2}])
    code, _, err = run("report", plain_run[1], table, "--train", wrong)
    told = "train: w.csv has none of the model's input columns (price, shop, note); it has a, b."
    assert code == 1 and told in " ".join(err.split())


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none(run, plain_run, maker, tmp_path, seed):
    table = maker.csv(tmp_path, "t.csv", maker.plain(4))
    code, _, err = run("report", plain_run[1], table, "--seed", seed)
    assert code == 2 and f"seed={seed}: input should be from 0 to 4294967295." in err


def test_unknown_classes_are_noted_on_the_terminal(run, plain_run, maker, tmp_path, monkeypatch):
    rows = [{**row, "label": row["label"].upper()} for row in maker.plain(3)]
    monkeypatch.setattr(module, "page_of", lambda context: "x")
    code, _, err = run(
        *("report", plain_run[1], maker.csv(tmp_path, "t.csv", rows), "-o", tmp_path / "r.html")
    )
    told = "3 rows hold a class the model does not know: 'NO', 'YES'; no figure counts it."
    assert code == 0 and told in " ".join(err.split())


def test_a_missing_bundle_is_what_is_told(run, maker, tmp_path):
    table = maker.csv(tmp_path, "t.csv", maker.plain(4))
    nope = tmp_path / "nope"
    code, _, err = run("report", nope, table)
    assert code == 1 and "nope" in err and "output:" not in err
    assert err == run("export", nope, "-o", tmp_path / "x")[2]


def context(model, rows, language="en"):
    return Context(
        *(model, plait.open_table(rows), np.arange(len(rows)), len(rows)),
        language=language,
        limits=QUICK,
    )


def test_one_row_measures_nothing(plain_run, maker, page, tmp_path):
    found = page(plain_run[0].report(maker.plain(1), tmp_path / "r.html", limits=QUICK)).text
    assert "Measured on 1 row with a label." in found and "1 row of " in found
    assert "on 1 rows" not in found and "the 1 rows" not in found
    assert (
        "Too few rows to measure a model (1): the metrics on this page are mostly chance" in found
    )
    assert "too few rows or errors for an interval" in found and "95 % interval" not in found
    assert "Deletion: too few rows; it needs 5." in found


def test_enough_rows_have_intervals(plain_run, maker):
    told = summary.section(context(plain_run[0], maker.plain(40, seed=3))).body
    assert "Too few rows to measure a model" not in told and "Measured on 40 rows" in told


def test_deletion_is_judged_by_enough_rows(plain_run, maker):
    here = context(plain_run[0], maker.plain(2))
    good = Deletion("note", 9, 0.5, 0.1, 0.4, (0.2, 0.6))
    bad = replace(good, group="shop", interval=(-0.2, 0.6))
    few = replace(good, group="price", rows=1)
    told = str(within._deletion(here, [good, bad, few]))
    assert "Deletion: 1 of 2 pass" in told and told.count("too few rows") == 1
    assert "passes" in told and "not shown" in told


def test_a_column_that_is_missing_everywhere_is_not_called_robust(plain_run, maker):
    rows = [{**row, "note": None} for row in maker.plain(6)]
    told = robustness.section(context(plain_run[0], rows)).body
    assert "Missing in every row, so not tested" in told
    curves = told[told.index("Relative and effective robustness") :]
    assert "price" in curves and "note<" not in curves
    bare = [{"price": None, "shop": None, "note": None, "label": "no"}] * 2
    told = robustness.section(context(plain_run[0], bare)).body
    assert "Missing in every row" in told and "Relative and effective" not in told
