"""Augmentation varies what it may and leaves the rest alone."""

import pytest
import torch

from plait.model.augment import (
    AUGMENTATIONS,
    augment,
    vary_audio,
    vary_image,
    vary_signal,
    vary_video,
)
from plait.model.tokens import ColumnBatch

STATES = {
    "image": {"size": 16, "channels": 3},
    "video": {"frames": 4, "size": 16, "channels": 3},
    "audio": {"mels": 20, "fmin": 20.0, "fmax": 4000.0},
    "signal": {"leads": 2},
    "text": {},
}
LENGTHS = torch.tensor([30, 12, 0, 1, 29, 7])


def cells(modality):
    """Six cells of which the third is missing."""
    if modality == "image":
        mask = torch.tensor([True, True, False, True, True, True])
        values = torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8)
        return ColumnBatch(values * mask[:, None, None, None], mask)
    if modality == "video":
        mask = torch.tensor([True, True, False, True, True, True])
        values = torch.randint(0, 256, (6, 4, 16, 16, 3), dtype=torch.uint8)
        return ColumnBatch(values * mask[:, None, None, None, None], mask)
    mask = torch.arange(30) < LENGTHS[:, None]
    if modality == "text":
        return ColumnBatch(torch.randint(1, 9, (6, 30), dtype=torch.int32) * mask, mask)
    width = {"audio": 20, "signal": 2}[modality]
    return ColumnBatch(torch.randn(6, 30, width) * mask.unsqueeze(-1), mask)


def vary(modality, column):
    return augment({"x": column}, {"x": modality}, {"x": STATES[modality]})["x"]


every = pytest.mark.parametrize("modality", AUGMENTATIONS)


@every
def test_shape_type_and_presence_stay(modality):
    column = cells(modality)
    varied = vary(modality, column)
    assert varied.values.shape == column.values.shape
    assert varied.values.dtype == column.values.dtype
    assert varied.values.is_floating_point() is False or varied.values.isfinite().all()
    assert torch.equal(varied.present, column.present)


@every
def test_every_real_cell_changes_and_the_original_stays(modality):
    column = cells(modality)
    before = column.values.clone()
    varied = vary(modality, column)
    assert torch.equal(column.values, before)
    for row in (0, 1, 3, 4, 5):
        assert not torch.equal(varied.values[row], column.values[row])


@every
def test_missing_cells_and_padding_stay_zero(modality):
    values, mask = vary(modality, cells(modality))
    assert not values[~mask].any()


@every
def test_it_is_drawn_by_torchs_seed(modality):
    column = cells(modality)
    varied = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        varied.append(vary(modality, column).values)
    assert torch.equal(varied[0], varied[1])
    assert not torch.equal(varied[0], varied[2])


@every
def test_cells_of_a_batch_vary_differently(modality):
    column = cells(modality)
    twice = ColumnBatch(column.values[[0, 0]], column.mask[[0, 0]])
    values = vary(modality, twice).values
    assert not torch.equal(values[0], values[1])


@every
def test_an_all_missing_batch_stays(modality):
    column = cells(modality)
    gone = ColumnBatch(column.values * 0, column.mask & False)
    assert vary(modality, gone) is gone


def test_what_cannot_be_varied_stays_itself():
    columns = {"note": cells("text"), "photo": cells("image")}
    varied = augment(columns, {"note": "text", "photo": "image"}, {"note": {}, "photo": {}})
    assert varied["note"] is columns["note"]
    assert varied["photo"] is not columns["photo"]
    assert list(varied) == list(columns)


def test_an_image_keeps_its_likeness():
    smooth = torch.linspace(40, 200, 16)[None, :, None, None].expand(6, 16, 16, 3).to(torch.uint8)
    varied = vary_image(ColumnBatch(smooth, torch.ones(6, dtype=torch.bool)), {}).values
    assert (varied.float() - smooth.float()).abs().mean() < 45
    means = varied.float().mean(dim=(2, 3))
    assert (means[:, -1] > means[:, 0] + 60).all()


def test_the_frames_of_a_video_move_alike():
    still = torch.zeros(20, 1, 16, 16, 3, dtype=torch.uint8)
    still[:, :, 4:9, 6:12] = torch.tensor([200, 90, 30], dtype=torch.uint8)
    column = ColumnBatch(still.expand(20, 4, 16, 16, 3), torch.ones(20, dtype=torch.bool))
    varied = vary_video(column, {}).values.float()
    assert (varied - still.float()).abs().mean() > 10
    apart = (varied[:, 1:] - varied[:, :1]).abs().mean(dim=(1, 2, 3, 4))
    assert apart.max() < 15  # the noise of up to 12 levels alone
    whole = varied.mean(dim=(2, 3))
    assert (whole - whole[:, :1]).abs().max() < 5


def test_a_sounds_pace_changes_its_length_within_bounds():
    mask = torch.ones(200, 50, dtype=torch.bool)
    mask[:, 40:] = False
    column = ColumnBatch(torch.randn(200, 50, 20) * mask.unsqueeze(-1), mask)
    lengths = vary_audio(column, STATES["audio"]).mask.sum(dim=1)
    assert lengths.min() >= 32
    assert lengths.max() <= 50
    assert len(lengths.unique()) > 5


def test_a_sounds_mask_stays_a_prefix():
    mask = vary_audio(cells("audio"), STATES["audio"]).mask
    assert (mask[:, 1:] <= mask[:, :-1]).all()


def test_a_signal_keeps_its_likeness():
    place = torch.linspace(0, 12, 300)
    wave = torch.stack([place.sin(), place.cos()], dim=-1).expand(50, 300, 2)
    varied = vary_signal(ColumnBatch(wave, torch.ones(50, 300, dtype=torch.bool)), {}).values
    likeness = torch.nn.functional.cosine_similarity(varied.flatten(1), wave.flatten(1))
    assert likeness.min() > 0.6
    assert likeness.mean() > 0.9
