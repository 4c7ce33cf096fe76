"""Speak words with espeak-ng, in a process of its own. Used only to make the demo's data.

espeak-ng keeps state for the whole process that no call resets (the phase of its vibrato, filters),
so the same word sounds slightly different the second time. A fresh process speaks the same words to
the same samples every time, keeps espeak-ng's own printing away from the user's terminal, and turns
a crash inside the C library into an error message. `speak` therefore runs this file as a program:

    python -I speech.py request.json clips.raw

request.json holds the paths of espeak-ng's library and data, and the utterances, each as a list:
text, voice, rate in words a minute (80 to 450), pitch (0 to 100). clips.raw receives the samples of
all utterances end to end, as native 16-bit integers; clips.json beside it the sample rate in hertz
and the number of samples of each utterance. The program needs nothing but the standard library.

espeak-ng is licensed under GPL-3. plait neither contains it nor needs it: the extra `demo` fetches
it, and it only makes sample data.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PATIENCE = 300  # seconds; hundreds of words take about one

_STATUS = {-1: "internal error", 1: "buffer full", 2: "not found"}

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Utterance(NamedTuple):
    """What to say, and how.

    Attributes:
        text: the words.
        voice: an accent, or accent+variant, such as "en-us+f3".
        rate: words a minute, 80 to 450.
        pitch: 0 to 100; 50 is the voice's own.
    """

    text: str
    voice: str
    rate: int
    pitch: int


def speak(utterances: Sequence[Utterance]) -> tuple[int, list[bytes]]:
    """Say all `utterances` in a fresh process; the same ones give the same samples.

    Returns:
        The sample rate in hertz, and for each utterance its mono samples, native 16-bit integers.

    Raises:
        MissingExtra: espeakng-loader is not installed.
        PlaitError: espeak-ng fails, or takes longer than five minutes; the message says which.
    """
    # Imported here because the program this file also is runs without plait and its dependencies.
    from plait.errors import MissingExtra, PlaitError

    try:
        import espeakng_loader
    except ImportError:
        raise MissingExtra("demo data", "demo", "espeakng-loader") from None
    request = {
        "library": espeakng_loader.get_library_path(),
        "data": espeakng_loader.get_data_path(),
        "utterances": utterances,
    }
    with tempfile.TemporaryDirectory(prefix="plait-speech-") as folder:
        asked, clips = Path(folder, "request.json"), Path(folder, "clips.raw")
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-I", __file__, str(asked), str(clips)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,  # the status is looked at below, to say what espeak-ng said
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlaitError(f"cannot run espeak-ng in a process of its own: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise PlaitError(
                f"espeak-ng failed, so no speech was made: {said or f'status {done.returncode}'}"
            )
        heard = json.loads(clips.with_suffix(".json").read_text(encoding="utf-8"))
        samples = clips.read_bytes()
    ends = accumulate((2 * length for length in heard["lengths"]), initial=0)
    return heard["rate"], [samples[start:end] for start, end in pairwise(ends)]


# The program --------------------------------------------------------------------------------------


class SpeechError(Exception):
    """espeak-ng refused a request; the message says which and why."""


class Speaker:
    """espeak-ng, initialised. Make one a process: its state belongs to the whole process.

    Raises:
        SpeechError: the library cannot be loaded, is older than 1.52, or does not find its data.
    """

    def __init__(self, library: str, data: str) -> None:
        try:
            self._espeak = _declare(ctypes.CDLL(library))
            # espeak-ng cuts the path of its data at 160 bytes, and on Windows reads it in the local
            # code page. Relative to its parent the path is short and plain.
            os.chdir(Path(data).parent)
        except (OSError, AttributeError) as error:
            raise SpeechError(f"cannot load espeak-ng 1.52 from {library}: {error}") from error
        self._variants = Path(Path(data).name, "voices", "!v")
        self.rate = self._espeak.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, Path(data).name.encode(), _INITIALIZE_DONT_EXIT
        )
        if self.rate <= 0:
            raise SpeechError(f"espeak-ng found no voices in {data}")
        self._samples = bytearray()
        # Kept on self, since ctypes frees a callback that nothing refers to.
        self._callback = _Callback(self._receive)
        self._espeak.espeak_SetSynthCallback(self._callback)
        _check(self._espeak.espeak_ng_SetRandSeed(1), "seed espeak-ng")

    def _receive(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0  # 0 asks for more, 1 would stop the synthesis

    def say(self, utterance: Utterance) -> bytes:
        """The utterance as native 16-bit mono samples, at `self.rate` hertz.

        Raises:
            SpeechError: the voice does not exist, or espeak-ng fails or stays silent.
        """
        text, voice, rate, pitch = utterance
        espeak = self._espeak
        self._samples.clear()
        variant = voice.partition("+")[2]
        if variant and not (self._variants / variant).is_file():
            # espeak-ng itself would speak in the accent's plain voice and report success.
            raise SpeechError(f"espeak-ng has no voice variant {variant!r}, wanted for {voice!r}")
        _check(espeak.espeak_SetVoiceByName(voice.encode()), f"find the voice {voice!r}")
        _check(espeak.espeak_SetParameter(_PARAMETER_RATE, rate, 0), f"set the rate {rate}")
        _check(espeak.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0), f"set the pitch {pitch}")
        spoken = text.encode() + b"\0"
        status = espeak.espeak_Synth(
            spoken, len(spoken), 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        _check(status, f"say {text!r}")
        _check(espeak.espeak_Synchronize(), f"finish saying {text!r}")
        if not any(self._samples):
            raise SpeechError(f"espeak-ng made no sound for {text!r} with the voice {voice!r}")
        return bytes(self._samples)


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """State the C signatures, since ctypes would pass every argument as an int."""
    number, text, nothing = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
    library.espeak_Initialize.argtypes = [number, number, text, number]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_SetVoiceByName.argtypes = [text]
    library.espeak_SetParameter.argtypes = [number, number, number]
    library.espeak_Synth.argtypes = [
        text, ctypes.c_size_t, ctypes.c_uint, number, ctypes.c_uint, ctypes.c_uint, nothing, nothing
    ]  # fmt: skip
    library.espeak_Synchronize.argtypes = []
    return library


def _check(status: int, what: str) -> None:
    if status != 0:
        raise SpeechError(f"espeak-ng could not {what}: {_STATUS.get(status, f'status {status}')}")


def main(arguments: Sequence[str]) -> None:
    """Speak the request in the file `arguments[0]` into the file `arguments[1]`."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    clips = Path(arguments[1]).resolve()  # before Speaker changes the working folder
    try:
        speaker = Speaker(request["library"], request["data"])
        spoken = [speaker.say(Utterance(*utterance)) for utterance in request["utterances"]]
    except SpeechError as error:
        sys.exit(str(error))  # on standard error, with status 1
    clips.write_bytes(b"".join(spoken))
    lengths = [len(samples) // 2 for samples in spoken]
    clips.with_suffix(".json").write_text(json.dumps({"rate": speaker.rate, "lengths": lengths}))


if __name__ == "__main__":
    main(sys.argv[1:])
