"""Audio: WAV, FLAC, OGG or MP3 at any rate, mixed to mono, as log-mel frames."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import numpy as np
import soundfile
import soxr

from plait.data.media import Limits
from plait.data.modalities import audio_recipe
from plait.data.modalities.base import (
    Display,
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    Unit,
    split_steps,
)
from plait.data.modalities.decode import decode_all
from plait.data.modalities.evidence import inline_bytes, media_evidence, starts_like_markup
from plait.data.modalities.griffin_lim import listen
from plait.data.modalities.log_mel import hop_samples, log_mel
from plait.data.modalities.sample import sample
from plait.errors import CellError

EXTENSIONS = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
MELS = {"fast": 40, "balanced": 40, "best": 80}
"""Bands of the spectrogram, by preset: 40 tell phones apart, 80 are usual for large speech models."""

SAMPLED_CLIPS = 200
"""Clips whose headers are read for rate and length."""

LIGHT_BYTES = 1 << 18
"""A WAV of no more bytes, 8 s at 16 kHz, is decoded where the caller is."""

MAX_SECONDS = 30
"""Seconds kept of a clip at most."""

RATES = (1_000, 1_000_000)
"""Sample rates, in Hz, that are taken for sound."""

_BLOCK_SAMPLES = 1 << 16  # read at a time, then the clock is looked at
_MAX_SAMPLE = 1e5  # 16-bit numbers written as floats still pass; their squares stay finite
_BATCH_BYTES = 64 << 20  # of decoded samples at a time, so that memory stays flat
_UNKNOWN_FRAMES = 1 << 62  # libsndfile gives the largest int64 where a pipe left the length open


class AudioModality(Modality):
    """Sounds to log-mel frames, ``float16 [steps, mels]``, ragged.

    State: ``rate`` in Hz; ``mels``, ``fmin`` and ``fmax`` (Hz) of the bands; ``window_ms``, ``hop_ms``;
    ``max_seconds``, how much of the beginning of a longer clip is kept. A pretrained model's state has
    ``rate``, ``mels`` and ``max_seconds`` too; its ``features`` say ``wave`` (the samples themselves,
    ``float32 [steps, 1]``) or ``mel`` (``float32 [steps, mels]``), and its ``recipe`` how they are made
    (`plait.data.modalities.audio_recipe`).
    """

    name: ClassVar[str] = "audio"
    media: ClassVar[bool] = True
    stored: ClassVar[bool] = True
    display: ClassVar[Display] = "player"
    folder_suffixes: ClassVar[frozenset[str]] = frozenset(
        {".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aiff", ".aif", ".m4a"}
    )
    file_suffix: ClassVar[str] = ".wav"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Paths or bytes whose headers are sounds."""

        def check(cell: object) -> None:
            _open(_read(cell, settings), settings.media.limits).close()

        return media_evidence("audio", cells, settings, EXTENSIONS, _has_magic, check)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Rate and length from sampled headers, bands by preset."""
        limits = settings.media.limits

        def survey(cell: object) -> tuple[int, float]:
            with _open(_read(cell, settings), limits) as sound:
                return sound.samplerate, sound.frames / sound.samplerate

        headers = decode_all(
            survey, sample(cells, SAMPLED_CLIPS), settings.threads, limits.decode_seconds
        )
        seen = [entry for entry in headers if isinstance(entry, tuple)]
        rate = 16000 if not seen or np.median([rate for rate, _ in seen]) >= 12000 else 8000
        longest = np.percentile([seconds for _, seconds in seen], 99) if seen else 10.0
        return {
            "rate": rate,
            "mels": MELS[settings.preset],
            "window_ms": 25,
            "hop_ms": 10,
            "fmin": 60.0,
            "fmax": rate / 2,
            "max_seconds": int(min(max(ceil(longest), 1), MAX_SECONDS)),
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Decode, mix down, resample and transform, some megabytes of samples at a time."""
        rate, seconds, limits = (
            int(state["rate"]),
            float(state["max_seconds"]),
            settings.media.limits,
        )

        recipe = audio_recipe.is_recipe(state)
        extra = audio_recipe.MARGIN_SECONDS if recipe else 0.0

        def decode(cell: object) -> np.ndarray:
            wave = load(_read(cell, settings), rate, seconds + extra, limits)
            return audio_recipe.cut(wave, state) if recipe else wave

        lengths = np.zeros(len(cells), np.int64)
        problems: list[Problem] = []
        parts = [_none(state)]
        batch = max(int(_BATCH_BYTES / (4 * rate * seconds)), 8)
        for begin in range(0, len(cells), batch):
            chunk = cells[begin : begin + batch]
            waves = decode_all(
                decode, chunk, settings.threads, limits.decode_seconds, self.is_light
            )
            clips: list[np.ndarray] = []
            for row, entry in enumerate(waves, begin):
                if isinstance(entry, CellError):
                    problems.append(Problem(row, str(entry)))
                elif entry is not None:
                    clips.append(entry)
                    lengths[row] = _steps(len(entry), state)
            if clips:
                transform = audio_recipe.features if recipe else log_mel
                parts.append(transform(clips, state, settings.threads))
        return Prepared(np.concatenate(parts), lengths, lengths > 0, problems)

    def is_light(self, cell: object) -> bool:
        """A small WAV: its samples are there as they are."""
        data = inline_bytes(cell)
        return data is not None and len(data) <= LIGHT_BYTES and data.startswith(b"RIFF")

    def describe(self, state: State) -> str:
        """For instance ``log-mel, 64 bands at 8000 Hz, the first 3 s of a clip``."""
        wave = audio_recipe.is_recipe(state) and state["features"] == "wave"
        what = "the waveform" if wave else f"log-mel, {state['mels']} bands"
        return f"{what} at {state['rate']} Hz, the first {state['max_seconds']:g} s of a clip"

    def unit(self, inner: tuple[int, ...], ragged: bool, state: State) -> Unit:
        """A band at a step."""
        raw = ragged and inner == (state.get("mels"),)
        return "spectrum" if raw else super().unit(inner, ragged, state)

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """``float32 [samples]`` at the state's rate, by `griffin_lim.listen`."""
        return [listen(frames, state)[0] for frames in split_steps(prepared)]

    def rate(self, state: State) -> int | None:
        """In Hz."""
        return int(state["rate"])

    def write(self, file: Path, cell: np.ndarray, rate: int) -> None:
        """Mono, 16 bits."""
        soundfile.write(file, cell, rate)


