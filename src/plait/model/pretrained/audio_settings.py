"""A sound checkpoint's own processor settings to the state of plait's audio modality."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plait.data.modalities.audio import MAX_SECONDS, RATES
from plait.data.modalities.audio_recipe import Mel
from plait.data.modalities.base import State
from plait.errors import CheckpointError
from plait.model.pretrained.contents import read_json, read_json_if_there

PLACES = ("preprocessor_config.json", "processor_config.json")
"""Where a checkpoint keeps its settings; the second one has a section ``feature_extractor``."""

EXTRACTORS = {
    "whisper": "WhisperFeatureExtractor",
    "wav2vec2": "Wav2Vec2FeatureExtractor",
    "hubert": "Wav2Vec2FeatureExtractor",
    "wavlm": "Wav2Vec2FeatureExtractor",
    "audio-spectrogram-transformer": "ASTFeatureExtractor",
    "clap": "ClapFeatureExtractor",
    "clap_audio_model": "ClapFeatureExtractor",
}
"""Model type → the extractor it comes with, for settings that do not name theirs."""

_KALDI_FLOOR = 1.192092955078125e-07


def audio_state(folder: Path) -> State:
    """A checkpoint's processor settings as a state for `plait.data.modalities.audio.AudioModality`.

    What transformers' own extractor would have given is what the state says, with two differences. Of a
    clip longer than the model takes, the beginning is kept; CLAP's extractor takes a random part of it,
    or mixes three random parts with the whole ("rand_trunc", "fusion"). And frames that the extractor
    adds to reach the model's length are left to the encoder.

    Args:
        folder: holds ``preprocessor_config.json``, or ``processor_config.json`` with a section
            ``feature_extractor``.

    Raises:
        CheckpointError: there are no such settings, they are damaged, or they ask for something that
            plait does not do.
    """
    settings = Reader(folder, _section(folder))
    kind = settings.values.get("feature_extractor_type")
    if kind is None:
        kind = EXTRACTORS.get(
            str((read_json_if_there(folder / "config.json") or {}).get("model_type"))
        )
    if not isinstance(kind, str) or kind not in _READERS:
        other = settings.values.get("image_processor_type")
        raise CheckpointError(
            f"the checkpoint at {folder} prepares its input with {kind or other or 'nothing named'}; "
            f"expected one of {', '.join(_READERS)} for a column of sounds. Choose an audio checkpoint, "
            "or a column of another modality."
        )
    return _READERS[kind](settings)


class Reader:
    """Settings of one checkpoint, looked at with suspicion."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.values = values

    def count(self, name: str, usual: int, least: int, most: int) -> int:
        """A whole number in a range."""
        value = self.number(name, usual, least, most)
        if value != int(value):
            raise self.wrong(name, value, "a whole number")
        return int(value)

    def number(self, name: str, usual: float, least: float, most: float) -> float:
        """A number in a range."""
        value = self.values.get(name, usual)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
        ):
            raise self.wrong(name, value, f"a number from {least:g} to {most:g}")
        return value

    def flag(self, name: str, usual: bool) -> bool:
        """True or false."""
        value = self.values.get(name, usual)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def only(self, name: str, usual: object) -> None:
        """Refuse anything but the usual value."""
        if (value := self.values.get(name, usual)) != usual:
            raise self.wrong(name, value, f"{usual!r}, the only one that plait does")

    def wrong(self, name: str, value: object, expected: str) -> CheckpointError:
        """What to raise for one setting."""
        return CheckpointError(
            f"the processor settings of the checkpoint at {self.folder} say {name} = {value!r}; "
            f"expected {expected}."
        )


def _section(folder: Path) -> dict[str, Any]:
    first = folder / PLACES[0]
    if first.is_file():
        return read_json(first)
    section = (read_json_if_there(folder / PLACES[1]) or {}).get("feature_extractor")
    if isinstance(section, dict):
        return section
    raise CheckpointError(
        f"the checkpoint at {folder} says nowhere how it prepares sounds; expected {PLACES[0]}, or "
        f"{PLACES[1]} with a section feature_extractor. Copy that file from the checkpoint's origin."
    )


def _rate(settings: Reader, usual: int) -> int:
    return settings.count("sampling_rate", usual, *RATES)


def _mel_state(rate: int, mel: Mel) -> State:
    seconds = mel.samples / rate
    return {
        "rate": rate,
        "mels": mel.bands,
        "max_seconds": int(seconds) if seconds == int(seconds) else seconds,
        "features": "mel",
        "recipe": asdict(mel),
    }


