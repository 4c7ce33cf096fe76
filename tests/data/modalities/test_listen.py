"""Log-mel back to a sound: what is heard has the log-mel that was asked for."""

import numpy as np
import pytest

from plait.data.modalities.griffin_lim import listen
from plait.data.modalities.log_mel import log_mel

STATE = {"rate": 8000, "mels": 40, "window_ms": 25, "hop_ms": 10, "fmin": 60.0, "fmax": 4000.0}


def tone(seconds=0.5):
    return 0.4 * np.sin(2 * np.pi * 700 * np.arange(int(8000 * seconds)) / 8000)


def chirp(seconds=0.5):
    t = np.arange(int(8000 * seconds)) / 8000
    return 0.3 * np.sin(2 * np.pi * (200 * t + 1500 * t**2))


def bursts(seconds=0.5):
    loud = np.arange(int(8000 * seconds)) // 800 % 2
    return np.random.default_rng(0).normal(0, 0.1, len(loud)) * loud


@pytest.mark.parametrize("wave", [tone, chirp, bursts])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_the_sound_has_the_frames_that_were_asked_for(wave, rate):
    state = STATE | {"rate": rate, "fmax": rate / 2}
    frames = log_mel([wave().astype(np.float32)], state).astype(np.float64)
    samples, told = listen(frames, state)
    assert told == rate and samples.dtype == np.float32
    assert len(samples) == (len(frames) - 1) * round(rate / 100)
    again = log_mel([samples], state).astype(np.float64)
    inner = slice(2, len(frames) - 2)  # the ends hold silence that no frame describes
    assert np.corrcoef(frames[inner].ravel(), again[inner].ravel())[0, 1] > 0.9
    loudest = frames[inner].argmax(axis=1)
    if wave is not bursts:
        assert (np.abs(loudest - again[inner].argmax(axis=1)) <= 1).mean() > 0.95


def test_more_rounds_come_closer():
    frames = log_mel([chirp().astype(np.float32)], STATE).astype(np.float64)
    gaps = [
        np.abs(log_mel([listen(frames, STATE, rounds=n)[0]], STATE) - frames)[2:-2].mean()
        for n in (0, 32)
    ]
    assert gaps[1] < 0.8 * gaps[0]


def test_equal_frames_give_equal_sounds():
    frames = log_mel([tone().astype(np.float32)], STATE)
    np.testing.assert_array_equal(listen(frames, STATE)[0], listen(frames, STATE)[0])


def test_silence_stays_silent_and_nothing_is_one_hop():
    quiet = np.full((10, 40), np.log(1e-6))
    assert np.abs(listen(quiet, STATE)[0]).max() < 1e-3
    samples, rate = listen(np.zeros((0, 40), np.float32), STATE)
    assert samples.tolist() == [0.0] * 80 and rate == 8000
    assert len(listen(quiet[:1], STATE)[0]) == 80


def test_absurd_frames_are_scaled_down_to_a_sound():
    samples, _ = listen(np.full((12, 40), 500.0), STATE)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == pytest.approx(1)
