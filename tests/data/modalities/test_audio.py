"""Log-mel against an independent implementation; sounds of every kind, and hostile ones."""

import math
import struct
from io import BytesIO

import numpy as np
import pytest
import soundfile

from plait.data.media import Limits
from plait.data.modalities.audio import AudioModality, load
from plait.data.modalities.log_mel import log_mel
from plait.errors import CellError

AUDIO = AudioModality()
STATE = {
    "rate": 8000, "mels": 40, "window_ms": 25, "hop_ms": 10, "fmin": 60.0, "fmax": 4000.0,
    "max_seconds": 3,
}  # fmt: skip


def tone(hertz: float = 440.0, seconds: float = 0.5, rate: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def encode(wave: np.ndarray, rate: int = 8000, kind: str = "WAV", **options: object) -> bytes:
    stream = BytesIO()
    soundfile.write(stream, wave, rate, format=kind, **options)
    return stream.getvalue()


def plain_log_mel(wave: np.ndarray, rate: int, mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Frame by frame, bin by bin, in float64 and straight from the definitions."""
    window, hop = round(rate * 0.025), round(rate * 0.010)
    size = 2 ** math.ceil(math.log2(max(window, rate // 20)))
    low, high = (2595 * math.log10(1 + f / 700) for f in (fmin, fmax))
    edges = [
        700 * (10 ** ((low + (high - low) * n / (mels + 1)) / 2595) - 1) for n in range(mels + 2)
    ]
    padded = np.concatenate([np.zeros(window // 2), wave.astype(np.float64), np.zeros(window)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(window)) / size)
    frames = []
    for start in range(0, len(wave) + 1, hop):
        power = np.abs(turns @ (padded[start : start + window] * hann)) ** 2
        bands = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for number, value in enumerate(power):
                hertz = number * rate / size
                if left < hertz <= centre:
                    total += value * (hertz - left) / (centre - left)
                elif centre < hertz < right:
                    total += value * (right - hertz) / (right - centre)
            bands.append(math.log(total + 1e-6))
        frames.append(bands)
    return np.array(frames)


@pytest.mark.parametrize(("rate", "mels"), [(8000, 40), (16000, 80)])
def test_log_mel_is_what_the_formula_says(rate: int, mels: int) -> None:
    random = np.random.default_rng(0)
    clips = [random.normal(0, 0.1, samples).astype(np.float32) for samples in (1, 777, 1600)]
    clips.append(tone(1000, 0.05, rate).astype(np.float32))
    clips.append(np.zeros(500, np.float32))
    state = STATE | {"rate": rate, "mels": mels, "fmax": rate / 2}
    found = log_mel(clips, state)
    expected = np.concatenate([plain_log_mel(clip, rate, mels, 60.0, rate / 2) for clip in clips])
    assert found.dtype == np.float16 and found.shape == expected.shape
    np.testing.assert_allclose(found.astype(np.float64), expected, atol=0.02)


def test_a_clip_is_the_same_alone_and_among_others() -> None:
    random = np.random.default_rng(1)
    clips = [random.normal(0, 0.1, 500 + 91 * n).astype(np.float32) for n in range(60)]
    together = log_mel(clips, STATE, threads=3)
    alone = np.concatenate([log_mel([clip], STATE) for clip in clips])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WAV", {}),
        ("WAV", {"subtype": "PCM_U8"}),
        ("WAV", {"subtype": "PCM_24"}),
        ("WAV", {"subtype": "FLOAT"}),
        ("WAV", {"subtype": "ULAW"}),
        ("WAVEX", {}),
        ("FLAC", {}),
        ("OGG", {}),
        ("MP3", {}),
    ],
)
def test_every_format_rate_and_channel_count(kind: str, options: dict[str, str]) -> None:
    for rate in (8000, 11025, 16000, 44100, 48000):
        if kind == "MP3" and rate == 8000:
            continue
        mono = tone(440, 0.5, rate)
        for wave in (mono, np.stack([mono, mono], 1)):
            found = load(encode(wave, rate, kind, **options), 8000, 5.0, Limits())
            assert found.dtype == np.float32 and abs(len(found) - 4000) < 900
            spectrum = np.abs(np.fft.rfft(found))
            assert abs(np.argmax(spectrum) * 8000 / len(found) - 440) < 5
            assert 0.3 < np.abs(found).max() < 0.7


def test_channels_are_averaged() -> None:
    wave = tone()
    stereo = np.stack([wave, -wave], 1)
    assert np.abs(load(encode(stereo), 8000, 5.0, Limits())).max() < 1e-3


def test_the_beginning_is_kept() -> None:
    found = load(encode(tone(seconds=2.0)), 8000, 0.5, Limits())
    np.testing.assert_allclose(found, tone(seconds=0.5), atol=1e-4)


def test_several_blocks_are_one_sound() -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 200_000)
    found = load(encode(wave, 48_000, subtype="FLOAT"), 48_000, 5.0, Limits())
    np.testing.assert_allclose(found, wave, atol=1e-6)


def flac_header(rate: int, channels: int, samples: int) -> bytes:
    packed = (rate << 44) | ((channels - 1) << 41) | (15 << 36) | samples
    info = struct.pack(">HH", 4096, 4096) + b"\0" * 6 + packed.to_bytes(8, "big") + b"\0" * 16
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info


def test_a_flac_that_claims_too_much(reasons) -> None:
    data = flac_header(655_350, 8, 2**36 - 1)
    (reason,) = reasons(AUDIO, [], [data])
    assert reason == "lasts 1.049e+05 s, more than the cap of 600 s (max_audio_seconds)"
    short_but_wide = flac_header(655_350, 8, 655_350 * 60)
    (reason,) = reasons(AUDIO, [], [short_but_wide])
    assert reason == ("decodes to 1200 MiB, more than the cap of 256 MiB (max_audio_decoded_mib)")


def test_an_hour_of_audio(sound, reasons) -> None:
    name = sound("hour.flac", np.zeros(3600 * 8000, np.int16), 8000)
    assert reasons(AUDIO, [], [name]) == [
        "'hour.flac': lasts 3600 s, more than the cap of 600 s (max_audio_seconds)"
    ]


def test_a_large_file(settings, reasons) -> None:
    with (settings.media.root / "large.wav").open("wb") as handle:
        handle.truncate(25_000_001)
    assert reasons(AUDIO, [], ["large.wav"]) == [
        "'large.wav': is 25 MB large, more than the cap of 25 MB (max_audio_mb)"
    ]


def test_a_stream_of_unknown_length(reasons) -> None:
    data = bytearray(encode(tone(), kind="FLAC"))
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = packed.to_bytes(
        8, "big"
    )  # no total: as an encoder that writes to a pipe leaves it
    assert reasons(AUDIO, [], [bytes(data)]) == [
        "does not say how long it is, as sounds written to a pipe: save it again"
    ]


def test_no_sounds(settings, reasons) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    flac = encode(noise, kind="FLAC")
    wave = bytearray(encode(tone()))
    wave[24:28] = struct.pack("<I", 3)
    cells = {
        b"<html>404</html>": "is HTML or XML, not a sound",
        b"MThd\0\0\0\6": "is not a sound of a known kind (WAV, FLAC, OGG, MP3)",
        b"RIFF....AVI ": "is not a sound of a known kind (WAV, FLAC, OGG, MP3)",
        b"OggS" + b"\0" * 60: "is a damaged sound (",
        b"RIFF\0\0\0\0WAVE": "is a damaged sound (",
        encode(np.zeros(0)): "holds no samples",
        encode(np.array([0.1, np.nan]), subtype="FLOAT"): "holds samples that are NaN or infinite",
        bytes(wave): "claims a rate of 3 Hz, expected 1000 to 1000000 Hz",
        flac[: len(flac) // 2]: "is a damaged sound (flac decoder lost sync)",
        encode(tone())[:6000]: "is truncated: 2044 of the bytes its header claims are not there",
    }
    for found, expected in zip(reasons(AUDIO, [], list(cells)), cells.values(), strict=True):
        assert found.startswith(expected), found


def test_a_wav_that_a_pipe_left_without_its_length() -> None:
    data = bytearray(encode(tone()))
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(load(bytes(data), 8000, 5.0, Limits())) == 4000


def test_a_sound_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(tone())
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: np.zeros((0, 1), np.float32))
    with pytest.raises(CellError, match="holds no samples"):
        load(data, 8000, 5.0, Limits())


def test_the_deadline_is_checked_between_blocks() -> None:
    with pytest.raises(CellError) as caught:
        load(encode(tone(seconds=1)), 8000, 5.0, Limits(decode_seconds=-1))
    assert str(caught.value) == "took longer than -1 s to decode (max_decode_seconds)"


def test_state_follows_the_sample(sound, settings) -> None:
    slow = [sound(f"{n}.wav", tone(seconds=1 + n / 2), 8000) for n in range(4)]
    state = AUDIO.fit(slow, settings)
    assert state == STATE
    assert AUDIO.describe(state) == "log-mel, 40 bands at 8000 Hz, the first 3 s of a clip"
    fast = sound("cd.wav", tone(seconds=40, rate=44100), 44100)
    state = AUDIO.fit([fast], settings)
    assert state["rate"] == 16000 and state["fmax"] == 8000 and state["max_seconds"] == 30


def test_long_clips_are_prepared_in_batches(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [encode(tone(200 + 50 * n, 0.2)) for n in range(20)]
    whole = AUDIO.prepare(cells, STATE, settings)
    monkeypatch.setattr("plait.data.modalities.audio._BATCH_BYTES", 1)
    np.testing.assert_array_equal(AUDIO.prepare(cells, STATE, settings).values, whole.values)


def test_matches(sound, settings) -> None:
    name = sound("a.wav", tone())
    assert AUDIO.matches("x", [name], settings).reason == (
        "the one sampled cell ends in .wav, and 1 of 1 opened are audio files"
    )
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        blob = encode(tone(rate=16000), 16000, kind)
        found = AUDIO.matches("x", [blob], settings)
        assert found.reason == "the one sampled cell is bytes that begin like audio files"
    assert AUDIO.matches("x", ["a.png", "words"], settings) is None
