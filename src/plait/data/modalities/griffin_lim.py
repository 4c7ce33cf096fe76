"""From log-mel frames back to a sound: Griffin-Lim, over plait's own log-mel definition.

A log-mel frame says how loud each band is, and neither which frequency inside the band it was nor its
phase. Both are guessed, so speech stays intelligible and sounds metallic.
"""

from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from plait.data.modalities.log_mel import FLOOR, hop_samples, mel_bank, transform_size

ROUNDS = 48
"""Of Griffin-Lim; each costs two Fourier transforms per frame."""

MOMENTUM = 0.9
"""α of Perraudin, Balazs and Søndergaard (2013)."""

UNMIX_ROUNDS = 30
"""Of the multiplicative rule that parts the bands into frequencies."""

MAX_LOG_POWER = 20.0
"""Log power above this is cut, so that no exponential overflows."""

State = dict[str, Any]


def listen(
    log_mel: Float[np.ndarray, "steps mels"], state: State, *, rounds: int = ROUNDS
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """A sound whose log-mel frames come close to these.

    The power of each frequency is a non-negative solution of ``mel = power @ bank``, found by the
    multiplicative rule ``p ← p · (mel Bᵀ) / (p B Bᵀ)`` (Lee & Seung 2001, eq. 4). The phase
    follows Griffin and Lim (1984): transform back, transform again, keep the new phase and the wanted
    magnitude; here in the accelerated form ``c_n + α (c_n - c_{n-1})`` of Perraudin, Balazs and
    Søndergaard (2013, algorithm 2) with α = 0.9. It starts from random phases of a fixed seed, so
    equal frames give equal sounds.

    Args:
        log_mel: as `plait.data.modalities.log_mel.log_mel` gives them.
        state: the audio column's state.
        rounds: of Griffin-Lim. Each costs two Fourier transforms a frame.

    Returns:
        Mono samples between -1 and 1, ``(steps - 1) * hop`` of them and at least one hop, and the
        rate in Hz.
    """
    rate, hop = int(state["rate"]), hop_samples(state)
    window = round(rate * state["window_ms"] / 1000)
    size = transform_size(rate, window)
    steps = max(1, len(log_mel))
    if not len(log_mel):
        return np.zeros(hop, np.float32), rate
    magnitude = np.sqrt(_power(log_mel, state, rate, size))
    shape = np.hanning(window + 1)[:-1]
    places = hop * np.arange(steps)[:, None] + np.arange(window)
    total = int(places[-1, -1]) + 1
    weight = np.bincount(places.ravel(), np.tile(np.square(shape), steps), total)
    weight = np.maximum(weight, 1e-3)

    def to_wave(spectrum: np.ndarray) -> np.ndarray:
        frames = np.fft.irfft(spectrum, size)[:, :window] * shape
        return np.bincount(places.ravel(), frames.ravel(), total) / weight

    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, magnitude.shape)
    spectrum = magnitude * np.exp(1j * angles)
    before = np.zeros_like(spectrum)
    for _ in range(rounds):
        now = np.fft.rfft(to_wave(spectrum)[places] * shape, size)
        ahead = now + MOMENTUM * (now - before)
        spectrum = magnitude * ahead / np.maximum(np.abs(ahead), 1e-12)
        before = now
    wave = to_wave(spectrum)[window // 2 :][: max((steps - 1) * hop, hop)]
    loudest = float(np.abs(wave).max(initial=0))
    return (wave / max(1.0, loudest)).astype(np.float32), rate


def _power(log_mel: np.ndarray, state: State, rate: int, size: int) -> np.ndarray:
    """The power of every frequency, ``[steps, size // 2 + 1]``, none below zero."""
    frames = np.minimum(log_mel.astype(np.float64), MAX_LOG_POWER)
    mel = np.maximum(np.exp(frames) - FLOOR, 0)
    bank = _bank(int(state["mels"]), rate, size, float(state["fmin"]), float(state["fmax"]))
    back, gram = mel @ bank.T, bank @ bank.T
    power = mel @ (bank / np.maximum(bank.sum(axis=0), 1e-9)).T
    for _ in range(UNMIX_ROUNDS):
        power *= back / np.maximum(power @ gram, 1e-12)
    return power


@cache
def _bank(mels: int, rate: int, size: int, fmin: float, fmax: float) -> np.ndarray:
    return mel_bank(mels, rate, size, fmin, fmax)
