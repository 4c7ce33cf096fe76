"""Kinds of target, what they learn, and every refusal."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pytest

from plait.data.modalities.base import is_missing
from plait.data.targets import registry
from plait.data.targets.cells import as_number, class_name, label_parts
from plait.data.targets.numbers import Numbers
from plait.data.targets.registry import propose_target, read_target
from plait.errors import SchemaError
from plait.testing import check_target

KINDS = [
    ("binary text", ["yes", "no"] * 5, "binary", ("no", "yes")),
    ("booleans", [True, False, None] * 4, "binary", ("False", "True")),
    ("two numbers", [0, 1, 1] * 4, "binary", ("0", "1")),
    ("two fractions", [0.5, 1.5] * 4, "binary", ("0.5", "1.5")),
    ("classes", ["b", "a", "c", None, " "] * 4, "multiclass", ("a", "b", "c")),
    ("digits", [str(i % 10) for i in range(60)], "multiclass", tuple("0123456789")),
    ("numbers by size", [10, 9, 100] * 9, "multiclass", ("9", "10", "100")),
    ("integral floats", [1.0, 2.0, 3.0] * 9, "multiclass", ("1", "2", "3")),
    ("integral text", ["1.0", "2.0", "3"] * 9, "multiclass", ("1", "2", "3")),
    ("numpy", list(np.array([3, 1, 2] * 9)), "multiclass", ("1", "2", "3")),
    ("fractions", ["0.5", "1.25", "2"] * 9, "regression", ()),
    ("decimals", [Decimal("0.5"), Decimal("1.5"), Decimal("7")], "regression", ()),
    ("many numbers", list(range(30)) * 3, "regression", ()),
    ("few rows", [1, 2, 3, 4], "regression", ()),
    ("lists", [["a", "b"], ["a"], [], None], "multilabel", ("a", "b")),
    ("lists of numbers", [[1, 2], [2], [1]], "multilabel", ("1", "2")),
    ("arrays", [np.array([1, 2]), np.array([2])], "multilabel", ("1", "2")),
    ("semicolons", ["a;b", "b;c", "a; c", "a;b;c", "b"] * 4, "multilabel", ("a", "b", "c")),
    ("bars", ["a|b", "b|c", "a|c", "c"] * 4, "multilabel", ("a", "b", "c")),
    ("commas", ["a,b", "b,c", "a,c", "c"] * 4, "multilabel", ("a", "b", "c")),
    ("names with commas", ["Ab, Inc", "Cd, Ltd", "Ef, plc"] * 9, "multiclass", None),
    (
        "sentences",
        [f"a long tale of {i}, then, once more {i % 7}" for i in range(9)] * 2,
        "multiclass",
        None,
    ),
]


@pytest.mark.parametrize(
    ("cells", "kind", "classes"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS]
)
def test_the_kind_follows_from_the_cells(cells, kind, classes):
    target = propose_target("y", cells)
    assert target.kind == kind
    assert target.reason
    if classes is not None:
        assert target.classes == classes
    again = read_target(json.loads(json.dumps(target.to_json())))
    assert again == target


@pytest.mark.parametrize(("cells", "kind"), [k[1:3] for k in KINDS], ids=[k[0] for k in KINDS])
def test_every_kind_keeps_the_contract(cells, kind):
    cells = [cell for cell in cells if not is_missing(cell)]
    if propose_target("y", cells).separator is None:  # which only the choice of a kind finds
        check_target(registry.KINDS[kind], cells, name=kind)


ERRORS = [
    (
        ["x"] * 400,
        {},
        "the target 'y' has a single class 'x' in all 400 rows: nothing to learn. Add rows of "
        "another class, or name another target.",
    ),
    ([None, "", float("nan")], {}, "the target 'y' is missing in all 3 rows: nothing to learn."),
    (
        ["a", "b", "c"],
        {},
        "the target 'y' has as many classes as rows (3), such as 'a', 'b', 'c': no class",
    ),
    (
        ["a"] * 3 + ["b", "c"],
        {"kind": "binary"},
        "is to be binary but has 3 classes: 'a', 'b', 'c'.",
    ),
    (
        ["1", "x"] * 3,
        {"kind": "regression"},
        "is a regression target, but 3 of 6 cells are not numbers, such as 'x'. Correct or clear those cells",
    ),
    (
        [2.5] * 9,
        {"kind": "regression"},
        "has the single value 2.5 in all 9 rows: nothing to learn.",
    ),
    (
        ["1", "2", "x"],
        {"kind": "regression"},
        "is a regression target, but 1 of 3 cells is not a number, such as 'x'.",
    ),
    ([None], {}, "the target 'y' is missing in the only row: nothing to learn."),
    (
        ["a;b", "a"],
        {"separator": "|"},
        "no cell holds the separator '|', such as 'a;b'. Give the separator used.",
    ),
    ([float("inf")] * 2, {"kind": "regression"}, "has no finite number in all 2 rows"),
    ([["a"], ["a"]], {}, "the multilabel target 'y' has 1 label in all 2 rows: nothing to learn."),
    (
        [["a"], ["b"]],
        {"kind": "binary"},
        "the target 'y' holds lists, which are multilabel, not binary.",
    ),
    (
        ["a"],
        {"kind": "regresion"},
        "target 'y': unknown kind 'regresion'. Did you mean 'regression'?",
    ),
    (
        ["a"],
        {"kind": "binary", "separator": ";"},
        "a separator (';') makes it multilabel, but its kind is binary.",
    ),
    ([b"x", b"y"], {}, "the target 'y' holds bytes cells. A target holds class names"),
    ([datetime.date(2020, 1, 1)], {}, "the target 'y' holds date cells."),
    ([{"a": 1}], {}, "the target 'y' holds dict cells."),
]


@pytest.mark.parametrize(("cells", "options", "text"), ERRORS)
def test_refusals_say_what_to_do(cells, options, text):
    with pytest.raises(SchemaError) as caught:
        propose_target("y", cells, **options)
    assert text in str(caught.value)


def test_long_class_names_are_cut_in_messages():
    with pytest.raises(SchemaError) as caught:
        propose_target("y", ["x" * 500] * 3)
    assert len(str(caught.value)) < 250


def test_rare_classes_and_labels_are_told():
    assert "1 of them in a single row" in propose_target("y", ["a", "a", "b", "b", "c"]).reason
    cells = [f"t{i % 40};t{(i + 1) % 40}" for i in range(200)] + [f"t1;once{i}" for i in range(20)]
    target = propose_target("y", cells)
    assert len(target.classes) == 40
    assert "20 seen in a single row are left out" in target.reason


def test_a_kind_or_separator_named_wins():
    assert propose_target("y", [1, 2, 3] * 9, kind="regression").kind == "regression"
    assert propose_target("y", [0.5, 1.5, 2.5] * 9, kind="multiclass").classes == (
        "0.5",
        "1.5",
        "2.5",
    )
    assert propose_target("y", ["a/b", "b", "a"], separator="/").classes == ("a", "b")
    assert propose_target("y", ["a|b", "c"], kind="multilabel").separator == "|"
    assert propose_target("y", ["a", "b", "a"], kind="multilabel").classes == ("a", "b")


def test_classes_encode_and_come_back():
    target = propose_target("y", ["1", "2", "10"] * 5)
    values, present, problems = target.encode([10, 2.0, "1", None, "seven", "1.0"])
    assert values.dtype == np.int64
    assert values.tolist() == [2, 1, 0, 0, 0, 0]
    assert present.tolist() == [True, True, True, False, False, True]
    assert [(p.row, p.reason) for p in problems] == [
        (4, "the class 'seven' was not in the training rows (1, 2, 10)")
    ]
    assert target.decode(values[:3]).tolist() == [10, 2, 1]


def test_label_sets_encode_and_come_back():
    target = propose_target("y", ["a;b", "b;c", "a;c", "c;a;b"] * 3)
    values, present, problems = target.encode(["b; a;;", None, "zzz", "c;zzz", ""])
    assert values.dtype == np.float32
    assert values.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert present.tolist() == [True, False, False, True, False]
    assert [p.reason for p in problems] == [
        "the label 'zzz' was not in the training rows (a, b, c)"
    ]
    sets = target.decode(values)
    assert sets[0] == ["a", "b"] and sets[1] == []
    assert target.text(sets[0]) == "a;b"
    lists = propose_target("y", [["a"], ["b"]])
    values, present, _ = lists.encode([[], ["a", None], np.array(["b"])])
    assert (values.tolist(), present.all()) == ([[0, 0], [1, 0], [0, 1]], True)


def test_numbers_encode_and_come_back():
    numbers = np.random.default_rng(0).normal(50, 10, 1000).tolist()
    target = propose_target("y", [*numbers, 1e9])
    assert 49 < target.mean < 51 and 9 < target.scale < 11
    cells = [*numbers[:50], None, "60", "x", float("inf")]
    values, present, problems = target.encode(cells)
    assert values.dtype == np.float32
    assert present.tolist() == [True] * 50 + [False, True, False, False]
    assert [p.reason for p in problems] == [
        "'x' is not a finite number",
        "'inf' is not a finite number",
    ]
    np.testing.assert_allclose(target.original(values[:50]), numbers[:50], rtol=1e-5)
    assert propose_target("y", [0.5] * 500 + [0.75], kind="regression").scale > 0


def test_a_number_beyond_32_bits_is_a_problem_and_no_infinity():
    target = Numbers("y", mean=5.0, scale=2.0)
    values, present, problems = target.encode(["1e300", 1e17, -1e300])
    assert np.isfinite(values).all() and present.tolist() == [False, True, False]
    assert problems[0].reason == "'1e300' is too large a number"


def test_names_and_numbers():
    assert [class_name(c) for c in (1, 1.0, "1.0", True, "01", 1.5, np.bool_(False), " a ", 1e300)] == [
        "1", "1", "1", "True", "01", "1.5", "False", "a", str(int(1e300)),
    ]  # fmt: skip
    assert as_number("1_0") is None and as_number("nan") is None and as_number([1]) is None
    assert as_number(" 1e3 ") == 1000.0 and as_number(10**400) is None
    assert label_parts("a;a; b", ";") == ["a", "b"] and label_parts("a;b", None) == ["a;b"]
