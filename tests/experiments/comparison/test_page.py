"""The page stands by itself and runs nothing; the terminal's table fits."""

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from plait.experiments.comparison import screen
from plait.experiments.comparison.page import render
from plait.experiments.comparison.rows import Row

VOID = {"meta", "br", "hr", "img", "link", "input", "circle", "rect", "line", "polygon"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "link", "input"} and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or tag not in VOID or self.open[-1] == tag:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_names_of_the_user_do_not_become_markup(many, about):
    page = render(many, about)
    reader = Reader(page)
    assert "script" not in reader.tags
    assert "b" not in re.findall(r"<(b)>", page.replace("<li><b>", ""))
    text = "".join(reader.texts)
    for name in ("<script>alert(1)</script> alone", "<script>alert(2)</script>", "train <b>.csv"):
        assert name in text
    assert "no <b>room</b>" in text and "note='<i>'" in text and "'a<b>'" in text


def test_nothing_is_loaded_and_nothing_can_run(many, about):
    reader = Reader(render(many, about))
    given = dict(reader.attributes)
    assert "default-src 'none'" in given["content"] or any(
        "default-src 'none'" in (value or "") for _, value in reader.attributes
    )
    names = {name for name, _ in reader.attributes}
    assert not names & {"src", "srcset", "action"}
    hrefs = [value for name, value in reader.attributes if name == "href"]
    assert hrefs and all(value.startswith(("#", "data:,")) for value in hrefs)
    assert not any(name.startswith("on") for name in names)
    links = [v for k, v in reader.attributes if v and "//" in v and k != "xmlns"]
    assert links == []


def test_every_method_is_in_plots_and_tables(many, about):
    page = render(many, about)
    for row in many:
        assert page.count(row.method.replace("<", "&lt;").replace(">", "&gt;")) >= 2
    assert page.count("<svg") == 5
    assert "prefers-color-scheme:dark" in page
    text = "".join(Reader(page).texts)
    for words in ("How to read this", "Holm", "10,000 bootstrap resamples", "up to 16 runs at a time",
                  "encoders: image → resnet", "Failed runs", "commit", "a machine"):  # fmt: skip
        assert words in text


def test_the_lead_names_the_best_and_whether_it_is_sure(few, about):
    text = render(few, about)
    assert "highest balanced accuracy is that of method00" in text
    assert "difference is significant at 5 %" in text
    unsure = [replace(few[0], p_holm=0.4), *few[1:]]
    assert "difference is not significant at 5 % (p 0.400 after" in render(unsure, about)
    best = [row for row in few if row.method == "concat"]
    assert "No fusion is above concat, balanced accuracy 0.9" in render(best, about)


def test_a_page_when_everything_failed(about):
    page = render([Row("late", "fusion", problems=["seed 0: x"])], {**about, "notes": []})
    text = "".join(Reader(page).texts)
    assert "No fusion finished a run." in text and "nothing to show" in text
    assert "Notes on the data" not in text


def test_other_targets_are_named(few, about):
    page = render(few, {**about, "others": ["<size>"]})
    assert "Also trained in every run, and not compared: &lt;size&gt;." in page


# The terminal


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(few, about, width):
    rows = [
        replace(row, method=row.method.replace("<script>alert(1)</script>", "voice")) for row in few
    ]
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(screen.table(rows, about, width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 1 + len(rows)  # no line is broken
    head, first = lines[0], lines[1]
    for word in ("method", "balanced", "95 %", "- concat", "p (Holm)", "1 missing"):
        assert word in head
    assert ("FLOPs" in head) == (width == 120)
    assert first.split()[:2] == ["method00", f"{few[0].mean:.3f}"]
    assert "±0.012" in first and "+0.0" in first and "<0.001" in first
    assert "broken" in lines[-1] and "failed" in lines[-1]
    if width == 120:
        assert "21M" in first and "220" in first


def test_a_name_is_no_markup_on_the_terminal(few, about):
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(screen.table([replace(few[0], method="[red]x")], about, 120))
    assert "[red]x" in console.file.getvalue()


def test_remarks_name_failures_and_other_targets(few, about):
    told = screen.remarks(few, {**about, "others": ["size", "day"]})
    assert told[1].startswith("Also learnt, not compared: size, day;")
    assert told[-1] == "! broken: 1 failed run: seed 0: [red]no <b>room</b> at all"
    twice = replace(few[-1], problems=["a", "b"])
    assert screen.remarks([twice], about)[-1] == "! broken: 2 failed runs: a"
    assert screen.title(about).endswith("1,000 rows of test.csv, seeds 0 to 2")


def test_figures_that_are_not_there():
    assert screen.number(math.nan) == "-" and screen.short(math.nan) == "-"
    assert screen.signed(math.nan) == screen.chance(math.nan) == screen.spanned(math.nan, 1.0) == ""
    assert screen.chance(0.05) == "0.050"
    assert math.isnan(screen.worst(Row("a", "fusion", without={"x": math.nan})))
    assert screen.scored(Row("a", "fusion", seeds=1, mean=0.5)) == "0.500"
