"""Frozen encoders: each distinct cell once, in order, whatever the batch, and never a bad number."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from plait.data.features import PreparedTable
from plait.data.store import PreparedColumn, Store
from plait.data.table.quarantine import Quarantine
from plait.model import frozen as frozen_module
from plait.model.encoders.pretrained import standardised
from plait.model.frozen import Frozen, FrozenEncoder, capped
from plait.model.loader import collate
from plait.model.pretrained.base import Backbone
from plait.model.tokens import CELLS, ColumnBatch, Tokens

HIDDEN = 6


class Steps(Backbone):
    """Every step of a signal becomes a token, through a matrix; counts the cells it has seen."""

    hidden = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(2, HIDDEN)
        self.cells = 0
        self.most = 1000
        self.seen: list[ColumnBatch] = []

    def forward(self, column: ColumnBatch) -> Tokens:
        if len(column.mask) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.cells += len(column.mask)
        self.seen.append(column)
        return Tokens(self.linear(column.values.float()), column.mask)

    def blocks(self) -> list[torch.nn.Module]:
        return [self.linear]


class Told:
    def __init__(self) -> None:
        self.titles: list[str] = []
        self.done = 0

    @contextmanager
    def stage(self, title, total, unit):
        self.titles.append(f"{title} {total} {unit}")
        yield self

    def advance(self, amount=1, **metrics):
        self.done += amount

    def note(self, text):
        raise AssertionError(text)


def column(rows=70, entry="signal-1", seed=0) -> PreparedColumn:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = generator.normal(size=(offsets[-1], 2)).astype(np.float32)
    return PreparedColumn(values, offsets, lengths > 0, entry=entry)


def encoder(backbone=None, **options) -> FrozenEncoder:
    given = {"modality": "signal", "state": {"leads": 2}, "recipe": {"digest": "d"}, "most": 99}
    return FrozenEncoder(backbone or Steps(), **(given | options))


def table(raw: PreparedColumn) -> PreparedTable:
    return PreparedTable({"wave": raw, "other": column(len(raw), seed=1)}, Quarantine())


def run(raw, made, store=None, reporter=None, **options):
    found = Frozen({"wave": made}, **options).encode(table(raw), store=store, reporter=reporter)
    return found


def by_hand(backbone: Steps, raw: PreparedColumn, row: int) -> torch.Tensor:
    batch = collate({"wave": raw}, np.array([row]))["wave"]
    with torch.no_grad():
        tokens = backbone.linear(batch.values[0][batch.mask[0]])
        return standardised(tokens[None])[0]


@pytest.mark.parametrize("stored", [True, False])
def test_tokens_are_the_encoders_own_standardised_in_half_precision(tmp_path, stored):
    raw, made = column(), encoder()
    found = run(raw, made, Store(tmp_path) if stored else None)
    tokens = found.columns["wave"]
    assert list(found.columns) == ["wave", "other"]
    assert tokens.values.dtype == np.float16
    values, mask = tokens.batch(np.arange(70))
    for row in range(70):
        want = by_hand(made.backbone, raw, row).numpy()
        np.testing.assert_allclose(values[row, mask[row]], want, atol=2e-3)
    assert not found.quarantine.entries


def test_a_cell_that_several_rows_show_is_encoded_once(tmp_path):
    raw = column(20)
    shown = PreparedColumn(
        raw.values, raw.offsets, raw.present, np.tile(np.arange(20), 5), entry="signal-1"
    )
    made = encoder()
    tokens = run(shown, made, Store(tmp_path)).columns["wave"]
    assert made.backbone.cells == int(raw.present.sum()) and len(tokens) == 100
    one, _ = tokens.batch(np.array([3]))
    other, _ = tokens.batch(np.array([83]))
    np.testing.assert_array_equal(one, other)


def test_the_second_run_encodes_nothing(tmp_path):
    raw, made = column(), encoder()
    run(raw, made, Store(tmp_path))
    cells, told = made.backbone.cells, Told()
    run(raw, made, Store(tmp_path), told)
    assert made.backbone.cells == cells
    assert told.titles == ["encode wave 70 cells"] and told.done == 70


def test_cells_stay_where_decoders_want_them():
    found = run(column(), encoder(), keep_cells=True)
    assert set(found.columns) == {"wave", "other", "wave" + CELLS}


def test_no_frozen_encoder_changes_nothing():
    before = table(column())
    assert Frozen({}).encode(before) is before


def test_backbones_do_not_learn_and_do_not_drop():
    made = encoder()
    made.backbone.train()
    Frozen({"wave": made})
    assert not made.backbone.training
    assert not any(weight.requires_grad for weight in made.backbone.parameters())


def test_longer_cells_are_averaged_to_the_most(tmp_path):
    raw, made = column(), encoder(most=3)
    tokens = run(raw, made).columns["wave"]
    lengths = np.diff(raw.offsets)
    assert tokens.lengths.tolist() == np.minimum(lengths, 3).tolist()
    row = int(np.flatnonzero(lengths == 6)[0])
    own = collate({"w": raw}, np.array([row]))["w"]
    with torch.no_grad():
        whole = made.backbone.linear(own.values[0])
    pairs = standardised(whole.reshape(1, 3, 2, HIDDEN).mean(dim=2))[0]
    values, _ = tokens.batch(np.array([row]))
    np.testing.assert_allclose(values[0], pairs.numpy(), atol=2e-3)


def test_capped_leaves_short_samples_as_they_are():
    values = torch.arange(24.0).reshape(2, 4, 3)
    mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
    same = capped(Tokens(values, mask), 4)
    assert same.values is values
    short = capped(Tokens(values, mask), 2)
    assert short.mask.tolist() == [[True, True], [True, False]]
    torch.testing.assert_close(short.values[0, 0], values[0, :2].mean(dim=0))
    torch.testing.assert_close(short.values[1, 0], values[1, 0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_cell_that_gives_no_finite_tokens_is_missing_and_listed(tmp_path, bad):
    raw = column()
    row = int(np.flatnonzero(raw.present)[3])
    raw.values[raw.offsets[row]] = bad
    found = run(raw, encoder(), Store(tmp_path))
    tokens = found.columns["wave"]
    assert not tokens.rows_present[row]
    assert tokens.rows_present.sum() == raw.present.sum() - 1
    (entry,) = found.quarantine.entries
    assert (entry.row, entry.column) == (row, "wave")
    assert entry.reason == "its pretrained encoder gave values that are not finite"


def test_large_tokens_fit_into_half_precision():
    made = encoder()
    with torch.no_grad():
        made.backbone.linear.weight.mul_(1e9)
    tokens = run(column(), made).columns["wave"]
    assert np.isfinite(tokens.values).all() and tokens.rows_present.any()


def test_batches_are_halved_when_memory_runs_out():
    raw, made = column(), encoder()
    whole = run(raw, made).columns["wave"]
    made.backbone.most = 5
    made.backbone.seen.clear()
    parts = run(raw, made).columns["wave"]
    np.testing.assert_allclose(parts.values, whole.values, atol=2e-3)
    assert max(len(batch.mask) for batch in made.backbone.seen) == 4


def test_every_core_takes_a_batch_of_its_own_and_nothing_changes(monkeypatch):
    raw, made = column(300), encoder()
    monkeypatch.setattr(frozen_module, "cores", lambda: 1)
    one = run(raw, made).columns["wave"]
    monkeypatch.setattr(frozen_module, "cores", lambda: 4)
    threads = torch.get_num_threads()
    many = run(raw, made).columns["wave"]
    np.testing.assert_array_equal(one.values, many.values)
    assert torch.get_num_threads() == threads


def test_no_memory_for_a_single_cell_is_told():
    made = encoder()
    made.backbone.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        run(column(), made)


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    made = encoder()

    def broken(column):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(made.backbone, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(column(), made)


def test_views_vary_the_cells_and_the_first_does_not(tmp_path):
    raw = column()
    made = encoder(views=3)
    before = torch.random.get_rng_state()
    tokens = run(raw, made, Store(tmp_path)).columns["wave"]
    assert torch.equal(before, torch.random.get_rng_state())  # the run's own numbers stay its own
    assert tokens.views == 3
    row = int(np.argmax(np.diff(raw.offsets)))
    values, mask = tokens.batch(np.array([row] * 3), np.arange(3))
    want = by_hand(made.backbone, raw, row).numpy()
    np.testing.assert_allclose(values[0, mask[0]], want, atol=2e-3)
    other = by_hand(made.backbone, raw, row).numpy()
    for view in (1, 2):
        assert mask[view].any()
        size = min(len(other), int(mask[view].sum()))
        assert np.abs(values[view, :size] - other[:size]).max() > 0.01


def test_in_use_there_is_one_view():
    assert run(column(), encoder(views=3)).columns["wave"].views == 1


def test_like_lengths_share_a_batch(monkeypatch):
    monkeypatch.setattr(frozen_module, "BATCH_CELLS", 8)
    raw, made = column(), encoder()
    run(raw, made)
    padding = sum(int((~batch.mask).sum()) for batch in made.backbone.seen)
    assert padding < 0.2 * int(raw.offsets[-1])
