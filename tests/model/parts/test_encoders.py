"""One contract for every registered encoder, and what is special about a few."""

import pytest
import torch
from torch import nn

from plait.errors import ConfigError
from plait.model.blocks import MaskedBatchNorm
from plait.model.encoders.recurrent import Recurrent, join_steps, reverse_within
from plait.model.encoders.registry import (
    ENCODERS,
    TABULAR,
    build_encoder,
    build_tabular,
    check_encoder,
    default_encoder,
)
from plait.model.encoders.video import moving
from plait.model.tokens import ColumnBatch

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
RAGGED = [case for case in CASES if case[0] in ("audio", "text", "signal")]
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


def padded(column, extra, rubbish=False):
    """The same cells with more padding, of zeros or of values that mean nothing."""
    values, mask = column
    wide = torch.zeros(len(values), values.shape[1] + extra, *values.shape[2:], dtype=values.dtype)
    wide[:, : values.shape[1]] = values
    more = torch.cat([mask, torch.zeros(len(mask), extra, dtype=torch.bool)], dim=1)
    if rubbish:
        wide[~more] = 7
    return ColumnBatch(wide, more)


def hide(columns, row):
    """The same batch with every cell of one row missing: zeros and no True."""
    hidden = []
    for values, mask in columns:
        values, mask = values.clone(), mask.clone()
        values[row], mask[row] = 0, False
        hidden.append(ColumnBatch(values, mask))
    return hidden


def close(got, want):
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


every = pytest.mark.parametrize("case", CASES, ids="-".join)
ragged = pytest.mark.parametrize("case", RAGGED, ids="-".join)


@every
def test_tokens_have_the_width_and_a_mask_a_token(case):
    part = make(case)
    values, mask = part(*cells(case[0]))
    assert part.width == values.shape[2] == WIDTH
    assert mask.shape == values.shape[:2]
    assert mask.any(dim=1).all()
    assert values.dtype == torch.float32


@every
def test_gradients_are_finite_for_every_parameter(case):
    part = make(case, dropout=0.1)
    columns = hide(cells(case[0]), 1)
    values, mask = part(*columns)
    (values * mask.unsqueeze(-1)).square().sum().backward()
    for name, weight in part.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


@ragged
@pytest.mark.parametrize(("extra", "rubbish"), [(1, False), (16, False), (7, True), (34, True)])
def test_more_padding_changes_no_real_token(case, extra, rubbish):
    part = make(case).eval()
    (column,) = cells(case[0])
    before, after = part(column), part(padded(column, extra, rubbish))
    assert (before.mask.sum(dim=1) == after.mask.sum(dim=1)).all()
    close(after.values[after.mask], before.values[before.mask])


@ragged
@pytest.mark.parametrize("row", [1, 2, 3])
def test_a_row_alone_gives_the_tokens_it_gives_in_a_batch(case, row):
    part = make(case).eval()
    (column,) = cells(case[0])
    whole = part(column)
    length = LENGTHS[row]
    alone = part(
        ColumnBatch(column.values[row : row + 1, :length], column.mask[row : row + 1, :length])
    )
    close(alone.values[0], whole.values[row][whole.mask[row]])


@ragged
@pytest.mark.parametrize("rubbish", [False, True], ids=["zeros", "rubbish"])
def test_padding_changes_nothing_in_training_mode_either(case, rubbish):
    one, other = make(case).train(), make(case).train()
    other.load_state_dict(one.state_dict())
    (column,) = cells(case[0])
    before, after = one(column), other(padded(column, 9, rubbish))
    torch.testing.assert_close(
        after.values[after.mask], before.values[before.mask], atol=1e-4, rtol=1e-4
    )
    for name, value in one.state_dict().items():
        close(other.state_dict()[name], value)


@every
def test_statistics_of_the_batch_come_from_present_rows_only(case):
    """Rows without a cell, few or many, leave training mode's results for the others alone."""
    part = make(case).train()
    part.hide = 0.0  # the tabular encoder's random hiding
    columns = hide(cells(case[0]), 1)
    keep = torch.tensor([0, 2, 3, 4])
    other = make(case).train()
    other.hide = 0.0
    other.load_state_dict(part.state_dict())
    few = part(*columns)
    less = other(*(ColumnBatch(values[keep], mask[keep]) for values, mask in columns))
    torch.testing.assert_close(
        few.values[keep][less.mask], less.values[less.mask], atol=1e-4, rtol=1e-4
    )
    for name, value in part.state_dict().items():
        close(other.state_dict()[name], value)


@every
def test_a_missing_row_has_no_token_and_leaves_the_others_alone(case):
    part = make(case).eval()
    columns = cells(case[0])
    full, less = part(*columns), part(*hide(columns, 1))
    others = [0, 2, 3, 4]
    assert not less.mask[1].any()
    close(less.values[others][less.mask[others]], full.values[others][full.mask[others]])


@every
@pytest.mark.parametrize("training", [True, False])
def test_an_all_missing_batch_is_finite(case, training):
    part = make(case).train(training)
    columns = cells(case[0])
    for row in range(5):
        columns = hide(columns, row)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    values, mask = part(*columns)
    assert values.isfinite().all()
    assert not mask.any()
    for name, value in part.state_dict().items():
        assert torch.equal(value, before[name])


@ragged
def test_an_all_missing_batch_of_one_step_is_finite(case):
    """What `PreparedColumn.batch` gives where no row has any step."""
    (column,) = cells(case[0])
    part = make(case)
    values, mask = part(ColumnBatch(column.values[:, :1] * 0, column.mask[:, :1] & False))
    assert values.isfinite().all()
    assert not mask.any()


@every
def test_one_row_can_be_trained_on(case):
    part = make(case).train()
    values, _ = part(*cells(case[0], rows=1))
    assert values.isfinite().all()


@every
def test_save_and_load_gives_the_same_tokens(case):
    part = make(case)
    part(*cells(case[0]))  # moves batch statistics, if there are any
    twin = make(case)
    twin.load_state_dict(part.state_dict())
    columns = cells(case[0])
    assert torch.equal(part.eval()(*columns).values, twin.eval()(*columns).values)


@every
def test_the_same_seed_gives_the_same_tokens(case):
    def run():
        torch.manual_seed(3)
        part = make(case, dropout=0.2).train()
        return part(*cells(case[0])).values

    assert torch.equal(run(), run())


@every
def test_dropout_acts_in_training_only(case):
    part = make(case, dropout=0.5)
    part.hide = 0.0
    columns = cells(case[0])
    assert not torch.equal(part(*columns).values, part(*columns).values)
    part.eval()
    assert torch.equal(part(*columns).values, part(*columns).values)


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
        check_encoder("image", "resnett")
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
