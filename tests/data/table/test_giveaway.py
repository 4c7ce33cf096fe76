"""Columns that hold the answer in other words."""

import numpy as np
import pytest

from plait.data.table.giveaway import giveaways
from plait.data.table.source import open_table

GENRES = ["rock", "classical", "pop"]


def rows(count=60):
    rng = np.random.default_rng(0)
    return [
        {
            "piece": f"{GENRES[n % 3]}{n:03d}",
            "notes": f"a {GENRES[n % 3]}, {GENRES[(n + 1) % 3]} or {GENRES[(n + 2) % 3]} piece",
            "tempo": float(rng.normal()),
            "code": 10 * (n % 3) + float(rng.random()),
            "label": GENRES[n % 3],
        }
        for n in range(count)
    ]


def found(table, *columns):
    return giveaways(open_table(table), columns, ["label"])


def test_a_text_that_names_the_class_is_warned_of():
    assert found(rows(), "piece") == [
        "piece: 100% of its texts name the value of 'label'; if it is not known at prediction time, leave "
        "it out (--ignore piece)"
    ]


def test_a_text_that_names_every_class_gives_nothing_away():
    assert found(rows(), "notes", "tempo") == []


def test_a_number_that_orders_the_classes_is_warned_of():
    assert found(rows(), "code") == [
        "code: this number alone separates the values of 'label' perfectly; if it is not known at "
        "prediction time, leave it out (--ignore code)"
    ]
    spelt = [{**row, "code": str(row["code"])} for row in rows()]  # as a CSV has it
    assert found(spelt, "code") == found(rows(), "code")


def test_one_row_on_the_wrong_side_is_no_giveaway():
    table = rows()
    table[0]["code"] = 15.5
    assert found(table, "code") == []


def test_few_rows_prove_nothing():
    assert found(rows(15), "piece", "code") == []


@pytest.mark.parametrize("missing", [None, ""])
def test_rows_without_a_cell_or_an_answer_do_not_count(missing):
    table = rows()
    for row in table[:9]:
        row["piece"] = missing
    for row in table[9:12]:
        row["label"] = missing
    assert found(table, "piece")[0].startswith("piece: 100% of its texts")
