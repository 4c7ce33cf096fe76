"""The loader: every row once, seeded, restartable, like lengths together."""

import functools
import operator

import numpy as np
import pytest
import torch

from plait.data.store import PreparedColumn
from plait.model.loader import Batch, Loader, collate
from plait.model.tokens import ColumnBatch


def ragged(lengths, index=None):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.arange(offsets[-1], dtype=np.float32)
    return PreparedColumn(values, offsets, np.array(lengths) > 0, index)


def fixed(rows):
    return PreparedColumn(np.arange(rows, dtype=np.float32)[:, None], None, np.ones(rows, bool))


def make(rows=103, batch_size=10, seed=0, lengths=None, some=None):
    columns = {"size": fixed(rows)}
    if lengths is not None:
        columns["sound"] = ragged(lengths)
    chosen = np.arange(rows) if some is None else some
    goals = {"y": np.arange(rows) * 10}
    return Loader(columns, goals, chosen, batch_size=batch_size, seed=seed)


def rows_of(loader, number=0, start=0):
    return [batch.rows.tolist() for batch in loader.epoch(number, start)]


LENGTHS = np.random.default_rng(0).integers(0, 200, 103)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("batch_size", [1, 7, 10, 64, 103, 500])
def test_every_row_comes_once_an_epoch_in_batches_alike(lengths, batch_size):
    loader = make(batch_size=batch_size, lengths=lengths)
    batches = rows_of(loader)
    assert sorted(functools.reduce(operator.iadd, batches, [])) == list(range(103))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == len(loader)
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size


def test_only_the_rows_asked_for_come():
    some = np.array([3, 50, 7, 9])
    assert sorted(
        functools.reduce(operator.iadd, rows_of(make(some=some, batch_size=3, lengths=LENGTHS)), [])
    ) == [3, 7, 9, 50]


def test_columns_and_targets_belong_to_the_rows():
    for batch in make(lengths=LENGTHS).epoch(2):
        assert batch.columns["size"].values[:, 0].tolist() == batch.rows.tolist()
        assert batch.targets["y"].tolist() == (batch.rows * 10).tolist()
        assert batch.columns["sound"].mask.sum(dim=1).tolist() == LENGTHS[batch.rows].tolist()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_an_epoch_is_drawn_by_seed_and_number(lengths):
    assert rows_of(make(lengths=lengths), 3) == rows_of(make(lengths=lengths), 3)
    assert rows_of(make(lengths=lengths), 3) != rows_of(make(lengths=lengths), 4)
    assert rows_of(make(lengths=lengths), 3) != rows_of(make(lengths=lengths, seed=1), 3)


def test_without_a_seed_rows_keep_their_order():
    assert functools.reduce(operator.iadd, rows_of(make(seed=None, lengths=LENGTHS)), []) == list(
        range(103)
    )


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("start", [0, 1, 5, 10, 11])
def test_a_restart_gives_the_rest_of_the_epoch(lengths, start):
    loader = make(lengths=lengths)
    assert rows_of(loader, 1, start) == rows_of(loader, 1)[start:]


def test_rows_of_like_length_travel_together():
    lengths = np.random.default_rng(0).integers(1, 1000, 320)
    loader = make(rows=320, lengths=lengths, batch_size=10)
    padded = sum(batch.columns["sound"].mask.numel() for batch in loader.epoch())
    loader.lengths = None
    blind = sum(batch.columns["sound"].mask.numel() for batch in loader.epoch())
    assert padded < 1.2 * lengths.sum()
    assert blind > 1.5 * lengths.sum()


def test_batches_do_not_come_sorted_by_length():
    lengths = np.arange(1, 161)
    means = [lengths[rows].mean() for rows in rows_of(make(rows=160, lengths=lengths))]
    assert means != sorted(means)


def test_shared_cells_count_for_their_rows():
    column = ragged([1, 50], index=np.array([0, 1, 0, 1]))
    loader = Loader({"sound": column}, {}, np.arange(4), batch_size=2, seed=0)
    assert sorted(sorted(rows) for rows in rows_of(loader)) == [[0, 2], [1, 3]]


def test_wide_steps_count_more_than_narrow_ones():
    narrow = ragged([9, 1, 9, 1])
    offsets = np.array([0, 1, 3, 4, 6])
    wide = PreparedColumn(np.zeros((6, 100), np.float32), offsets, np.ones(4, bool))
    loader = Loader({"text": narrow, "sound": wide}, {}, np.arange(4), batch_size=2, seed=0)
    assert loader.lengths.tolist() == [436, 804, 436, 804]


def test_collate_gives_tensors_that_may_be_written_to():
    columns = collate({"size": fixed(5), "sound": ragged([2, 0, 3, 1, 1])}, np.array([2, 1]))
    for column in columns.values():
        column.values.add_(1)
    assert columns["size"].values.tolist() == [[3], [2]]
    assert columns["sound"].mask.tolist() == [[True] * 3, [False] * 3]


def test_a_batch_moves_to_a_device_whole():
    batch = Batch(
        np.arange(2),
        {"a": ColumnBatch(torch.zeros(2), torch.ones(2, dtype=torch.bool))},
        {"y": torch.zeros(2)},
    )
    moved = batch.to(torch.device("meta"))
    assert {moved.columns["a"].values.device.type, moved.columns["a"].mask.device.type} == {"meta"}
    assert moved.targets["y"].device.type == "meta"
    assert moved.rows is batch.rows
