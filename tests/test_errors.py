"""Messages say what was passed, what was expected and how to mend it."""

import pytest

from plait import errors
from plait.errors import (
    ConfigError,
    MissingExtra,
    PlaitError,
    counted,
    error_line,
    printable,
    shortened,
    suggest,
    training_extra,
    unknown,
)


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("lable", ["label", "table"], " Did you mean 'label'?"),
        ("LABEL", ["Label"], " Did you mean 'Label'?"),
        ("lalbe", ["table", "label"], " Did you mean 'label'?"),
        ("zzz", ["label"], ""),
        ("", ["label"], ""),
        ("x", [], ""),
    ],
)
def test_suggestions(name, choices, expected):
    assert suggest(name, choices) == expected


def test_an_unknown_name_lists_the_choices():
    assert unknown("fusion", "lat", ["late", "concat"]) == (
        "unknown fusion 'lat'. Did you mean 'late'? Choose from: concat, late."
    )
    assert unknown("fusion", "?", {"b": 1, "a": 2}) == "unknown fusion '?'. Choose from: a, b."


def test_options_are_counted():
    assert str(ConfigError(["one"])) == "1 option is wrong:\n  - one"
    two = ConfigError(problem for problem in ("one", "two"))
    assert str(two) == "2 options are wrong:\n  - one\n  - two"
    assert two.problems == ["one", "two"]


def test_a_missing_extra_says_what_to_install():
    assert str(MissingExtra("The demo", "demo", "espeakng-loader")) == (
        "The demo needs the package espeakng-loader, which is not installed.\n"
        'Install it with:  pip install "plait[demo]"'
    )


def test_every_error_is_plaits():
    kinds = [
        part for part in vars(errors).values() if getattr(part, "__module__", "") == errors.__name__
    ]
    kinds = [part for part in kinds if isinstance(part, type)]
    assert len(kinds) >= 10
    assert all(issubclass(kind, PlaitError | errors.PlaitWarning) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)


def test_what_only_fitted_models_need_names_its_extra():
    told = training_extra(ImportError("No module named 'torch'", name="torch.nn"))
    assert str(told) == (
        "a fitted model needs the package torch, which is not installed.\n"
        'Install it with:  pip install "plait[train]"'
    )
    assert training_extra(ImportError("another", name="elsewhere")) is None
    assert training_extra(ImportError("nameless")) is None


def test_a_count_agrees_with_its_noun():
    assert counted(1) == "1 row" and counted(0) == "0 rows" and counted(1200) == "1,200 rows"
    assert counted(1, "text is", "texts are") == "1 text is"
    assert counted(2, "text is", "texts are") == "2 texts are"


def test_long_text_is_cut():
    assert shortened("abcdef", 4) == "abc…" and shortened("abcd", 4) == "abcd"


def test_text_from_outside_is_repeated_safely():
    assert printable("x" * 100) == "x" * 79 + "…"
    assert printable("a\nb\u202e") == "a·b·"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  \n the first. \nthe second"), "the first"),
        (OSError(28, "No space left on device", "/somewhere/private"), "No space left on device"),
        (OSError("in words"), "in words"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 300), "x" * 199 + "…"),
    ],
)
def test_an_exception_on_one_line(error, line):
    assert error_line(error) == line