def _none(state: State) -> np.ndarray:
    """No steps at all, of the state's width and type."""
    if audio_recipe.is_recipe(state):
        return np.zeros((0, audio_recipe.width_of(state)), np.float32)
    return np.zeros((0, int(state["mels"])), np.float16)


def _steps(samples: int, state: State) -> int:
    if audio_recipe.is_recipe(state):
        return audio_recipe.steps_of(samples, state)
    return 1 + samples // hop_samples(state)


def load(data: bytes, rate: int, seconds: float, limits: Limits) -> np.ndarray:
    """The first ``seconds`` of a sound as mono ``float32 [samples]`` at ``rate`` Hz.

    Raises:
        CellError: when the bytes are no sound, a broken one, or one that is too long or large.
    """
    with _open(data, limits) as sound:
        source = sound.samplerate
        try:
            blocks = _blocks(sound, min(ceil(seconds * source), sound.frames), limits)
        except soundfile.LibsndfileError as error:
            raise CellError(_damaged(error)) from None
    if not blocks:
        raise CellError("holds no samples")
    wave = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    loudest = float(np.abs(wave).max(initial=0))
    # Float WAVs may hold anything; one NaN would spread over the whole clip in resampling.
    if not np.isfinite(loudest):
        raise CellError("holds samples that are NaN or infinite")
    if loudest > _MAX_SAMPLE:
        raise CellError(f"holds samples up to {loudest:.3g}; sound lies between -1 and 1")
    return wave if source == rate else soxr.resample(wave, source, rate)


def _blocks(sound: soundfile.SoundFile, wanted: int, limits: Limits) -> list[np.ndarray]:
    """Up to ``wanted`` samples, mixed to mono block by block, with an eye on the clock."""
    deadline = monotonic() + limits.decode_seconds
    blocks: list[np.ndarray] = []
    while wanted > 0:
        block = sound.read(min(_BLOCK_SAMPLES, wanted), dtype="float32", always_2d=True)
        if not len(block):
            break
        wanted -= len(block)
        blocks.append(block[:, 0] if sound.channels == 1 else block.mean(axis=1))
        if monotonic() > deadline:
            limit = limits.decode_seconds
            raise CellError(f"took longer than {limit:g} s to decode (max_decode_seconds)")
    return blocks


def _read(cell: object, settings: Settings) -> bytes:
    return settings.media.read(cell, settings.media.limits.audio_bytes, "max_audio_mb")


def _open(data: bytes, limits: Limits) -> soundfile.SoundFile:
    """Read the header only, and check what it claims before anything is allocated for samples."""
    if not _has_magic(data):
        kind = "is HTML or XML, not a sound" if starts_like_markup(data) else ""
        raise CellError(kind or "is not a sound of a known kind (WAV, FLAC, OGG, MP3)")
    # A truncated clip would be played to its end as if it were a shorter one.
    if short := _wav_shortfall(data):
        raise CellError(f"is truncated: {short} of the bytes its header claims are not there")
    try:
        sound = soundfile.SoundFile(BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise CellError(_damaged(error)) from None
    try:
        _check(sound, limits)
    except CellError:
        sound.close()
        raise
    return sound


def _damaged(error: soundfile.LibsndfileError) -> str:
    words = str(error.error_string).removeprefix("Error : ").strip(" .").lower()
    return f"is a damaged sound ({words})"


def _wav_shortfall(data: bytes) -> int:
    """How many bytes of samples a WAV claims and lacks; libsndfile would play what there is."""
    at = 12 if data[:4] == b"RIFF" else len(data)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            streamed = size >= 0x7FFFF000  # a pipe that did not know its length
            return 0 if streamed else max(at + 8 + size - len(data), 0)
        at += 8 + size + size % 2
    return 0


def _check(sound: soundfile.SoundFile, limits: Limits) -> None:
    rate, frames = sound.samplerate, sound.frames
    if not RATES[0] <= rate <= RATES[1]:
        raise CellError(f"claims a rate of {rate} Hz, expected {RATES[0]} to {RATES[1]} Hz")
    if frames >= _UNKNOWN_FRAMES:
        raise CellError("does not say how long it is, as sounds written to a pipe: save it again")
    if frames / rate > limits.audio_seconds:
        raise CellError(
            f"lasts {frames / rate:.4g} s, more than the cap of {limits.audio_seconds:g} s "
            "(max_audio_seconds)"
        )
    # A file may claim a high rate, so that many samples last a short time only.
    if frames * sound.channels * 4 > limits.audio_decoded_bytes:
        raise CellError(_too_much(frames * sound.channels * 4, limits))


def _too_much(size: int, limits: Limits) -> str:
    cap = limits.audio_decoded_bytes / 2**20
    return f"decodes to {size / 2**20:.4g} MiB, more than the cap of {cap:g} MiB (max_audio_decoded_mib)"


def _has_magic(data: bytes) -> bool:
    if data[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return data[8:12] == b"WAVE"
    is_mpeg = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 != 0
    return is_mpeg or data.startswith((b"fLaC", b"OggS", b"ID3"))
