"""A look at a table says what every column would be, and fits nothing."""

import json

import pytest

from plait.cli.inspect import inspect_table
from plait.errors import ConfigError, SchemaError, TableError


def test_a_look_at_every_modality(braid):
    found = inspect_table(braid / "train.csv", ["label", "score"])
    json.dumps(found, allow_nan=False)
    assert found["table"] == "train.csv"
    columns = {column["name"]: column for column in found["schema"]["columns"]}
    assert {
        name: column["modality"] for name, column in columns.items() if column["role"] == "input"
    } == {
        "photo": "image",
        "note": "text",
        "voice": "audio",
        "price": "numeric",
        "shop": "categorical",
        "day": "datetime",
        "pulse": "signal",
    } | ({"tags": columns["tags"]["modality"]} if columns["tags"]["role"] == "input" else {})
    assert [target["kind"] for target in found["targets"]] == ["multiclass", "regression"]
    assert 0 < columns["photo"]["quality"]["missing"] < 0.3
    assert all(column["reason"] for column in columns.values())


def test_without_a_target(braid):
    found = inspect_table(braid / "train.csv")
    assert found["targets"] == []
    assert found["schema"]["rows"] == 72


def test_a_separator_reaches_the_target():
    rows = [{"x": n * 1.7, "y": "a / b" if n % 2 else "a"} for n in range(20)]
    (target,) = inspect_table(rows, ["y"], separator=" / ")["targets"]
    assert (target["kind"], target["classes"]) == ("multilabel", ["a", "b"])
    (target,) = inspect_table(rows, ["y"])["targets"]
    assert target["kind"] == "binary"


def test_notes_and_warnings_are_passed_on(tmp_path):
    (tmp_path / "t.csv").write_text(
        "x,,y\n" + "".join(f"{n * 1.5},,{'ab'[n % 2]}\n" for n in range(20))
    )
    found = inspect_table(tmp_path / "t.csv", ["y"])
    assert found["notes"] == ["column 2 has no name; it is called 'column_2'"]
    roles = {column["name"]: column["role"] for column in found["schema"]["columns"]}
    assert roles == {"x": "input", "column_2": "ignored", "y": "target"}


def test_what_is_wrong(braid):
    with pytest.raises(ConfigError, match=r"there is no option 'colums'. Did you mean 'columns'\?"):
        inspect_table(braid / "train.csv", colums={})
    with pytest.raises(SchemaError, match=r"target 'labl': .* Did you mean 'label'\?"):
        inspect_table(braid / "train.csv", ["labl"])
    with pytest.raises(TableError, match="there is no file"):
        inspect_table(braid / "no.csv")
