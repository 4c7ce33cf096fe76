"""Prepared arrays back to cells: what `prepare` made of a cell becomes that cell again, as far as it can."""

from datetime import date, datetime

import numpy as np
import pytest
from clips import encode, square

from plait.data.modalities.base import Prepared
from plait.data.modalities.registry import get


def there_and_back(name, cells, settings):
    modality = get(name)
    state = modality.fit(cells, settings)
    prepared = modality.prepare(cells, state, settings)
    return modality.restore(prepared, state), state


def test_numbers(settings):
    cells = [1.5, -200.25, None, 3, 1e-7]
    found, _ = there_and_back("numeric", cells, settings)
    assert found.pop(2) is None
    assert found == pytest.approx([1.5, -200.25, 3, 1e-7], rel=1e-5, abs=1e-6)


def test_numbers_stay_within_what_was_seen_and_are_told_in_six_digits(settings):
    state = get("numeric").fit([1.0, 2.0, 3.0, 4.0], settings)
    values = np.array([[9.0], [-9.0], [1 / 3]], np.float32)
    found = get("numeric").restore(Prepared(values, None, np.ones(3, bool)), state)
    assert found[:2] == [4.0, 1.0]
    assert len(f"{found[2]}") <= 8


def test_categories(settings):
    cells = ["red", "blue", None, "red", 1]
    assert there_and_back("categorical", cells, settings)[0] == ["red", "blue", None, "red", "1"]
    state = get("categorical").fit(cells, settings)
    unseen = Prepared(np.zeros(1, np.int64), None, np.ones(1, bool))
    assert get("categorical").restore(unseen, state) == [None]


def test_dates(settings):
    cells = ["2024-02-29", "1999-12-31", None, "2010-07-15"]
    assert there_and_back("datetime", cells, settings)[0] == [
        date(2024, 2, 29), date(1999, 12, 31), None, date(2010, 7, 15),
    ]  # fmt: skip


def test_dates_with_times(settings):
    cells = ["2024-02-29 13:45", "2024-03-05 00:00", "2024-03-01 23:59"]
    assert there_and_back("datetime", cells, settings)[0] == [
        datetime(2024, 2, 29, 13, 45), datetime(2024, 3, 5), datetime(2024, 3, 1, 23, 59),
    ]  # fmt: skip


def test_the_other_features_correct_a_blurred_position(settings):
    modality = get("datetime")
    cells = [f"20{year}-{month:02d}-17" for year in range(10, 25) for month in (1, 5, 9)]
    state = modality.fit(cells, settings)
    prepared = modality.prepare(["2018-05-17"], state, settings)
    prepared.values[0, 0] += 0.02  # about a month of 4.4 years' deviation
    assert get("datetime").restore(prepared, state) == [date(2018, 5, 17)]


def test_a_date_outside_the_calendar_is_none(settings):
    modality = get("datetime")
    state = modality.fit(["0300-01-01", "9000-01-01"], settings)
    features = np.zeros((1, 7), np.float32)
    features[0, 0] = 10
    assert get("datetime").restore(Prepared(features, None, np.ones(1, bool)), state) == [None]


def test_texts_come_back_in_lower_case(settings):
    cells = ["A red Bird", None, "naïve 猫 42", "4 2 red birds, 10.50 x", "the 3rd"]
    found, _ = there_and_back("text", cells, settings)
    assert found == ["a red bird", None, "naïve 猫 42", "4 2 red birds, 10.50 x", "the 3 rd"]
    assert there_and_back("text", [None], settings)[0] == [None]


def test_images_are_their_pixels(settings, picture):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    (found, missing), _ = there_and_back("image", [picture("a.png", pixels), None], settings)
    np.testing.assert_array_equal(found, pixels)
    assert missing is None


def test_videos_are_their_frames(settings):
    clip = square(8)
    (found, missing), _ = there_and_back("video", [encode(clip, "mkv", "ffv1"), None], settings)
    np.testing.assert_array_equal(found, clip)
    assert missing is None


def test_sounds_are_samples(settings, sound):
    wave = 0.3 * np.sin(np.arange(2400) * 0.5)
    found, _ = there_and_back("audio", [sound("a.wav", wave), None], settings)
    assert found[0].shape == (2400,) and found[1] is None
    spectrum = np.abs(np.fft.rfft(found[0]))
    assert abs(spectrum.argmax() - np.abs(np.fft.rfft(wave)).argmax()) < 40


@pytest.mark.parametrize("shape", [(30,), (30, 2), (2, 30)])
def test_signals_have_the_layout_of_their_cells(settings, shape):
    rng = np.random.default_rng(0)
    cells = [rng.normal(3, 2, shape).tolist() for _ in range(4)]
    found, state = there_and_back("signal", cells, settings)
    assert state["leads_first"] == (shape == (2, 30))
    for got, want in zip(found, cells, strict=True):
        np.testing.assert_allclose(got, np.array(want), atol=1e-5)


def test_signals_that_were_averaged_run_as_long_as_before(settings):
    cells = [np.repeat(np.arange(1500.0), 2).tolist()]
    found, state = there_and_back("signal", cells, settings)
    assert state["stride"] == 3
    assert len(found[0]) == 3000
    assert np.abs(found[0] - np.array(cells[0])).max() <= 1
