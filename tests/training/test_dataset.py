"""What read_dataset makes of a table."""

import pytest

from plait import open_table
from plait.config import Config
from plait.training.dataset import read_dataset

TABLE = {"size": [row % 7 / 2 for row in range(40)], "price": [row / 7 for row in range(40)]}


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        ({}, "numbers with fractions, "),
        ({"price": "regression"}, "as requested"),
    ],
)
def test_the_reason_of_a_target_is_its_first(kinds, reason):
    data = read_dataset(open_table(TABLE), ["price"], Config(target_kinds=kinds))
    assert data.targets[0].reason.startswith(reason)
