"""Proposals are what a sensible person would choose, and say why."""

import json
import uuid

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.table import arrow
from plait.data.table import columns as column_facts
from plait.data.table.schema import Schema, propose
from plait.data.table.source import open_table
from plait.errors import SchemaError

RNG = np.random.default_rng(0)
ROWS = 200
WORDS = [
    "red",
    "green",
    "blue",
    "old",
    "new",
    "house",
    "river",
    "boat",
    "tree",
    "light",
    "dark",
    "cold",
    "warm",
    "small",
    "large",
]


def _sentence(_):
    return " ".join(RNG.choice(WORDS, 6))


DATA = {
    "id": [str(i) for i in range(ROWS)],
    "photo": [f"p{i % 20}.png" for i in range(ROWS)],
    "story": [_sentence(i) for i in range(ROWS)],
    "price": [f"{x:.3f}" for x in RNG.normal(10, 3, ROWS)],
    "rating": [str(x) for x in RNG.integers(0, 6, ROWS)],
    "colour": [str(x) for x in RNG.choice(["red", "green", "blue"], ROWS)],
    "zip": [str(x) for x in RNG.choice(["00501", "02134", "10001", "94105"], ROWS)],
    "when": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(ROWS)],
    "empty": [None] * ROWS,
    "same": ["v1"] * ROWS,
    "label": [str(x) for x in RNG.choice(["cat", "dog", "owl"], ROWS)],
}
DATA["label_id"] = [{"cat": "7", "dog": "8", "owl": "9"}[x] for x in DATA["label"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(20):
        Image.new("RGB", (4, 4), (i * 10, 0, 0)).save(folder / f"p{i}.png")
    return folder


@pytest.fixture(scope="module")
def told(folder):
    return Settings(media=Media(folder))


def _propose(data, targets=(), settings=None, **options):
    return propose(
        open_table(data), list(targets), settings or Settings(media=Media(None)), **options
    )


def _column(schema, name):
    return next(column for column in schema.columns if column.name == name)


def test_a_table_as_people_have_them(folder, told):
    schema = propose(open_table(DATA, root=folder), ["label"], told)
    assert schema.inputs == {
        "photo": "image",
        "story": "text",
        "price": "numeric",
        "rating": "numeric",
        "colour": "categorical",
        "zip": "categorical",
        "when": "datetime",
    }
    assert schema.targets == ("label",)
    assert schema.group is None
    reasons = {column.name: column.reason for column in schema.columns}
    assert reasons["id"] == (
        "every value is different and it looks like an identifier by its name: it cannot help on new rows"
    )
    assert reasons["empty"] == "all 200 cells are missing"
    assert reasons["same"] == "all 200 cells are 'v1': it tells no row from another"
    assert reasons["zip"] == "digits with leading zeros are codes, not numbers"
    assert reasons["label_id"] == (
        "it goes one to one with the target 'label', so it seems to be the target itself (leakage). If it will be "
        "known for new rows, name it: --column label_id=numeric"
    )
    quality = _column(schema, "colour").quality
    assert quality["missing"] == 0 and quality["distinct"] == 3 and quality["counted"] == 200
    assert quality["duplicates"] == pytest.approx(197 / 200)
    assert quality["commonest"][0] in ("red", "green", "blue")
    assert len(quality["examples"]) == 3
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_mere_look_has_no_targets(folder, told):
    schema = propose(open_table(DATA, root=folder), [], told)
    assert schema.targets == ()
    assert schema.inputs["label"] == "categorical"


def test_overrides_win(folder, told):
    schema = propose(
        open_table(DATA, root=folder),
        ["label"],
        told,
        columns={
            "rating": "categorical",
            "label_id": "categorical",
            "id": "numeric",
            "zip": "ignore",
        },
        ignore=["when"],
        group="colour",
    )
    assert schema.inputs["rating"] == "categorical"
    assert schema.inputs["label_id"] == "categorical"
    assert schema.inputs["id"] == "numeric"
    assert schema.group == "colour"
    for name in ("zip", "when"):
        assert (_column(schema, name).role, _column(schema, name).reason) == (
            "ignored",
            "as requested",
        )
    assert "colour" not in schema.inputs
    assert _column(schema, "colour").reason == (
        "its rows stay on one side of the split; as an input it would give them away"
    )


def _with_label(**columns):
    return {"label": ["x", "y"] * (ROWS // 2), "value": RNG.normal(size=ROWS).tolist(), **columns}


IDENTIFIERS = {
    "consecutive": ("row_number", [str(i + 5) for i in range(ROWS)], "whole numbers without gaps"),
    "floats": ("n", [float(i) for i in range(ROWS)], "whole numbers without gaps"),
    "in order": ("code", np.cumsum(RNG.integers(3, 20, ROWS)).tolist(), "whole numbers in order"),
    "uuid": (
        "a",
        [str(uuid.UUID(int=int(i) * 10**30)) for i in range(1, ROWS + 1)],
        "a hash or UUID",
    ),
    "hash": ("a", [f"{i * 7919:015x}f9" for i in range(ROWS)], "a hash or UUID"),
    "pattern": ("a", [f"row_{i * 37 % 1000:04}" for i in range(ROWS)], "all of the form row_9"),
    "name": ("userId", [str(x) for x in RNG.permutation(10**6)[:ROWS]], "by its name"),
    "file": (
        "filename",
        [f"x{chr(97 + i % 26)}{i}q.bin" for i in range(ROWS)],
        "a file that is not there",
    ),
    "nearly": (
        "user_id",
        [str(i if i > 9 else 0) for i in range(ROWS)],
        "191 of 200 values are different",
    ),
    "source": (
        "patient",
        [f"p{i % 30}" for i in range(ROWS)],
        "Name it as the group (--group patient)",
    ),
    "source id": (
        "user_id",
        [str(i % 60) for i in range(ROWS)],
        "about 3 rows each: a model would memorise",
    ),
    "digits": ("code", [f"{x:06}" for x in RNG.permutation(10**5)[:ROWS]], "codes of digits"),
}


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_identifiers_are_ignored_and_said(kind):
    name, cells, reason = IDENTIFIERS[kind]
    schema = _propose(_with_label(**{name: cells}), ["label"])
    column = _column(schema, name)
    assert column.role == "ignored", column
    assert reason in column.reason


KEPT = {
    "fractions": ("id_score", RNG.normal(size=ROWS).tolist(), "numeric"),
    "incomes": ("income", [str(x) for x in RNG.permutation(10**6)[:ROWS]], "numeric"),
    "sorted": ("people", np.cumsum(RNG.integers(1, 9000, ROWS)).tolist(), "numeric"),
    "free text": ("key", [f"note {i} " + _sentence(i) for i in range(ROWS)], "text"),
    "shop": ("shop_id", [str(i % 5) for i in range(ROWS)], "categorical"),
    "sex": ("subject", ["he", "she"] * (ROWS // 2), "categorical"),
    "gaps": ("a", [1.5, None, 2.5, 7.0] * (ROWS // 4), "numeric"),
    "or missing": ("flag", ["1", None] * (ROWS // 2), "categorical"),
    "signal": ("wave", [RNG.normal(size=30).tolist() for _ in range(ROWS)], "signal"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_only_resembles_an_identifier_stays(kind):
    name, cells, modality = KEPT[kind]
    if kind == "sex":
        cells = [str(x) for x in RNG.choice(["he", "she"], ROWS)]
    if kind == "or missing":
        cells = [("1", None)[x] for x in RNG.integers(0, 2, ROWS)]
    schema = _propose(_with_label(**{name: cells}), ["label"])
    assert schema.inputs.get(name) == modality, _column(schema, name)


def test_structs_of_bytes_are_media(folder, told):
    blob = (folder / "p1.png").read_bytes()
    data = _with_label(photo=[{"bytes": blob, "path": None}] * ROWS, odd=[{"a": {"b": 1}}] * ROWS)
    schema = _propose(data, ["label"], told)
    assert schema.inputs["photo"] == "image"
    assert _column(schema, "photo").quality["distinct"] is None
    assert _column(schema, "photo").quality["examples"] == [
        f"{{bytes: {len(blob)} bytes, path: None}}"
    ]
    assert _column(schema, "odd").reason.startswith(
        "no modality reads its cells (struct<a: struct<b: int64>>"
    )
    assert schema.repeated_rows is None


def test_warnings():
    data = {
        "label": [str(x) for x in RNG.choice(["x", "y"], ROWS)],
        "hole": [float(x) if i % 4 == 0 else None for i, x in enumerate(RNG.normal(size=ROWS))],
        "flat": ["u"] * (ROWS - 1) + ["v"],
        "artist": [
            f"A{chr(97 + i * 3 % 26)}{chr(97 + i % 26)}" if i % 3 else "Zed" for i in range(ROWS)
        ],
        "mixed": [str(i / 7) if i % 10 else "lots" for i in range(ROWS)],
    }
    schema = _propose(data, ["label"], columns={"artist": "categorical", "flat": "categorical"})
    warnings = "\n".join(schema.warnings)
    assert "hole: 75% of its cells are missing" in warnings
    assert "flat: 99.5% of its cells are 'u'" in warnings
    assert "mixed: mixed cells: 90% are numbers, others are not, such as 'lots'" in warnings


def test_high_cardinality_and_repeated_rows_are_warned_of():
    names = [f"{WORDS[i % 15]}{WORDS[i * 7 % 13]}" for i in range(150)] + ["red"] * 50
    schema = _propose(_with_label(artist=names), ["label"], columns={"artist": "categorical"})
    assert any(w.startswith("artist: ") and "categories in 200 cells" in w for w in schema.warnings)
    twice = _propose({"a": [0.5, 1.5, 0.5, 2.5], "b": ["x", None, "x", "y"]})
    assert twice.repeated_rows == 1
    assert "1 row repeats an earlier row in every column" in twice.warnings


def test_a_column_that_gives_the_answer_away_is_warned_of():
    labels = [i % 3 for i in range(ROWS)]
    schema = _propose(
        {"label": [f"c{x}" for x in labels], "part": [f"part {x} {i % 2}" for i, x in enumerate(labels)],
         "v": RNG.normal(size=ROWS).tolist()},
        ["label"],
    )  # fmt: skip
    assert "each of its 6 values goes with one value of 'label' only" in "\n".join(schema.warnings)


def test_a_copy_of_a_numeric_target_is_a_leak_but_a_unique_number_is_not():
    price = RNG.normal(size=50).round(4)
    schema = _propose(
        {"price": price.tolist(), "copy": price.tolist(), "x": RNG.normal(size=50).tolist()},
        ["price"],
    )
    assert list(schema.inputs) == ["x"]


def test_small_tables_are_not_suspected():
    schema = _propose({"label": ["a", "b"] * 4, "colour": ["red", "blue"] * 4})
    assert list(schema.inputs) == ["label", "colour"]
    schema = _propose({"label": ["a", "b"] * 4, "colour": ["red", "blue"] * 4}, ["label"])
    assert schema.inputs == {"colour": "categorical"}


ERRORS = [
    (
        {"targets": ["lable"]},
        "target 'lable': this dict has no such column. Did you mean 'label'? Its "
        "columns: label, value, n.",
    ),
    ({"targets": ["label", "label"]}, "target 'label' is named 2 times; name it once."),
    ({"ignore": ["label"]}, "'label' is both a target and ignored; choose one."),
    (
        {"columns": {"label": "text"}},
        "'label' is both a target and an input (text): a model that sees",
    ),
    ({"group": "label"}, "'label' is both a target and the group; choose one."),
    ({"group": "n", "ignore": ["n"]}, "'n' is both ignored and the group; choose one."),
    (
        {"columns": {"n": "text"}, "ignore": ["n"]},
        "'n' is both ignored and an input (text); choose one.",
    ),
    (
        {"columns": {"n": "text"}, "group": "n"},
        "'n' is both the group and an input (text): what splits",
    ),
    (
        {"columns": {"n": "imge"}},
        "column 'n': unknown modality 'imge'. Did you mean 'image'? Choose from: ",
    ),
    ({"columns": {"void": "text"}}, "column 'void': this dict has no such column."),
    ({"group": "void"}, "group 'void': this dict has no such column."),
    (
        {"ignore": ["value", "n"]},
        "no column is left to learn from. Ignored: value: as requested; n: as",
    ),
    ({"columns": {"n": "numeric"}, "ignore": ["value"]}, None),
]


@pytest.mark.parametrize(("request_", "text"), ERRORS)
def test_contradictions_are_told(request_, text):
    data = _with_label(n=[f"{x}" for x in RNG.normal(size=ROWS)])
    options = {"targets": ["label"], **request_}
    if text is None:
        assert _propose(data, **options).inputs == {"n": "numeric"}
        return
    with pytest.raises(SchemaError) as caught:
        _propose(data, **options)
    assert text in str(caught.value)


def test_all_contradictions_come_together():
    with pytest.raises(SchemaError) as caught:
        _propose(_with_label(), ["labl"], columns={"value": "numbers", "x": "text"}, ignore=["y"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 things are wrong:"
    assert len(lines) == 5


def test_a_named_column_must_hold_something():
    with pytest.raises(
        SchemaError, match="column 'e' is named text, but all 200 of its cells are missing"
    ):
        _propose(_with_label(e=[None] * ROWS), ["label"], columns={"e": "text"})


def test_long_tables_are_counted_in_runs(monkeypatch):
    monkeypatch.setattr(column_facts, "MAX_COUNTED_ROWS", 1000)
    monkeypatch.setattr(column_facts, "_RUN_ROWS", 100)
    monkeypatch.setattr(arrow, "WINDOW_CELLS", 300)
    chunks = [
        pa.table({"a": [None, *range(i, i + 499)], "t": ["x" * 300] * 500})
        for i in range(0, 5000, 500)
    ]
    table = open_table(pa.concat_tables(chunks))
    facts = column_facts.count(table, "a")
    assert facts.missing == 10
    assert facts.looked <= 1000 and len(facts.codes) == 1000
    assert len(facts.sample) == 300
    assert facts.sample == sorted(facts.sample)
    assert column_facts.count(table, "a").sample == facts.sample
    text = column_facts.count(table, "t")
    assert text.distinct == 1
    assert column_facts.example(text.keys[0]).endswith("...")


def test_missing_cells_are_counted_in_every_type():
    table = open_table(
        pa.table(
            {
                "f": [1.0, float("nan"), None, 2.0],
                "s": pa.array(["a", " \u3000", "", None]).dictionary_encode(),
                "b": [True, None, False, None],
                "l": [["x"], None, [], ["y"]],
                "n": pa.nulls(4),
            }
        ).slice(0, 4)
    )
    missing = {name: column_facts.count(table, name).missing for name in table.columns}
    assert missing == {"f": 2, "s": 3, "b": 2, "l": 1, "n": 4}


def test_examples_are_short():
    assert column_facts.example(b"abc") == "3 bytes"
    assert column_facts.example([1, 2, 3, 4]) == "[1, 2, 3, ... 4]"
    assert column_facts.example(("a",)) == "[a]"
    assert len(column_facts.example("x" * 99)) == 40


def test_a_column_that_names_who_made_a_row_is_offered_as_group():
    speakers = [("anna", "bob", "carl", "dora")[i % 4] for i in range(ROWS)]
    schema = _propose(_with_label(speaker=speakers), ["label"])
    assert schema.inputs["speaker"] == "categorical"
    assert (
        "speaker: about 50 rows per speaker (anna, bob, ...). To measure it on values not seen in "
        "training, keep each on one side of the split: --group speaker"
    ) in schema.warnings
    parted = _propose(_with_label(speaker=speakers, voice=speakers), ["label"], group="voice")
    assert not any("rows per speaker" in warning for warning in parted.warnings)
    one_each = _propose(_with_label(artist=[f"a {i} b" for i in range(ROWS)]), ["label"])
    assert not any("rows per artist" in warning for warning in one_each.warnings)
