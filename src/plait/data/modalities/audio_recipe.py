"""Sounds as pretrained models want them: the raw waveform, or a log-mel spectrogram of a stated recipe.

One spectrogram serves Whisper (Radford et al. 2023), the Audio Spectrogram Transformer (Gong et al.
2021, after Kaldi's filter bank) and CLAP (Wu et al. 2023). They differ in the numbers of `Mel` alone.
What leaves here agrees with the checkpoint's own feature extractor, without the frames that the
extractor adds to reach the model's length: the encoder adds those, from ``Mel.silence``.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32
from threadpoolctl import ThreadpoolController

from plait.data.modalities.base import State
from plait.errors import CellError

MARGIN_SECONDS = 0.25
"""Seconds decoded beyond those that are kept, so that the resampler's end does not reach into them."""

_BLOCK_FRAMES = 512  # transformed at a time: some megabytes, which stay in the cache
_MIN_VARIANCE = 1e-7  # as transformers' Wav2Vec2FeatureExtractor adds it

T = TypeVar("T")


@dataclass(frozen=True)
class Mel:
    """A log-mel spectrogram in numbers.

    ``frame = wave[t hop - c : t hop - c + window]`` with ``c = window // 2`` when centred, else 0;
    ``frame -= mean(frame)`` when `level`; ``frame[n] -= preemphasis frame[n - 1]``;
    ``bands = max(|FFT(frame hann)|^2 bank, floor)``; ``x = log(bands)``; ``x = max(x, max(x) - span)``
    over the clip; ``(x - shift) / divide``.

    Attributes:
        window: samples of a frame.
        hop: samples from a frame to the next.
        size: samples of the Fourier transform.
        bands: how many mel bands.
        fmin: where the lowest begins, Hz.
        fmax: where the highest ends, Hz.
        scale: ``htk``, ``kaldi`` or ``slaney``, as the mel scale is defined.
        samples: of a clip at most.
        frames: what the model is given; the encoder fills up to them.
        silence: what it fills with.
        log: ``log10``, ``ln`` or ``db``, ten times ``log10``.
        floor: the least power of a band.
        area: triangles of equal area (Slaney 1998) instead of equal height.
        straight: triangles whose sides are straight lines in mels, not in Hz.
        centred: the wave is mirrored at both ends, so that frame 0 is centred on sample 0.
        symmetric: the Hann window reaches 0 at both ends.
        level: takes each frame's mean away.
        preemphasis: how much of the sample before is taken away.
        span: how far below the clip's loudest value values are cut; 0 keeps all.
        shift: taken away in the end.
        divide: divided by in the end.
        extend: ``zeros``; ``repeat``, clips are repeated to ``samples``; ``repeatpad``, as often as they
            fit whole.
    """

    window: int
    hop: int
    size: int
    bands: int
    fmin: float
    fmax: float
    scale: str
    samples: int
    frames: int
    silence: float
    log: str
    floor: float = 1e-10
    area: bool = False
    straight: bool = False
    centred: bool = True
    symmetric: bool = False
    level: bool = False
    preemphasis: float = 0.0
    span: float = 0.0
    shift: float = 0.0
    divide: float = 1.0
    extend: str = "zeros"

    @property
    def tail(self) -> int:
        """Frames centred beyond the end of a clip that may still hear some of it."""
        return ceil(self.window // 2 / self.hop) if self.centred else 0

    def steps(self, samples: int) -> int:
        """Frames of a clip of so many samples: those that hear some of it, and one at least."""
        if self.centred:
            return min(ceil(self.reach(samples) / self.hop) + self.tail, self.frames)
        return min(max(1 + (samples - self.window) // self.hop, 1), self.frames)

    def reach(self, samples: int) -> int:
        """Samples of a clip once it is repeated."""
        times = {"zeros": samples, "repeat": self.samples}
        return times.get(self.extend, samples * max(self.samples // samples, 1))


def is_recipe(state: State) -> bool:
    """Whether an audio state is a pretrained model's, not one that `AudioModality.fit` gave."""
    return "features" in state


def cut(wave: Float32[np.ndarray, " samples"], state: State) -> Float32[np.ndarray, " kept"]:
    """The beginning of a wave, as much as the model takes.

    Raises:
        CellError: nothing is left of it.
    """
    rate = int(state["rate"])
    if not len(wave):
        raise CellError(f"is shorter than one sample at {rate} Hz")
    recipe = state["recipe"]
    return wave[: int(recipe.get("samples", float(state["max_seconds"]) * rate))]


def steps_of(samples: int, state: State) -> int:
    """Steps that `features` gives for a clip of so many samples."""
    return samples if state["features"] == "wave" else Mel(**state["recipe"]).steps(samples)


def width_of(state: State) -> int:
    """Numbers in a step."""
    return 1 if state["features"] == "wave" else int(state["recipe"]["bands"])


def features(
    clips: Sequence[np.ndarray], state: State, threads: int = 1
) -> Float32[np.ndarray, "steps width"]:
    """Features of several clips, one after the other; each comes out the same alone and among others.

    Half precision would cost up to 5e-4 where Whisper and AST have their values, and 0.03 dB where
    CLAP does.

    Args:
        clips: mono ``float32 [samples]`` each, at the state's rate, from `cut`.
        state: a pretrained model's audio state.
        threads: how many clips to transform at once.
    """
    if state["features"] == "wave":
        standardise = bool(state["recipe"]["standardise"])
        return np.concatenate([_wave(clip, standardise) for clip in clips])[:, None]
    mel, rate = Mel(**state["recipe"]), int(state["rate"])
    bank = mel_filters(mel, rate)
    return np.concatenate(in_threads(lambda clip: log_mel_of(clip, mel, bank), clips, threads))


def _wave(clip: np.ndarray, standardise: bool) -> np.ndarray:
    """``(x - mean) / sqrt(variance + 1e-7)`` over the clip, as wav2vec 2.0 has it."""
    if not standardise:
        return clip
    deep = clip.astype(np.float64)
    scaled: np.ndarray = ((deep - deep.mean()) / np.sqrt(deep.var() + _MIN_VARIANCE)).astype(
        np.float32
    )
    return scaled


def log_mel_of(
    clip: Float32[np.ndarray, " samples"], mel: Mel, bank: Float[np.ndarray, "bins bands"]
) -> Float32[np.ndarray, "steps bands"]:
    """One clip's log-mel spectrogram, ``mel.steps(len(clip))`` frames of it.

    A clip shorter than a window that is not centred has no frame of its own, and gets one of silence, as
    the model would be given.
    """
    steps = mel.steps(len(clip))
    if not mel.centred and len(clip) < mel.window:
        return np.full((1, mel.bands), mel.silence, np.float32)
    wave = _ends(clip, mel, steps) if mel.centred else clip
    frames = np.lib.stride_tricks.sliding_window_view(wave, mel.window)[:: mel.hop]
    hann = np.hanning(mel.window) if mel.symmetric else np.hanning(mel.window + 1)[:-1]
    out = np.empty((steps, mel.bands))
    for begin in range(0, steps, _BLOCK_FRAMES):
        # In float64: CLAP's and Kaldi's floors lie further below the loudest band than float32 reaches.
        block = frames[begin : min(begin + _BLOCK_FRAMES, steps)].astype(np.float64)
        if mel.level:
            block -= block.mean(axis=1, keepdims=True)
        if mel.preemphasis:
            before = np.concatenate([block[:, :1], block[:, :-1]], axis=1)
            block -= mel.preemphasis * before
        spectrum = np.fft.rfft(block * hann, mel.size)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        out[begin : begin + _BLOCK_FRAMES] = np.maximum(power @ bank, mel.floor)
    out = np.log(out) if mel.log == "ln" else np.log10(out) * (10 if mel.log == "db" else 1)
    if mel.span:
        out = np.maximum(out, out.max() - mel.span)
    return ((out - mel.shift) / mel.divide).astype(np.float32)


def _ends(clip: np.ndarray, mel: Mel, steps: int) -> np.ndarray:
    """A clip repeated, followed by zeros and mirrored at both ends, as far as its frames hear.

    What is mirrored at the end is that of ``mel.samples``, so a shorter clip does not meet it.
    """
    whole = np.zeros(min(mel.samples, (steps - 1) * mel.hop + mel.window), np.float32)
    reach = mel.reach(len(clip))
    whole[:reach] = np.tile(clip, -(-reach // len(clip)))[:reach]
    half = mel.window // 2
    return np.concatenate([whole[half:0:-1], whole, whole[-2 : -half - 2 : -1]])


@cache
def mel_filters(mel: Mel, rate: int) -> Float[np.ndarray, "bins bands"]:
    """Triangular filters over the bins of the Fourier transform."""
    low, high = to_mels(np.array([mel.fmin, mel.fmax]), mel.scale).tolist()
    corners = np.linspace(low, high, mel.bands + 2)
    hertz = from_mels(corners, mel.scale)
    if mel.straight:
        bins = to_mels(rate / mel.size * np.arange(mel.size // 2 + 1), mel.scale)[:, None]
        edges = corners
    else:
        bins = np.linspace(0, rate // 2, mel.size // 2 + 1)[:, None]
        edges = hertz
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return bank * (2 / (hertz[2:] - hertz[:-2])) if mel.area else bank


def to_mels(hertz: Float[np.ndarray, " n"], scale: str) -> Float[np.ndarray, " n"]:
    """Hz on a mel scale.

    ``htk``: ``2595 log10(1 + f / 700)``. ``kaldi``: ``1127 ln(1 + f / 700)``. ``slaney`` (Auditory
    Toolbox 1998): ``3 f / 200`` below 1 kHz and ``15 + 27 ln(f / 1000) / ln 6.4`` from there.
    """
    if scale != "slaney":
        return _STEEP[scale] * np.log1p(hertz / 700)
    upper = 15 + 27 / np.log(6.4) * np.log(np.maximum(hertz, 1000) / 1000)
    return np.where(hertz >= 1000, upper, 3 * hertz / 200)


def from_mels(mels: Float[np.ndarray, " n"], scale: str) -> Float[np.ndarray, " n"]:
    """The inverse of `to_mels`."""
    if scale != "slaney":
        return 700 * np.expm1(mels / _STEEP[scale])
    upper = 1000 * np.exp(np.log(6.4) / 27 * (np.maximum(mels, 15) - 15))
    return np.where(mels >= 15, upper, 200 * mels / 3)


_STEEP = {"htk": 2595 / float(np.log(10)), "kaldi": 1127.0}


def in_threads(
    work: Callable[[T], np.ndarray], items: Sequence[T], threads: int
) -> list[np.ndarray]:
    """The results of ``work`` in order. Matrix products take one thread each, since the pool's threads
    keep the cores busy already.
    """
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    with blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


@cache
def blas() -> ThreadpoolController:
    """Finds the libraries whose threads can be limited; that takes milliseconds, so once."""
    return ThreadpoolController()
