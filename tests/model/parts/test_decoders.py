"""What every decoder keeps: a new one is covered once `CASES` holds a column of its modality."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from plait.data.store import PreparedColumn
from plait.errors import ConfigError
from plait.model.decoders.base import SURVEYED, sampled
from plait.model.decoders.image import ImageDecoder
from plait.model.decoders.registry import DECODERS, build_decoder, decoder_class
from plait.model.decoders.signal import SignalDecoder, Steps
from plait.model.decoders.tabular import CategoryDecoder, MomentDecoder, NumberDecoder
from plait.model.decoders.text import END, SCORED, TextDecoder, _some
from plait.model.decoders.video import VideoDecoder
from plait.model.tokens import ColumnBatch, Fused

ROWS, WIDTH, SIZE = 6, 16, {"width": 16, "depth": 1, "base": 4}


class Case(NamedTuple):
    state: dict
    column: PreparedColumn


def ragged(values, lengths):
    lengths = np.array(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return PreparedColumn(values[: offsets[-1]], offsets, lengths > 0)


def cases():
    rng = np.random.default_rng(0)
    there = np.array([True, True, False, True, True, True])
    lengths = [9, 12, 0, 7, 12, 3]
    audio = {"mels": 5, "rate": 8000, "hop_ms": 10, "window_ms": 25, "fmin": 60.0, "fmax": 4000.0}
    pixels = rng.integers(0, 256, (ROWS, 18, 18, 3)).astype(np.uint8)
    clips = rng.integers(0, 256, (ROWS, 2, 10, 10, 3)).astype(np.uint8)
    numbers = rng.normal(0, 1, (ROWS, 9)).astype(np.float32)
    return {
        "image": Case({"size": 18, "channels": 3}, PreparedColumn(pixels, None, there)),
        "video": Case({"size": 10, "channels": 3, "frames": 2}, PreparedColumn(clips, None, there)),
        "audio": Case(audio, ragged(rng.normal(-6, 2, (99, 5)).astype(np.float16), lengths)),
        "signal": Case({"leads": 2}, ragged(rng.normal(0, 1, (99, 2)).astype(np.float32), lengths)),
        "text": Case(
            {"vocabulary": 20, "max_tokens": 12},
            ragged(rng.integers(1, 20, 99).astype(np.int32), lengths),
        ),
        "numeric": Case({"scale": 2.0}, PreparedColumn(numbers[:, :1], None, there)),
        "categorical": Case(
            {"values": ["a", "b", "c"]},
            PreparedColumn(np.array([1, 2, 0, 3, 1, 0], dtype=np.int64), None, there),
        ),
        "datetime": Case({"times": True, "std": 864000.0}, PreparedColumn(numbers, None, there)),
    }


CASES = cases()
ALL = np.arange(ROWS)


def batch(modality, rows=ALL):
    values, mask = CASES[modality].column.batch(rows)
    return ColumnBatch(torch.from_numpy(values), torch.from_numpy(mask))


def build(modality, *, dropout=0.0, width=WIDTH, size=SIZE):
    case = CASES[modality]
    typical = decoder_class(modality).survey(case.column, ALL)
    return build_decoder(modality, case.state, typical, width=width, size=size, dropout=dropout)


def fused(rows=ROWS, width=WIDTH):
    return Fused(torch.randn(rows, width))


@pytest.fixture(params=DECODERS)
def modality(request):
    return request.param


def test_every_decoder_has_a_case_and_its_modality():
    assert set(CASES) == set(DECODERS)
    assert all(kind.modality == name for name, kind in DECODERS.items())


def test_cells_have_the_form_that_prepare_gives(modality):
    decoder, column = build(modality).eval(), CASES[modality].column
    prepared = decoder.cell(decoder(fused()))
    assert prepared.values.dtype == (column.values.dtype if modality != "audio" else np.float32)
    assert prepared.values.shape[1:] == column.values.shape[1:]
    assert len(prepared.present) == ROWS
    assert (prepared.lengths is None) == (column.offsets is None)
    if prepared.lengths is None:
        assert len(prepared.values) == ROWS and prepared.present.all()
    else:
        assert prepared.lengths.sum() == len(prepared.values)
        assert prepared.lengths.max() <= 12
        assert ((prepared.lengths > 0) == prepared.present).all()


def test_the_loss_has_finite_gradients_for_every_parameter(modality):
    decoder, vectors = build(modality), torch.randn(ROWS, WIDTH, requires_grad=True)
    loss = decoder.loss(decoder(Fused(vectors)), batch(modality))
    assert loss.shape == (ROWS,) and loss.isfinite().all()
    loss.sum().backward()
    assert vectors.grad.isfinite().all() and vectors.grad.any()
    for name, weight in decoder.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name


def test_a_missing_cell_teaches_nothing_whatever_it_holds(modality):
    decoder, column = build(modality).eval(), batch(modality)
    values = column.values.clone()
    values[2] = 1 if modality in ("text", "categorical") else 100
    changed = ColumnBatch(values, column.mask)
    vectors = torch.randn(ROWS, WIDTH, requires_grad=True)
    losses = [decoder.loss(decoder(Fused(vectors)), part) for part in (column, changed)]
    assert torch.equal(*losses)
    assert losses[0][2] == 0
    losses[0].sum().backward()
    assert (vectors.grad[2] == 0).all()


def test_a_batch_without_any_cell_costs_nothing(modality):
    decoder, column = build(modality), batch(modality)
    empty = ColumnBatch(torch.zeros_like(column.values), torch.zeros_like(column.mask))
    loss = decoder.loss(decoder(fused()), empty)
    assert torch.equal(loss, torch.zeros(ROWS))


def test_padding_and_neighbours_change_nothing(modality):
    decoder, column, vectors = build(modality).eval(), batch(modality), fused()
    loss = decoder.loss(decoder(vectors), column)
    alone = decoder.loss(decoder(Fused(vectors.vector[3:4])), batch(modality, np.array([3])))
    torch.testing.assert_close(alone[0], loss[3], atol=1e-5, rtol=1e-4)
    if column.mask.ndim == 2:
        pad = [0, 0] * (column.values.ndim - 2) + [0, 5]
        wider = ColumnBatch(
            torch.nn.functional.pad(column.values, pad),
            torch.nn.functional.pad(column.mask, [0, 5]),
        )
        torch.testing.assert_close(decoder.loss(decoder(vectors), wider), loss)


def test_it_is_saved_and_loaded_and_deterministic(modality):
    torch.manual_seed(3)
    decoder = build(modality, dropout=0.2).eval()
    torch.manual_seed(3)
    same = build(modality, dropout=0.2).eval()
    other = build(modality, dropout=0.2).eval()
    vectors = fused()
    want = decoder.cell(decoder(vectors))
    other.load_state_dict(decoder.state_dict())
    for twin in (decoder, same, other):
        found = twin.cell(twin(vectors))
        np.testing.assert_array_equal(found.values, want.values)
        np.testing.assert_array_equal(found.present, want.present)


def test_figures_are_told_a_row_and_the_usual_answer_has_them_too(modality):
    decoder = build(modality).eval()
    output = decoder(fused())
    usual = decoder.usual(output)
    told = decoder.figures(output, batch(modality))
    assert told and all(values.shape == (ROWS,) for values in told.values())
    if modality == "text":
        assert usual is None
        return
    assert list(decoder.figures(usual, batch(modality))) == list(told)


def test_the_loss_starts_near_one(modality):
    """So that the losses of several columns add up to something balanced."""
    decoder = build(modality, width=32, size=SIZE | {"base": 8})
    column = batch(modality)
    loss = decoder.loss(decoder(fused(width=32)), column)[column.present]
    assert 0.3 < loss[loss > 0].mean() < 3


def test_it_learns_its_cells_by_heart(modality):
    """Six vectors, six cells: the loss falls by far."""
    decoder, column = build(modality, width=32, size=SIZE | {"base": 8}), batch(modality)
    vectors = fused(width=32)
    optimizer = torch.optim.Adam(decoder.parameters(), 5e-3)
    first = decoder.loss(decoder(vectors), column).mean()
    for _ in range(150):
        optimizer.zero_grad()
        loss = decoder.loss(decoder(vectors), column).mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.35 * first


# What is special about each.


def test_an_unknown_modality_names_the_decoders():
    with pytest.raises(ConfigError) as caught:
        decoder_class("imgae")
    assert str(caught.value) == (
        "1 option is wrong:\n  - reconstruct: unknown decoder 'imgae'. Did you mean 'image'? Choose from: "
        "audio, categorical, datetime, image, numeric, signal, text, video."
    )


def test_each_frame_of_a_video_is_learnt():
    shades = torch.tensor([[0, 80, 160, 240], [240, 160, 80, 0]], dtype=torch.uint8)
    clips = shades[:, :, None, None, None].expand(2, 4, 8, 8, 3)
    column, vectors = ColumnBatch(clips, torch.ones(2, dtype=torch.bool)), torch.randn(2, 16)
    state = {"size": 8, "channels": 3, "frames": 4}
    decoder = VideoDecoder.fitted(state, {}, width=16, size=SIZE, dropout=0.0)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        decoder.loss(decoder(Fused(vectors)), column).mean().backward()
        optimizer.step()
    output = decoder(Fused(vectors))
    error = np.abs(decoder.cell(output).values.astype(int) - clips.numpy()).mean(axis=(2, 3, 4))
    assert error.max() < 20
    mse = decoder.figures(output, column)["mse"]
    torch.testing.assert_close(
        decoder.loss(output, column) * decoder.std**2, mse, atol=1e-6, rtol=1e-4
    )


def test_what_is_usual_of_videos_comes_from_a_few_dozen():
    values = np.zeros((300, 2, 4, 4, 1), np.uint8)
    values[::4] = 255
    column = PreparedColumn(values, None, np.ones(300, bool))
    assert VideoDecoder.survey(column, np.arange(300))["mean"] == 1.0  # every fourth is looked at
    assert VideoDecoder.survey(column, np.arange(8))["mean"] == 0.25
    nothing = PreparedColumn(values, None, np.zeros(300, bool))
    assert VideoDecoder.survey(nothing, np.arange(300)) == {}


@pytest.mark.parametrize("size", [6, 16, 28, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_prepared_size(size, channels):
    decoder = ImageDecoder(width=8, size=size, channels=channels, base=4)
    assert decoder(fused(2, 8)).shape == (2, channels, size, size)
    assert decoder.cell(decoder(fused(2, 8))).values.shape == (2, size, size, channels)


def test_four_images_are_learnt_to_the_eye():
    column = ColumnBatch(
        (torch.rand(4, 1, 1, 3) * 128 + 64 * torch.rand(4, 16, 16, 3)).to(torch.uint8),
        torch.ones(4, dtype=torch.bool),
    )
    decoder, vectors = ImageDecoder(width=32, size=16, channels=3, base=12), torch.randn(4, 32)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        decoder.loss(decoder(Fused(vectors)), column).mean().backward()
        optimizer.step()
    output = decoder(Fused(vectors))
    figures = decoder.figures(output, column)
    assert figures["psnr"].min() > 24
    error = np.abs(decoder.cell(output).values.astype(int) - column.values.numpy()).mean()
    assert error < 16


def test_psnr_and_mse_are_of_pixels_from_0_to_1():
    decoder = ImageDecoder(width=4, size=8, channels=1, base=4, mean=0.0, std=1.0)
    grey = ColumnBatch(torch.full((1, 8, 8, 1), 51, dtype=torch.uint8), torch.tensor([True]))
    figures = decoder.figures(torch.full((1, 1, 8, 8), 0.3), grey)
    assert figures["mse"].item() == pytest.approx(0.01, rel=1e-4)
    assert figures["psnr"].item() == pytest.approx(20, rel=1e-4)


def test_an_empty_image_column_has_nothing_typical():
    nothing = PreparedColumn(np.zeros((3, 8, 8, 1), np.uint8), None, np.zeros(3, bool))
    assert ImageDecoder.survey(nothing, np.arange(3)) == {}


def test_what_is_typical_comes_from_an_even_sample_of_the_rows_that_are_there():
    column = PreparedColumn(np.zeros((2000, 1), np.float32), None, np.arange(2000) % 2 == 0)
    chosen = sampled(column, np.arange(2000))
    assert len(chosen) == SURVEYED and (chosen % 2 == 0).all()
    assert chosen[0] == 0 and chosen[-1] == 1998


def test_steps_survey_tells_length_mean_and_deviation():
    column = ragged(np.repeat([1.0, 3.0], 50)[:, None].astype(np.float32), [10] * 10)
    assert SignalDecoder.survey(column, np.arange(10)) == {
        "steps": 10, "share": 0.98, "mean": 2.0, "std": 1.0,
    }  # fmt: skip
    empty = ragged(np.zeros((0, 1), np.float32), [0, 0])
    typical = SignalDecoder.survey(empty, np.arange(2))
    assert typical == {"steps": 1}
    made = SignalDecoder.fitted({"leads": 1}, typical, width=4, size=SIZE, dropout=0.0)
    assert made(fused(2, 4)).values.shape == (2, 1, 1)


def test_a_longer_cell_is_compared_in_its_beginning():
    decoder = SignalDecoder(width=4, channels=1, steps=8)
    values = torch.cat([torch.ones(1, 8, 1), torch.full((1, 8, 1), 1e6)], dim=1)
    column = ColumnBatch(values, torch.ones(1, 16, dtype=torch.bool))
    output = Steps(torch.ones(1, 8, 1), torch.ones(1))
    assert decoder.loss(output, column).item() == 0
    assert decoder.figures(output, column)["steps_off"].item() == 8


def test_the_length_is_learnt_and_cut():
    decoder = SignalDecoder(width=4, channels=2, steps=8)
    output = Steps(torch.zeros(3, 8, 2), torch.tensor([0.0, 0.5, 1.0]))
    assert decoder.cell(output).lengths.tolist() == [1, 4, 8]
    column = ColumnBatch(torch.zeros(3, 4, 2), torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(decoder.loss(output, column), 0.1 * torch.tensor([0.25, 0.0, 0.25]))


def test_three_sentences_are_learnt_word_for_word():
    sentences = [[5, 7, 9, 3], [4, 4, 8], [9, 3, 5, 7, 6, 2]]
    ids = torch.zeros(3, 6, dtype=torch.int32)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.tensor(sentence)
    column = ColumnBatch(ids, ids > 0)
    decoder, vectors = TextDecoder(width=24, vocabulary=12, max_tokens=6), torch.randn(3, 24)
    optimizer = torch.optim.Adam(decoder.parameters(), 2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        decoder.loss(decoder(Fused(vectors)), column).mean().backward()
        optimizer.step()
    output = decoder(Fused(vectors))
    written = decoder.cell(output)
    assert written.values.tolist() == [word for sentence in sentences for word in sentence]
    assert written.lengths.tolist() == [4, 3, 6]
    assert (decoder.figures(output, column)["accuracy"] == 1).all()
    short = decoder.write(output, most=2)
    assert short.values.tolist() == [5, 7, 4, 4, 9, 3]
    cold = decoder.write(output, temperature=0.01)
    assert cold.values.tolist() == written.values.tolist()


def test_a_few_places_of_a_long_text_are_scored_at_a_step():
    decoder = TextDecoder(width=8, vocabulary=30, max_tokens=40)
    ids = torch.randint(1, 30, (3, 40), dtype=torch.int32)
    mask = torch.arange(40) < torch.tensor([[40], [20], [3]])
    real = decoder._goal(ColumnBatch(ids * mask, mask))[1]
    assert _some(real).sum(dim=1).tolist() == [SCORED, SCORED, 4]
    assert not (_some(real) & ~real).any()
    assert not torch.equal(_some(real), _some(real))
    output, column = torch.randn(3, 8), ColumnBatch(ids * mask, mask)
    drawn = torch.stack([decoder.train().loss(output, column) for _ in range(60)])
    whole = decoder.eval().loss(output, column)
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(dim=0), whole, atol=0.02, rtol=0.02)


def test_a_temperature_draws_by_the_seed():
    decoder, vectors = TextDecoder(width=8, vocabulary=30, max_tokens=20), torch.randn(4, 8)
    output = decoder(Fused(vectors))
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(decoder.write(output, temperature=1.0).values.tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert END not in drawn[0]


def test_a_temperature_below_zero_is_refused():
    decoder = TextDecoder(width=8, vocabulary=5, max_tokens=4)
    with pytest.raises(
        ValueError, match=r"temperature=-1 is below 0; 0 takes the likeliest subword"
    ):
        decoder.write(torch.zeros(1, 8), temperature=-1)


def test_writing_stops_at_once_when_every_text_ends():
    decoder = TextDecoder(width=8, vocabulary=5, max_tokens=4)
    with torch.no_grad():
        decoder.bias[END] = 100.0
    written = decoder.write(torch.zeros(2, 8))
    assert written.present.tolist() == [False, False] and len(written.values) == 0
    assert decoder.write(torch.zeros(2, 8), most=0).lengths.tolist() == [0, 0]


def test_a_cut_text_has_no_end_to_learn():
    decoder = TextDecoder(width=8, vocabulary=9, max_tokens=3)
    ids = torch.tensor([[1, 2, 3], [1, 2, 0]], dtype=torch.int32)
    goal, real = decoder._goal(ColumnBatch(ids, ids > 0))
    assert real.tolist() == [[True, True, True, False], [True, True, True, False]]
    assert goal[1].tolist() == [1, 2, END, END]


def test_a_number_uses_hubers_loss_and_tells_its_own_unit():
    decoder = NumberDecoder(width=4, scale=10.0)
    column = ColumnBatch(torch.tensor([[0.0], [0.0], [3.0]]), torch.tensor([True, True, False]))
    output = torch.tensor([[0.5], [3.0], [0.0]])
    assert decoder.loss(output, column).tolist() == [0.25, 5.0, 0.0]
    assert decoder.figures(output, column)["mae"].tolist() == [5.0, 30.0, 30.0]


def test_an_unseen_category_teaches_nothing():
    decoder = CategoryDecoder(width=4, outputs=3)
    column = ColumnBatch(torch.tensor([0, 2, 2]), torch.tensor([True, True, False]))
    loss = decoder.loss(torch.zeros(3, 3), column)
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 0.0]))
    assert decoder.figures(torch.eye(3), column)["accuracy"].tolist() == [0, 1, 0]
    empty = CategoryDecoder.fitted({"values": []}, {}, width=4, size=SIZE, dropout=0.0)
    assert empty.cell(empty(fused(2, 4))).values.tolist() == [1, 1]


def test_dates_tell_how_many_days_they_are_off():
    decoder = MomentDecoder.fitted(
        {"times": False, "std": 864000.0}, {}, width=4, size=SIZE, dropout=0.0
    )
    output, goal = torch.zeros(1, 7), torch.zeros(1, 7)
    goal[0, 0] = 0.5
    column = ColumnBatch(goal, torch.tensor([True]))
    assert decoder.figures(output, column)["days_off"].item() == pytest.approx(5)
    assert decoder.loss(output, column).item() == pytest.approx(2 * 0.125 / 7)


def test_presets_size_the_decoders():
    small, large = (
        sum(w.numel() for w in build("image", size=SIZE | {"base": base}).parameters())
        for base in (4, 16)
    )
    assert large > 4 * small
    deep = TextDecoder.fitted(
        {"vocabulary": 9, "max_tokens": 4}, {}, width=8, size=SIZE | {"depth": 4}, dropout=0.0
    )
    assert deep.recurrent.num_layers == 2 and deep(fused(2, 8)).isfinite().all()
