"""How long a fit trains, and what it says about that."""

from plait.config import configure
from plait.training.fit import pace


def test_a_small_table_gets_more_epochs_and_is_told_so():
    assert pace(configure(), 400) == (
        "at most 45 epochs of 7 steps (64 rows per step), up from 15 since the table is small; patience 24 "
        "epochs"
    )


def test_a_large_table_gets_the_epochs_of_the_preset():
    assert pace(configure(), 100_000) == (
        "at most 15 epochs of 1,563 steps (64 rows per step); patience 8 epochs"
    )


def test_few_steps_are_named():
    assert pace(configure(epochs=12, preset="fast", batch_size=64), 102).endswith(
        "24 steps are few, and the model may stay at chance: preset 'fast' would take 150. Leave epochs "
        "unset, or lower batch_size"
    )
