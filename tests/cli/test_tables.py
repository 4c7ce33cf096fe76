"""Tables for people fit the terminal, and show names as they are."""

import io

import pytest
from rich.console import Console

from plait.cli import tables as show
from plait.cli.checks import gather
from plait.cli.inspect import inspect_table


@pytest.fixture(params=[80, 120])
def screen(request):
    """A terminal of a width, and what is on it."""
    console = Console(width=request.param, file=io.StringIO(), force_terminal=False)

    def lines():
        text = console.file.getvalue()
        assert text
        assert max(map(len, text.splitlines())) <= request.param
        return text

    return console, lines


def test_a_schema(screen, braid):
    console, lines = screen
    found = inspect_table(braid / "train.csv", ["label"])
    show.show_schema(console, found["schema"], found["targets"])
    text = lines()
    assert "72 rows, 10 columns" in text
    for name in ("photo", "note", "voice", "price", "shop", "day", "pulse", "multiclass"):
        assert f"{name} " in text  # no name is broken over two lines
    for head in ("column", "role", "kind", "missing", "distinct", "why"):
        assert head in text


def test_an_evaluation(screen, fitted, braid):
    console, lines = screen
    evaluation = fitted[0].evaluate(braid / "test.csv", resamples=3).to_json()
    evaluation["notes"] = ["a note with [brackets]"]
    show.show_evaluation(console, evaluation)
    text = lines()
    assert "label (multiclass), 24 rows of test.csv" in text
    for word in (
        "all",
        "95 % from",
        "only photo",
        "without tabular",
        "accuracy",
        "a note with [brackets]",
    ):
        assert word in text
    result = evaluation["targets"]["label"]
    assert f"{result['metrics']['accuracy']:.3f}" in text
    assert "micro F1" not in text


def test_an_evaluation_with_gaps(screen):
    console, lines = screen
    result = {
        "kind": "multilabel",
        "rows": 3,
        "metrics": {"map": None, "micro_f1": 0.25, "new_metric": 0.5},
        "intervals": {"map": [None, None], "micro_f1": [0.1, 0.3]},
        "alone": {},
        "without": {},
    }
    show.show_evaluation(console, {"targets": {"[red]y": result}, "source": "t.csv", "notes": []})
    text = lines()
    assert "[red]y (multilabel), 3 rows of t.csv" in text
    assert "mAP" in text and "new_metric" in text
    assert "-" in text and "0.500" in text and "micro F1" in text and "0.100" in text


def test_answers(screen, fitted, braid):
    console, lines = screen
    show.show_answers(console, fitted[0].answer(braid / "test.csv").to_columns())
    text = lines()
    assert "24 answers" in text
    assert "label_confidence" in text
    assert "label_p_a" not in text
    assert "... and 4 more; write them all with -o answers.csv" in text


def test_few_answers_and_a_target_with_an_odd_name(screen):
    console, lines = screen
    show.show_answers(
        console, {"my_p_value": [0.123456, None], "[b]": ["x", "y"], "[b]_p_x": [1.0, 0.0]}
    )
    text = lines()
    assert "2 answers" in text and "more" not in text
    assert "my_p_value" in text and "0.1235" in text and "None" in text
    assert "[b]" in text and "[b]_p_x" not in text


def test_facts(screen):
    console, lines = screen
    show.show_facts(console, gather())
    text = lines()
    assert text.splitlines()[0].strip() == "Machine"
    assert text.splitlines()[1].startswith("system")
    assert "espeakng" in text or "demo" in text


def test_tables_print_no_control_characters_of_the_data():
    console = Console(width=80, record=True)
    console.print(show.grid(["row", "a\x1b[31m"], [["0", "b\u202e\x1b[2J"]]))
    assert not {"\x1b", "\u202e"} & set(console.export_text())
