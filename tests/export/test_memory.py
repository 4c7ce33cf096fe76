"""Tokens of cells that come again."""

import threading

import numpy as np
import pytest

from plait.runtime import Runtime
from plait.runtime.memory import Memory


class Session:
    """Tokens that are the values themselves; counts the rows it saw."""

    def __init__(self):
        self.seen = []

    def run(self, outputs, feed):
        assert outputs == ["tokens", "mask"]
        self.seen.append(len(feed["values_0"]))
        values, mask = feed["values_0"].astype(np.float32), feed["mask_0"]
        if mask.ndim == 1:
            return values[:, None], mask[:, None]
        return values[..., None], mask


def ragged(*rows):
    steps = max(map(len, rows))
    values, mask = np.zeros((len(rows), steps), np.int32), np.zeros((len(rows), steps), bool)
    for row, cell in enumerate(rows):
        values[row, : len(cell)], mask[row, : len(cell)] = cell, True
    return {"values_0": values, "mask_0": mask}


def test_a_cell_is_encoded_once_whatever_pads_it():
    memory, session = Memory(10), Session()
    values, mask = memory.encode("a", session, ragged([1, 2], [3], [1, 2]))
    assert session.seen == [2]
    assert values[:, :, 0].tolist() == [[1, 2], [3, 0], [1, 2]]
    assert mask.tolist() == [[True, True], [True, False], [True, True]]
    values, mask = memory.encode("a", session, ragged([3], [4, 5, 6, 7]))
    assert session.seen == [2, 1]
    assert values[:, :, 0].tolist() == [[3, 0, 0, 0], [4, 5, 6, 7]]
    assert (memory.hits, memory.misses) == (2, 3)
    memory.encode("a", session, ragged([4, 5, 6, 7], [3]))
    assert session.seen == [2, 1]
    memory.encode("b", session, ragged([3]))
    assert session.seen == [2, 1, 1]


def test_the_least_recently_used_goes_first():
    memory, session = Memory(2), Session()
    for cell in ([1], [2], [1], [3], [1]):
        memory.encode("a", session, ragged(cell))
    assert len(memory) == 2
    assert session.seen == [1, 1, 1]
    memory.encode("a", session, ragged([2]))
    assert session.seen == [1, 1, 1, 1]
    values, _ = memory.encode("a", session, ragged([7], [8], [9], [7]))
    assert values[:, 0, 0].tolist() == [7, 8, 9, 7]
    assert len(memory) == 2


def test_cells_of_one_shape_with_another_mask_or_split_are_others():
    memory, session = Memory(9), Session()
    whole = {"values_0": np.ones((2, 4), np.uint8), "mask_0": np.array([True, False])}
    _, mask = memory.encode("a", session, whole)
    assert mask.tolist() == [[True], [False]] or mask[1].sum() == 0
    assert session.seen == [2]
    gap = ragged([1, 2, 3])
    gap["mask_0"][0, 1] = False
    memory.encode("a", session, gap)
    memory.encode("a", session, ragged([1, 2, 3]))
    assert session.seen == [2, 1, 1]


def test_many_threads():
    memory, session = Memory(5), Session()
    wrong = []

    def work(seed):
        generator = np.random.default_rng(seed)
        for _ in range(50):
            cells = [[int(n)] for n in generator.integers(0, 12, size=4)]
            values, _ = memory.encode("a", session, ragged(*cells))
            wrong.extend(
                values[:, :1, 0].tolist() != cells
                for _ in range(1)
                if values[:, :1, 0].tolist() != cells
            )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(memory) == 5


def test_the_runtime_answers_alike_with_it(full_app, braid):
    plain, keeping = Runtime(full_app[1]), Runtime(full_app[1], kept=500)
    want = plain.answer(braid / "test.csv").scores["label"]
    for _ in range(2):
        got = keeping.answer(braid / "test.csv").scores["label"]
        np.testing.assert_allclose(got, want, atol=1e-5)
    memory = keeping.graphs.memory
    assert memory.hits >= memory.misses > 0
    assert plain.graphs.memory is None
    with pytest.raises(TypeError):
        Runtime(full_app[1], 500)
