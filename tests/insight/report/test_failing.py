"""The parts on mistakes, data and the map: what they say, in both languages, with everything escaped."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from plait.data.origin import Gone, Origin
from plait.data.table.source import open_table
from plait.insight.report import data, map, mistakes, summary
from plait.insight.report.context import Context, Limits
from plait.insight.report.scatter import OTHERS, Spot, grouped_scatter

EVIL = '<script>alert("x")</script>&\u202e'


class Strict(HTMLParser):
    """Counts elements, and fails on those that are left open or that run something."""

    VOID = frozenset({"img", "br", "input", "hr"})
    INLINE = frozenset({"bdi", "span", "small", "strong"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        assert not any(name.startswith("on") for name, _ in attrs)
        self.seen.append(tag)
        if tag not in self.INLINE:
            self.words.append(" ")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


def context(model, source, language="en", **options):
    table = open_table(source)
    rows = np.arange(table.rows)
    return Context(
        model, table, rows, table.rows, language=language, limits=Limits(resamples=0), **options
    )


def words(section):
    return " ".join("".join(Strict(section.body).words).split())


@pytest.fixture(scope="module")
def kinds(maker):
    """A model of a class, a number and labels, and its table; names and cells try to be markup."""
    rows = []
    for number, row in enumerate(maker.plain(60)):
        rows.append(
            {
                "price": row["price"],
                "a<b>": f"{EVIL} {row['shop']}",
                "note": row["note"],
                "label": {"no": EVIL, "yes": "y&s"}[row["label"]],
                "size": number % 2 + row["price"],
                "tags": ["<i>", "b"][: 1 + number % 2],
            }
        )
    model = maker.fit(
        rows, ["label", "size", "tags"], target_kinds={"tags": "multilabel"}, validation=0.4
    )
    return model, rows


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("part", [mistakes, data, map])
def test_names_and_cells_never_become_markup(kinds, part, language):
    model, rows = kinds
    here = context(model, rows, language)
    found = part.section(here)
    told = Strict(found.body)
    assert "i" not in told.seen and "b" not in told.seen
    assert EVIL[:-1] in "".join(told.words)
    assert "\u202e" not in found.body
    chinese = re.findall(r"[\u4e00-\u9fff]", found.body + found.title)
    assert bool(chinese) == (language == "zh")
    if language == "zh":  # no sentence was left in English
        said = re.sub("各列判定的理由（英文）.*?重复与泄漏", "", "".join(told.words))
        assert not re.search(r"\b(the|rows|answers|training|cells)\b", said)


def test_mistakes_tell_the_figures(kinds):
    model, rows = kinds
    here = context(model, rows)
    told = words(mistakes.section(here))
    truth, scores = here.truths["label"][0], here.scores["label"]
    wrong = int((scores.argmax(axis=1) != truth).sum())
    assert f"{wrong} of 60 answers are wrong ({100 * wrong / 60:.1f} %)." in told
    assert "Confusion matrix" in told and "Largest errors" in told and "Residuals" in told
    labels = here.truths["tags"][0] > 0.5
    bad = int((labels != (here.scores["tags"] >= 0.5)).any(axis=1).sum())
    assert f"{bad} of 60 rows have at least one label wrong" in told


def forced(model, rows, **scores):
    """A context whose scores are given."""
    here = context(model, rows)
    here.__dict__["by_subset"] = {"all": {**here.by_subset["all"], **scores}}
    return here


def test_all_right_and_all_wrong(kinds):
    model, rows = kinds
    here = context(model, rows)
    truth, tags = here.truths["label"][0], here.truths["tags"][0]
    size = here.truths["size"][0][:, None]
    right = np.eye(2, dtype=np.float32)[truth]
    told = words(mistakes.section(forced(model, rows, label=right, tags=tags, size=size)))
    assert "0 of 60 answers are wrong (0.0 %)." in told
    assert "No answer is wrong." in told and "No label is wrong." in told
    assert "None could be tested: testing needs mistakes, and slices of 10 rows or more." in told
    assert "Most often confused" not in told and "may be wrong" not in told
    flipped = forced(model, rows, label=right[:, ::-1], tags=1 - tags)
    told = words(mistakes.section(flipped))
    assert "60 of 60 answers are wrong (100.0 %)." in told
    assert "predicted as" in told and "Next: row" in told


def test_planted_wrong_labels_and_weak_slices_are_shown(kinds):
    model, rows = kinds
    true = np.arange(60) % 2
    here = context(model, [{**row, "shop": "ab"[n < 20]} for n, row in enumerate(rows)])
    truth = here.truths["label"][0]
    guess = np.where(np.arange(60) < 14, 1 - truth, truth)
    scores = np.where(np.eye(2)[guess] > 0, 0.9, 0.1).astype(np.float32)
    tags = here.truths["tags"][0]
    odd = np.where(tags > 0.5, 0.9, 0.1)
    odd[5] = 1 - odd[5]
    here.__dict__["by_subset"] = {"all": {**here.by_subset["all"], "label": scores, "tags": odd}}
    told = words(mistakes.section(here))
    assert "Labels that may be wrong: 14" in told and "more likely" in told
    assert re.search(r"shop b 20 70\.0 % 0\.0 %", told)
    assert re.search(r"Labels that may be wrong: \d", told.split("least one label")[1])
    assert len(true) == 60


def test_one_row_and_rows_without_answers(kinds):
    model, rows = kinds
    one = context(model, rows[:1])
    assert "1 answers" in words(mistakes.section(one)) or "of 1 answers" in words(
        mistakes.section(one)
    )
    assert data.section(one) is not None and map.section(one) is None
    bare = [{name: row[name] for name in ("price", "a<b>", "note")} for row in rows]
    unknown = context(model, bare)
    assert mistakes.section(unknown) is None
    told = words(map.section(unknown))
    assert "By answer" in told and "By correctness" not in told
    blank = context(model, [{**row, "label": None, "size": None, "tags": None} for row in rows])
    assert mistakes.section(blank) is None


def test_rows_some_of_which_have_no_answer_are_grey(kinds):
    model, rows = kinds
    some = [{**row, "label": row["label"] if n % 2 else None, "size": row["size"] if n % 3 else None,
             "tags": row["tags"] if n % 2 else None} for n, row in enumerate(rows)]  # fmt: skip
    told = words(map.section(context(model, some)))
    assert told.count("unknown") >= 6
    assert "of 30 answers are wrong" in words(mistakes.section(context(model, some)))


def test_the_map_says_what_it_is(kinds):
    model, rows = kinds
    told = words(map.section(context(model, rows)))
    assert "60 rows, laid out by t-SNE of their fused vectors" in told
    assert "row 17 · true y&s · answer " in told
    few = words(map.section(context(model, rows[:5])))
    assert "5 rows on the first two principal components" in few
    same = context(model, rows)
    same.__dict__["vectors"] = np.ones((60, 4), np.float32)
    assert "All rows have the same fused vector" in words(map.section(same))
    level = context(model, [{**row, "size": 3.0} for row in rows])
    assert "3 – 3" in words(map.section(level))


def test_many_classes_share_a_grey_group(kinds, monkeypatch):
    import plait.insight.report.map as module

    monkeypatch.setattr(module, "OTHERS", 1)
    model, rows = kinds
    told = words(map.section(context(model, rows)))
    assert "others" in told


def test_many_classes_have_a_list_and_no_matrix(kinds, monkeypatch):
    monkeypatch.setattr(mistakes, "CLASSES_DRAWN", 1)
    monkeypatch.setattr(mistakes, "CLASSES_LISTED", 1)
    model, rows = kinds
    told = words(mistakes.section(context(model, rows)))
    assert "Confusion matrix" not in told and "The 1 worst by F1." in told
    monkeypatch.setattr(mistakes, "CLASSES_LISTED", 2)
    assert "All 2 classes" in words(mistakes.section(context(model, rows)))


# Data.


def test_data_without_a_training_table_says_why(kinds):
    model, rows = kinds
    told = words(data.section(context(model, rows)))
    why = "No comparison with the training rows: the run's folder does not record which table"
    assert why in told and "Drift" not in told
    assert "No row repeats another in every input." in told
    assert "Every cell could be read." in told


def test_leaks_copies_and_drift_are_told(kinds, maker):
    model, rows = kinds
    fresh = [
        {**row, "price": row["price"] + 50, "note": f"other words {n}"}
        for n, row in enumerate(rows)
    ]
    table = [*fresh, rows[0], {**rows[1], "label": EVIL}, fresh[3], {**fresh[4], "label": "?"}]
    train = open_table(rows)
    here = context(model, table, train=train)
    told = words(data.section(here))
    assert "Rows that are among the 60 training rows: 2." in told
    assert (
        "row 60 = training row 0" in told
        and "row 61 = training row 1, with a different answer" in told
    )
    assert "input column: 2; 1 with a different answer" in told and "row 62 = row 3" in told
    assert "note: cells that also occur in the training rows" not in told  # no more than the rows
    assert "price: its values are distributed differently (KS" in told
    assert "note: the lengths of its texts differ" in told
    clean = words(data.section(context(model, fresh, train=train)))
    assert "No row is among the 60 rows the model was trained on" in clean


def test_without_the_training_table_both_ways_to_name_it_are_told(kinds):
    model, rows = kinds
    told = words(data.section(context(model, rows)))
    assert "Name the table with --train (train=... in Python) to see leakage and drift." in told


def test_answers_the_model_does_not_know_are_told(kinds):
    model, rows = kinds
    odd = [dict(row) for row in rows[:6]]
    odd[0]["label"], odd[1]["label"], odd[2]["label"] = "EIGHT", "NINE", None
    odd[3]["tags"] = ["<i>", "B"]
    odd = [{**row, "size": "tall" if n == 4 else str(row["size"])} for n, row in enumerate(odd)]
    one, two, three = summary.strangers(context(model, odd), "en")
    assert one.startswith("label: 2 rows hold a class the model does not know: 'EIGHT', 'NINE'; no")
    assert "The model knows " in one and "'y&s'" in one
    assert two == "size: 1 row holds no number ('tall'), and no figure counts them."
    assert three.startswith("tags: 1 row holds a label the model does not know: 'B'; no figure")
    assert one in words(summary.section(context(model, odd)))
    assert (
        "2 行含有模型未知的类别：'EIGHT', 'NINE'" in summary.strangers(context(model, odd), "zh")[0]
    )
    assert summary.strangers(context(model, rows), "en") == []
    bare = [{"price": 1.0}]
    assert summary.strangers(context(model, bare), "en") == []


def test_cells_that_come_again_in_other_rows(kinds):
    model, rows = kinds
    unlike = [{**row, "note": f"{row['note']} {n}"} for n, row in enumerate(rows)]
    moved = [{**row, "price": row["price"] + n} for n, row in enumerate(unlike)]
    told = words(data.section(context(model, moved[1:], train=open_table(unlike))))
    assert "note: cells that also occur in the training rows: 59" in told
    assert "and 9 more" in told


def test_near_copies_are_listed(kinds, monkeypatch):
    model, rows = kinds
    unlike = [{**row, "price": row["price"] + 1e-7} for row in rows[:3]]
    told = words(data.section(context(model, [*unlike, *rows[30:32]], train=open_table(rows[:30]))))
    assert "training rows, as the model encodes them: 3" in told
    assert "row 0 = training row 0" in told


def test_tables_that_are_all_alike_have_not_moved(kinds):
    model, rows = kinds
    told = words(data.section(context(model, rows[:40], train=open_table(rows))))
    assert re.search(r"None of \d+ comparisons shows a change", told)


def test_unreadable_cells_are_listed_by_the_users_rows(kinds):
    model, rows = kinds
    bad = [{**row, "price": str(row["price"])} for row in rows]
    for row in (4, 9):
        bad[row]["price"] = "<b>seven</b>"
    table = open_table(bad)
    here = Context(model, table.take(np.arange(4, 60)), np.arange(4, 60), 60)
    told = words(data.section(here))
    assert "In this table: 2" in told and "'<b>seven</b>' is not a number" in told
    assert re.search(r"price '<b>seven</b>' is not a number[^0-9]* 9\b", told)
    many = [{**row, "price": "x"} for row in rows]
    assert "The first 50." in words(data.section(context(model, many)))


def test_what_fitting_could_not_read_is_listed(kinds, monkeypatch):
    from plait.data.table.quarantine import Entry, Quarantine

    model, rows = kinds
    monkeypatch.setattr(model, "quarantine", Quarantine([Entry(3, "price", "is <odd>")]))
    told = words(data.section(context(model, rows)))
    assert "During fitting: 1" in told and "is <odd>" in told


def test_an_absent_column_and_empty_ones(kinds):
    model, rows = kinds
    bare = [{"price": None, "note": row["note"], "extra": n} for n, row in enumerate(rows)]
    told = words(data.section(context(model, bare, train=open_table(rows))))
    assert "Not in this table: a<b>." in told
    assert re.search(r"price – input, numeric 100\.0 %", told) or "100.0 %" in told
    assert re.search(r"extra 0; \d+ new 0\.0 % –", told)
    assert "of its cells are missing" in told


@pytest.mark.parametrize("language", ["en", "zh"])
def test_media_are_shown_and_named(fitted, braid, language):
    model, out = fitted
    here = context(model, braid / "test.csv", language, run=out)
    told = Strict(data.section(here).body)
    assert told.seen.count("img") == 2 and told.seen.count("audio") == 2
    said = "".join(told.words)
    assert ("Days (2024-01-" in said) if language == "en" else ("天数 (2024-01-" in said)
    wrong = np.roll(here.scores["label"], 1, axis=1)
    here.__dict__["by_subset"] = {"all": {"label": wrong}}
    shown = Strict(mistakes.section(here).body).seen
    assert "img" in shown and "audio" in shown


def test_streams_are_compared_with_held_out_rows(kinds, monkeypatch):
    model, rows = kinds
    origin = Origin(open_table(rows), np.arange(25))
    monkeypatch.setattr(data, "recall", lambda run, train: origin)
    fresh = [{**row, "price": row["price"] + 30, "note": "quite another text"} for row in rows]
    told = words(data.section(context(model, fresh)))
    assert (
        "note: its content differs from the training content, as the model encodes it (AUC" in told
    )
    assert "tabular, its columns together: AUC" in told
    held = words(data.section(context(model, rows[:25])))
    assert "These rows are the held-out rows of the training table themselves." in held


def test_both_languages_say_why_a_table_is_gone():
    assert Gone("a", "b").why_zh == "b"


# Points.


def test_a_cloud_draws_every_finite_point_once():
    spots = [Spot(0, 0, 0, "a<b"), Spot(1, 2, 1, "c", ring=True), Spot(float("nan"), 1, 2, "gone")]
    drawn = grouped_scatter(spots, ["one<", "two", "three"], title="T<", ring="odd")
    told = Strict(drawn)
    assert told.words.count("a<b") == told.words.count("c") == 1 and "gone" not in told.words
    assert "one<" in told.words and "odd" in told.words and "three" not in told.words
    assert told.seen.count("path") == 2 + 3  # points, and marks of the legend


def test_a_cloud_with_axes_and_lines():
    spots = [Spot(x, x - 2.0, 0, "") for x in range(5)]
    plain = grouped_scatter(spots, ["a"], title="t", axes=("x", "y"))
    both = grouped_scatter(spots, ["a"], title="t", axes=("x", "y"), guides=["diagonal", "level"])
    assert Strict(both).seen.count("line") == Strict(plain).seen.count("line") + 2
    apart = [Spot(x, x + 100.0, 0, "") for x in range(5)]
    kept = grouped_scatter(apart, ["a"], title="t", axes=("x", ""), guides=["diagonal", "level"])
    assert Strict(kept).seen.count("line") == Strict(
        grouped_scatter(apart, ["a"], title="t", axes=("x", ""))
    ).seen.count("line")


def test_a_cloud_of_nothing_and_of_many_groups():
    assert "–" in Strict(grouped_scatter([], [], title="t")).words
    names = [f"a rather long name of group {number}" for number in range(OTHERS)] + ["x" * 80]
    spots = [Spot(n, n, n, "") for n in range(OTHERS + 1)]
    drawn = grouped_scatter(spots, names, title="t")
    assert "x" * 39 + "…" in Strict(drawn).words
    marks = re.findall(r'd="([^"]+)"><title>', drawn)
    fills = re.findall(r'<g style="fill:(var[^;]+);', drawn)
    assert len({*zip(marks, fills, strict=True)}) == OTHERS + 1
