"""Sounds as log-mel frames, and the numbers that define them.

Log-mel follows Davis and Mermelstein (1980), "Comparison of parametric representations for
monosyllabic word recognition", without their cosine transform, on the mel scale of HTK:
``mel(f) = 2595 log10(1 + f / 700)``. Triangles have height 1; windows are Hann, centred on
``t * hop`` with zeros beyond the ends; values are ``ln(power + 1e-6)``. The transform is at least
50 ms long, twice the window, so that the lowest bands hold several bins each. Normalising a clip is
the encoder's business.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from plait.data.modalities import audio_recipe
from plait.data.modalities.base import State

FLOOR = 1e-6
"""Added to the power before the logarithm, so that silence is a number."""

_BLOCK_FRAMES = 512
"""Frames transformed at a time: some megabytes, which stay in the cache."""

_FEW_BLOCKS = 8
"""Blocks of so many frames that one thread transforms sooner than two."""


def log_mel(clips: Sequence[np.ndarray], state: State, threads: int = 1) -> np.ndarray:
    """Log-mel frames of several clips, one after the other.

    Args:
        clips: mono ``float32 [samples]`` each, at the state's rate.
        state: an audio state.
        threads: how many blocks of frames to transform at once.

    Returns:
        ``float16 [steps, mels]`` with ``1 + samples // hop`` steps a clip.
    """
    rate, hop = int(state["rate"]), hop_samples(state)
    window = round(rate * state["window_ms"] / 1000)
    size = transform_size(rate, window)
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    bank = mel_bank(int(state["mels"]), rate, size, state["fmin"], state["fmax"])
    silence = np.zeros(window // 2, np.float32)
    flat = np.concatenate(
        [piece for clip in clips for piece in (silence, clip, silence)] + [silence]
    )
    begins, offset = [], 0
    for clip in clips:
        begins.append(offset + hop * np.arange(1 + len(clip) // hop))
        offset += len(clip) + 2 * len(silence)
    starts = np.concatenate(begins)
    frames = np.lib.stride_tricks.sliding_window_view(flat, window)
    out = np.empty((len(starts), bank.shape[1]), np.float16)

    def transform(begin: int) -> None:
        block = frames[starts[begin : begin + _BLOCK_FRAMES]] * shape
        spectrum = np.fft.rfft(block, size)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        # In float64, since how float32 sums round depends on how many rows are multiplied at once,
        # and a clip has to come out the same alone and among others.
        bands = (power.astype(np.float64) @ bank).astype(np.float32)
        out[begin : begin + _BLOCK_FRAMES] = np.log(bands + np.float32(FLOOR))

    blocks = range(0, len(starts), _BLOCK_FRAMES)
    if len(blocks) <= _FEW_BLOCKS or threads == 1:
        for begin in blocks:
            transform(begin)
    else:
        # One thread a product: the pool's threads keep the cores busy already.
        with (
            audio_recipe.blas().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(threads) as pool,
        ):
            list(pool.map(transform, blocks))
    return out


def hop_samples(state: State) -> int:
    """Samples from one frame to the next."""
    return round(int(state["rate"]) * state["hop_ms"] / 1000)


def transform_size(rate: int, window: int) -> int:
    """Samples of the Fourier transform: a power of two, no shorter than the window and than 50 ms."""
    return int(1 << (max(window, rate // 20) - 1).bit_length())


def mel_centres(mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Edges and centres of the bands in Hz, ``[mels + 2]``; band ``b`` peaks at entry ``b + 1``."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax))
    hertz: np.ndarray = 700 * (10 ** (np.linspace(low, high, mels + 2) / 2595) - 1)
    return hertz


@lru_cache(16)
def mel_bank(mels: int, rate: int, size: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangular filters ``[size // 2 + 1, mels]`` of height 1; do not change them, they are kept."""
    hertz = mel_centres(mels, fmin, fmax)
    bins = np.linspace(0, rate / 2, size // 2 + 1)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    bank: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    bank.flags.writeable = False
    return bank
