"""One contract for every registered encoder, and what is special about a few."""

import pytest
import torch
from torch import nn

from plait.errors import ConfigError
from plait.model.blocks import MaskedBatchNorm
from plait.model.encoders import registry
from plait.model.encoders.recurrent import Recurrent, join_steps, reverse_within
from plait.model.encoders.registry import (
    ENCODERS,
    TABULAR,
    build_encoder,
    build_tabular,
    default_encoder,
)
from plait.model.encoders.video import moving
from plait.model.tokens import ColumnBatch
from plait.testing import check_encoder

WIDTH = 16
STATES = {
    "image": {"channels": 1, "size": 13},
    "video": {"channels": 1, "size": 13, "frames": 3},
    "audio": {"mels": 12},
    "text": {"vocabulary": 30, "max_tokens": 64},
    "signal": {"leads": 2},
}
TABULAR_STATES = [
    ("numeric", {}),
    ("categorical", {"values": ["a", "b"]}),
    ("datetime", {"times": True}),
    ("datetime", {"times": False}),
]
CASES = [(modality, name) for modality in ENCODERS for name in ENCODERS[modality]]
CASES.append((TABULAR, "tokens"))
LENGTHS = [21, 8, 13, 1, 17]


def make(case, dropout=0.0):
    modality, name = case
    size = {"width": WIDTH, "preset": "fast", "dropout": dropout}
    if modality == TABULAR:
        return build_tabular(TABULAR_STATES, **size)
    return build_encoder(modality, name, STATES[modality], **size)


def cells(modality, rows=5):
    """One batch of columns: as many as the encoder reads, every cell present."""
    if modality in ("image", "video"):
        frames = (3,) if modality == "video" else ()
        values = torch.randint(0, 256, (rows, *frames, 13, 13, 1), dtype=torch.uint8)
        return [ColumnBatch(values, torch.ones(rows, dtype=torch.bool))]
    if modality == TABULAR:
        there = torch.ones(rows, dtype=torch.bool)
        values = [
            torch.randn(rows, 1),
            torch.randint(0, 3, (rows,)),
            torch.randn(rows, 9),
            torch.randn(rows, 7),
        ]
        return [ColumnBatch(value, there) for value in values]
    lengths = torch.tensor(LENGTHS[:rows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    if modality == "text":
        values = torch.randint(1, 30, mask.shape, dtype=torch.int32)
        return [ColumnBatch(values * mask, mask)]
    features = {"audio": 12, "signal": 2}[modality]
    values = torch.randn(*mask.shape, features) * 2 + 1
    return [ColumnBatch(values * mask.unsqueeze(-1), mask)]


def close(got, want):
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_keeps_the_contract(case):
    def build(dropout):
        part = make(case, dropout)
        part.hide = 0.0  # the tabular encoder's random hiding
        return part

    check_encoder(build, cells(case[0]))


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != TABULAR], ids="-".join)
def test_presets_size_the_encoder(case):
    sizes = [
        sum(
            weight.numel()
            for weight in build_encoder(
                *case, STATES[case[0]], width=WIDTH, preset=preset, dropout=0.0
            ).parameters()
        )
        for preset in ("fast", "balanced", "best")
    ]
    assert sizes[0] <= sizes[1] <= sizes[2]


@pytest.mark.parametrize("size", [1, 4, 5, 28, 64, 96])
@pytest.mark.parametrize("name", ENCODERS["image"])
def test_image_encoders_take_any_fitted_size_and_colour(name, size):
    state = {"channels": 3, "size": size}
    part = build_encoder("image", name, state, width=WIDTH, preset="fast", dropout=0.0).eval()
    values = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    tokens, mask = part(ColumnBatch(values, torch.ones(1, dtype=torch.bool)))
    assert mask.shape == tokens.shape[:2]
    if name != "vit":
        assert tokens.shape[1] <= 16


@pytest.mark.parametrize("size", [1, 5, 32, 96])
@pytest.mark.parametrize("name", ENCODERS["video"])
def test_video_encoders_give_a_token_a_frame(name, size):
    state = {"channels": 3, "size": size, "frames": 4}
    part = build_encoder("video", name, state, width=WIDTH, preset="fast", dropout=0.0).eval()
    values = torch.randint(0, 256, (2, 4, size, size, 3), dtype=torch.uint8)
    tokens, mask = part(ColumnBatch(values, torch.tensor([True, False])))
    assert tokens.shape == (2, 4, WIDTH)
    assert mask.tolist() == [[True] * 4, [False] * 4]


