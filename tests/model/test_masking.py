"""What is hidden for masked pretraining: so much of each cell, and never what is missing."""

import pytest
import torch

from plait.data.modalities.registry import MODALITIES
from plait.model.masking import (
    FIELDS,
    MASKS,
    PARTS,
    STRETCH,
    WORDS,
    hide,
    hide_cell,
    hide_patches,
    hide_stretches,
    hide_tubes,
    hide_words,
)
from plait.model.tokens import ColumnBatch

ROWS = 64


def test_every_modality_can_be_masked():
    assert set(MASKS) == set(MODALITIES)


def test_words_become_the_id_that_no_text_holds():
    column = ColumnBatch(
        torch.randint(1, 9, (ROWS, 40), dtype=torch.int32), torch.ones(ROWS, 40, dtype=torch.bool)
    )
    shown = hide_words(column)
    assert shown.mask is column.mask and shown.values.dtype == torch.int32
    hidden = shown.values == 0
    assert abs(hidden.float().mean() - WORDS) < 0.05
    assert torch.equal(shown.values[~hidden], column.values[~hidden])


@pytest.mark.parametrize("size", [16, 20, 48])
def test_patches_take_the_mean_colour(size):
    column = ColumnBatch(
        torch.randint(0, 256, (ROWS, size, size, 3), dtype=torch.uint8),
        torch.ones(ROWS, dtype=torch.bool),
    )
    shown = hide_patches(column)
    assert shown.values.dtype == torch.uint8 and shown.mask is column.mask
    changed = (shown.values != column.values).any(dim=3)
    assert abs(changed.float().mean() - PARTS) < 0.07
    mean = column.values.float().mean(dim=(1, 2)).to(torch.uint8)
    assert (shown.values[3][changed[3]] == mean[3]).all()


def test_tubes_hide_the_same_place_in_every_frame():
    column = ColumnBatch(
        torch.randint(0, 256, (ROWS, 5, 16, 16, 3), dtype=torch.uint8),
        torch.ones(ROWS, dtype=torch.bool),
    )
    shown = hide_tubes(column)
    assert shown.values.dtype == torch.uint8 and shown.mask is column.mask
    assert shown.values.shape == column.values.shape
    mean = column.values.float().mean(dim=(2, 3), keepdim=True).to(torch.uint8)
    hidden = (shown.values == mean).all(dim=4)
    assert abs(hidden.float().mean() - PARTS) < 0.07
    assert torch.equal(hidden.all(dim=1), hidden.any(dim=1) & hidden[:, 0])
    assert torch.equal(shown.values[~hidden], column.values[~hidden])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_stretches_take_the_mean_of_the_real_steps(dtype):
    steps = 5 * STRETCH + 3
    mask = torch.arange(steps) < torch.randint(20, steps, (ROWS, 1))
    values = torch.randn(ROWS, steps, 2).to(dtype) * mask.unsqueeze(-1)
    shown = hide_stretches(ColumnBatch(values, mask))
    assert shown.values.dtype == dtype
    assert (shown.values[~mask] == 0).all()
    changed = (shown.values != values).any(dim=2)
    assert abs(changed.float().sum() / mask.sum() - PARTS) < 0.1
    mean = values[0][mask[0]].float().mean(dim=0).to(dtype)
    torch.testing.assert_close(
        shown.values[0][changed[0]], mean.expand(int(changed[0].sum()), 2), atol=1e-3, rtol=1e-2
    )
    together = changed[0][:STRETCH]
    assert together.all() or not together.any()


def test_cells_go_missing_and_missing_ones_do_not_come_back():
    mask = torch.rand(2000) < 0.5
    shown = hide_cell(ColumnBatch(torch.randn(2000, 1), mask))
    assert not (shown.mask & ~mask).any()
    assert abs(1 - shown.mask.sum() / mask.sum() - FIELDS) < 0.05


def test_a_batch_is_hidden_by_modality_and_drawn_by_the_seed():
    columns = {
        "price": ColumnBatch(torch.randn(ROWS, 1), torch.ones(ROWS, dtype=torch.bool)),
        "clip": ColumnBatch(torch.randn(ROWS, 1), torch.ones(ROWS, dtype=torch.bool)),
    }
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(hide(columns, {"price": "numeric", "clip": "smell"}))
    assert drawn[0]["clip"] is columns["clip"]
    assert torch.equal(drawn[0]["price"].mask, drawn[1]["price"].mask)
    assert not torch.equal(drawn[0]["price"].mask, drawn[2]["price"].mask)