def _wave(settings: Reader) -> State:
    """wav2vec 2.0, HuBERT, WavLM: the samples, standardised over the clip when ``do_normalize``.

    ``return_attention_mask`` is about batches: with it the extractor standardises each clip over its own
    samples, as here; without it, over its padding as well. Here a clip is always treated as it would be
    alone, where both agree.
    """
    settings.only("feature_size", 1)
    return {
        "rate": _rate(settings, 16_000),
        "mels": 1,
        "max_seconds": MAX_SECONDS,
        "features": "wave",
        "recipe": {"standardise": settings.flag("do_normalize", True)},
    }


def _whisper(settings: Reader) -> State:
    """Whisper: log10 of the mel bands, no further than 8 below the clip's loudest, ``(x + 4) / 4``."""
    settings.only("dither", 0.0)
    settings.only("padding_side", "right")
    settings.only("padding_value", 0.0)
    rate = _rate(settings, 16_000)
    seconds = settings.count("chunk_length", 30, 1, MAX_SECONDS)
    hop = settings.count("hop_length", 160, 1, rate)
    window = settings.count("n_fft", 400, 2, rate)
    return _mel_state(
        rate,
        Mel(
            window=window,
            hop=hop,
            size=window,
            bands=settings.count("feature_size", 80, 1, 1024),
            fmin=0.0,
            fmax=8000.0,
            scale="slaney",
            area=True,
            samples=seconds * rate,
            frames=seconds * rate // hop,
            silence=-1.5,
            log="log10",
            span=8.0,
            shift=-4.0,
            divide=4.0,
        ),
    )


def _ast(settings: Reader) -> State:
    """AST: Kaldi's filter bank in natural logarithms, ``(x - mean) / (2 std)``; 0 beyond the clip."""
    rate = _rate(settings, 16_000)
    frames = settings.count("max_length", 1024, 1, 100 * MAX_SECONDS)
    shift, divide = 0.0, 1.0
    if settings.flag("do_normalize", True):
        shift = settings.number("mean", -4.2677393, -1e6, 1e6)
        divide = 2 * settings.number("std", 4.5689974, 1e-6, 1e6)
    return _mel_state(
        rate,
        Mel(
            window=400,
            hop=160,
            size=512,
            bands=settings.count("num_mel_bins", 128, 1, 1024),
            fmin=20.0,
            fmax=float(rate // 2),
            scale="kaldi",
            straight=True,
            samples=(frames - 1) * 160 + 400,
            frames=frames,
            silence=(0 - shift) / divide,
            log="ln",
            floor=_KALDI_FLOOR,
            centred=False,
            symmetric=True,
            level=True,
            preemphasis=0.97,
            shift=shift,
            divide=divide,
        ),
    )


def _clap(settings: Reader) -> State:
    """CLAP: decibels of the mel bands, of the clip repeated to ten seconds.

    Checkpoints of the "fusion" kind have bands on HTK's scale, others on Slaney's. They are read alike:
    the beginning of a clip, as a clip that is not longer than the model takes.
    """
    rate = _rate(settings, 48_000)
    seconds = settings.count("max_length_s", 10, 1, MAX_SECONDS)
    hop = settings.count("hop_length", 480, 1, rate)
    window = settings.count("fft_window_size", 1024, 2, rate)
    truncation = settings.values.get("truncation", "fusion")
    if truncation not in ("fusion", "rand_trunc"):
        raise settings.wrong("truncation", truncation, "'fusion' or 'rand_trunc'")
    extend = settings.values.get("padding", "repeatpad")
    if extend not in ("repeatpad", "repeat", "pad"):
        raise settings.wrong("padding", extend, "'repeatpad', 'repeat' or 'pad'")
    fmin = settings.number("frequency_min", 0, 0, rate / 2 - 1)
    plain = truncation == "fusion"
    return _mel_state(
        rate,
        Mel(
            window=window,
            hop=hop,
            size=window,
            bands=settings.count("feature_size", 64, 1, 1024),
            fmin=float(fmin),
            fmax=float(settings.number("frequency_max", 14_000, fmin + 1, rate / 2)),
            scale="htk" if plain else "slaney",
            area=not plain,
            samples=seconds * rate,
            frames=1 + seconds * rate // hop,
            silence=-100.0,
            log="db",
            extend="zeros" if extend == "pad" else str(extend),
        ),
    )


_READERS: dict[str, Callable[[Reader], State]] = {
    "WhisperFeatureExtractor": _whisper,
    "Wav2Vec2FeatureExtractor": _wave,
    "ASTFeatureExtractor": _ast,
    "ClapFeatureExtractor": _clap,
}