@pytest.mark.parametrize("name", ENCODERS["video"])
def test_video_encoders_see_the_order_of_the_frames(name):
    part = make(("video", name)).eval()
    (column,) = cells("video")
    back = ColumnBatch(column.values.flip(1), column.mask)
    onward, backward = part(column).values.mean(dim=1), part(back).values.mean(dim=1)
    assert not torch.allclose(onward, backward, atol=1e-3)


def test_what_moves_is_half_the_change_and_nothing_at_first():
    values = torch.tensor([10, 30, 20], dtype=torch.uint8).reshape(1, 3, 1, 1, 1)
    seen = moving(ColumnBatch(values, torch.tensor([True]))).flatten(0, 3)
    assert seen.tolist() == [[10, 127.5], [30, 137.5], [20, 122.5]]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("stride", [1, 2])
def test_recurrent_equals_a_packed_bidirectional_network(kind, stride):
    """Against torch's own bidirectional network over packed sequences, with the weights copied."""
    part = Recurrent(inputs=3, width=WIDTH, kind=kind, stride=stride).eval()
    network = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
    both = network(3 * stride, WIDTH // 2, batch_first=True, bidirectional=True)
    both.load_state_dict(
        part.forwards.state_dict()
        | {f"{name}_reverse": value for name, value in part.backwards.state_dict().items()}
    )
    lengths = torch.tensor([9, 4, 1, 6])
    mask = torch.arange(10) < lengths[:, None]
    values = torch.randn(4, 10, 3) * mask.unsqueeze(-1)
    joined = values.reshape(4, 10 // stride, 3 * stride)
    short = -(-lengths // stride)
    packed = nn.utils.rnn.pack_padded_sequence(
        joined, short, batch_first=True, enforce_sorted=False
    )
    states, _ = nn.utils.rnn.pad_packed_sequence(both(packed)[0], batch_first=True)
    got = part(ColumnBatch(values, mask))
    for row, length in enumerate(short):
        close(got.values[row, :length], part.project(states[row, :length]))
        assert int(got.mask[row].sum()) == length


def test_join_steps_stacks_neighbours_and_fills_the_last():
    values = torch.arange(10.0).reshape(1, 5, 2)
    joined, mask = join_steps(values, torch.tensor([[1, 1, 1, 0, 0]], dtype=torch.bool), 2)
    assert joined.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]]
    assert mask.tolist() == [[True, True, False]]


def test_reverse_within_leaves_padding_where_it_is():
    values = torch.tensor([[1.0, 2, 3, 9], [1, 2, 3, 4]]).unsqueeze(-1)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert reverse_within(values, mask).squeeze(-1).tolist() == [[3, 2, 1, 9], [1, 2, 3, 4]]


@pytest.mark.parametrize("modality", ["audio"])
def test_loudness_of_a_clip_does_not_matter(modality):
    part = make((modality, "cnn")).eval()
    (column,) = cells(modality)
    louder = ColumnBatch((column.values + 3) * column.mask.unsqueeze(-1), column.mask)
    got, want = part(louder), part(column)
    torch.testing.assert_close(got.values[got.mask], want.values[want.mask], atol=1e-3, rtol=1e-3)


def test_a_missing_tabular_cell_is_told_from_its_value():
    part = make((TABULAR, "tokens")).eval()
    columns = cells(TABULAR)
    gap = [ColumnBatch(columns[0].values, columns[0].mask.clone()), *columns[1:]]
    gap[0].mask[2] = False
    shown, hidden = part(*columns), part(*gap)
    assert hidden.mask.all()
    assert not torch.equal(shown.values[2], hidden.values[2])
    gap[0].values[2] = 1e3  # what a missing cell holds is never looked at
    close(part(*gap).values, hidden.values)


def test_tabular_cells_are_hidden_at_about_the_rate_while_training():
    part = make((TABULAR, "tokens"))
    there = torch.ones(2000, 4, dtype=torch.bool)
    assert 0.08 < 1 - part._show(there).float().mean() < 0.12
    assert part.eval()._show(there).all()


def test_an_unknown_encoder_lists_the_choices_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        registry.check_encoder("image", "resnett")
    assert str(caught.value) == (
        "1 option is wrong:\n  - encoders: unknown image encoder 'resnett'. Did you mean 'resnet'? "
        "Choose from: cnn, lda, pca, resnet, vit."
    )


def test_the_first_encoder_is_the_default():
    assert {name: default_encoder(name) for name in ENCODERS} == {
        "image": "resnet",
        "video": "cnn",
        "audio": "cnn",
        "text": "transformer",
        "signal": "cnn",
    }


def test_batch_norm_is_always_the_masked_one():
    for case in CASES:
        kinds = [type(part) for part in make(case).modules()]
        assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    assert any(isinstance(part, MaskedBatchNorm) for part in make(("image", "resnet")).modules())
