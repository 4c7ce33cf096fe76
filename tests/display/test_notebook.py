"""What a notebook shows: the figures, escaped, with no script and no more lines than fit."""

import re

import numpy as np
import pytest

from plait.data.table.schema import ColumnPlan, Schema
from plait.display.notebook import ROWS_SHOWN, block, grid

EVIL = "<script>alert(1)</script>"


def harmless(html):
    assert (
        "<script" not in html
        and "<style" not in html
        and " on" not in re.sub(">[^<]*<", "><", html)
    )
    for name in ("div", "table", "tr", "td", "th", "ul", "li", "p"):
        assert html.count(f"<{name}>") + html.count(f"<{name} ") == html.count(f"</{name}>"), name
    return html


def test_cells_are_short_and_escaped():
    html = harmless(
        grid(["a", EVIL], [[1.23456789, None], [float("nan"), [1, "<b>"]], [True, EVIL]])
    )
    assert "1.235" in html and html.count("–") == 2 and "1, &lt;b&gt;" in html and ">True<" in html
    assert html.count("&lt;script&gt;") == 2


def test_long_tables_say_how_much_is_left():
    html = harmless(grid(["n"], [[n] for n in range(ROWS_SHOWN + 7)]))
    assert html.count("<tr>") == ROWS_SHOWN + 1 and "and 7 more" in html
    assert "more" not in grid(["n"], [[1]])


def test_a_block_has_its_remarks():
    html = harmless(block(EVIL, grid(["a"], []), notes=["x<y"]))
    assert "<li>x&lt;y</li>" in html and "<ul>" not in block("t")


def test_the_model_shows_inputs_and_figures(fitted):
    model, _ = fitted
    html = harmless(model._repr_html_())
    accuracy = model.metrics["targets"]["label"]["metrics"]["accuracy"]
    assert "plait model for label (multiclass)" in html and f"{accuracy:.4g}" in html
    for name, kind in model.features.modalities.items():
        assert f">{name}<" in html and f">{kind}<" in html
    assert f"fusion {model.blueprint.fusion}" in html


def test_a_schema_shows_reasons_and_warnings(fitted):
    schema = fitted[0].schema
    html = harmless(schema._repr_html_())
    assert "Schema of 72 rows" in html
    assert all(f">{column.role}<" in html for column in schema.columns)
    odd = Schema((ColumnPlan(EVIL, "ignored", None, EVIL),), 1, None, (EVIL,))
    assert harmless(odd._repr_html_()).count("&lt;script&gt;") == 3


@pytest.mark.filterwarnings("ignore::plait.errors.PlaitWarning")
def test_results_show_their_figures(fitted, braid):
    model, _ = fitted
    table = braid / "test.csv"
    evaluation = model.evaluate(table, resamples=3)
    html = harmless(evaluation._repr_html_())
    assert "Evaluation on 24 rows of test.csv" in html and f"{evaluation['accuracy']:.4g}" in html
    assert harmless(model.evaluate(table, resamples=0)._repr_html_()).count("–") >= 2
    answers = model.answer(table)
    html = harmless(answers._repr_html_())
    assert "24 answers" in html and "and 4 more" in html and "label_confidence" in html
    assert "label_p_a" not in html
    shares = model.contributions(table)
    html = harmless(shares._repr_html_())
    fused = shares.targets["label"].metrics["accuracy"].fused
    assert f">{fused:.4g}<" in html and "with none" in html and "accuracy" in html
    bare = model.contributions(table, metrics=False)
    assert "accuracy" not in harmless(bare._repr_html_())


@pytest.mark.filterwarnings("ignore::plait.errors.PlaitWarning")
def test_explanations_and_sets(plain_run, maker):
    model, _ = plain_run
    found = model.explain(maker.plain(3), steps=2)
    html = harmless(found._repr_html_())
    assert "3 explained answers" in html
    assert all(f"contribution: {stream}" in html for stream in found.contributions.streams)
    assert f">{found.unusual[0]:.4g}<" in html
    import dataclasses

    unknown = dataclasses.replace(found, unusual=None)
    assert "–" in harmless(unknown._repr_html_())
    sets = model.predict_set(maker.plain(30), coverage=0.6)
    html = harmless(sets._repr_html_())
    assert "coverage 60%" in html and f"{sets.targets['label'].measured[0]:.4g}" in html
    blind = [
        {name: cell for name, cell in row.items() if name != "label"} for row in maker.plain(9)
    ]
    assert "–" in harmless(model.predict_set(blind, coverage=0.6)._repr_html_())
    assert "0 answers" in harmless(model.answer(_none(blind))._repr_html_())


def _none(rows):
    return {name: np.array([], dtype=object).tolist() for name in rows[0]}
