"""Subword ids of text in any language."""

import json
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from plait.data.media import Media
from plait.data.modalities import text as module
from plait.data.modalities.base import Settings
from plait.data.modalities.text import TextModality, count_words

TEXT = TextModality()
CORPUS = [
    "the cat sat on the mat",
    "the dog sat on the log",
    "猫在睡觉，狗在睡觉",
    "🐦🐦 two birds",
    "42 cats",
]
FREE = Settings(Media(None), "fast")


def ids(state, *cells: object) -> list[list[int]]:
    prepared = TEXT.prepare(cells, state, FREE)
    assert not prepared.problems and prepared.values.dtype == np.int32
    return [part.tolist() for part in np.split(prepared.values, np.cumsum(prepared.lengths)[:-1])]


def test_nothing_is_lost_and_nothing_is_padding() -> None:
    state = TEXT.fit(CORPUS * 3, Settings(Media(None), "best"))
    tokenizer = Tokenizer.from_str(json.dumps(state["tokenizer"]))
    assert tokenizer.id_to_token(0) == "[PAD]"
    back = {code: number for number, code in byte_alphabet().items()}
    for text in [*CORPUS, "never seen: żółć ελληνικά 한국어 🏳️‍🌈", "[PAD]", "<unk> </s> [UNK]"]:
        (found,) = ids(state | {"max_tokens": 999}, text)
        assert 0 not in found and max(found) < state["vocabulary"]
        spelled = "".join(tokenizer.id_to_token(one) for one in found)
        plain = bytes(back[code] for code in spelled).decode("utf-8")
        assert plain.replace(" ", "") == text.lower().replace("，", ",").replace(" ", "")


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {
        byte: chr(256 + n) for n, byte in enumerate(others)
    }


def test_case_width_and_digits_are_brought_together() -> None:
    state = TEXT.fit(CORPUS, FREE)
    plain, loud, wide = ids(state, "cat 12", "CAT 12", "ｃａｔ １２")
    assert plain == loud == wide
    one, two = ids(state, "1", "11")
    assert two == one * 2


def test_other_values_become_text() -> None:
    state = TEXT.fit(CORPUS, FREE)
    number, text, blob = ids(state, 42, "42", b"42")
    assert number == text == blob


def test_frequent_words_become_one_token() -> None:
    state = TEXT.fit(["the quick fox", "the slow fox"] * 10, FREE)
    assert len(ids(state, "the fox")[0]) == 2


def test_long_texts_are_cut_and_counted() -> None:
    state = TEXT.fit(["a b"] * 990 + ["a b c d e f g h i j"] * 10, FREE)
    assert state["max_tokens"] == 10 and state["longer"] == 0
    state = TEXT.fit(["a b c d"] * 999 + ["a b " * 20], FREE)
    assert state["max_tokens"] == 4 and state["longer"] == 0.001
    assert TEXT.describe(state).endswith(
        "at most 4 per text (0.1% of training texts are longer, and cut)"
    )
    assert [len(found) for found in ids(state, "a b c d e f")] == [4]
    long = TEXT.fit(["word " * 500], FREE)
    assert long["max_tokens"] == 64


def test_cutting_early_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    state = TEXT.fit(CORPUS * 5, FREE) | {"max_tokens": 20}
    texts = ["the cat " * 5000, "猫" * 9000, "é" * 9000, " " * 9000 + "cat"]
    early = ids(state, *texts)
    monkeypatch.setattr(module, "_NFKC_SHRINK", 10_000)
    assert ids(state, *texts) == early


def test_refusals(reasons) -> None:
    cells = ["a\ud800b", "x" * 10_000_000, "é" * 600_000, b"\xff\xfe", b"y" * 1_000_001]
    assert reasons(TEXT, CORPUS, cells) == [
        "holds half a character (lone surrogate)",
        "holds 10 MB of text, more than the cap of 1 MB (max_text_mb)",
        "holds 1.2 MB of text, more than the cap of 1 MB (max_text_mb)",
        "is bytes that are not UTF-8 text",
        "holds 1 MB of text, more than the cap of 1 MB (max_text_mb)",
    ]


def test_the_cap_follows_the_options(limited, reasons) -> None:
    assert reasons(TEXT, CORPUS, ["twelve bytes"], limited(text_bytes=11)) == [
        "holds 1.2e-05 MB of text, more than the cap of 1.1e-05 MB (max_text_mb)"
    ]


def test_vocabulary_by_preset() -> None:
    words = [
        f"w{number * 7919 % 10007:x} u{number % 613:x}{number % 389:o}" for number in range(6000)
    ]
    for preset, size in (("fast", 2000), ("balanced", 4000)):
        state = TEXT.fit(words, Settings(Media(None), preset))
        assert state["vocabulary"] <= size
    assert TEXT.fit(["one text"], FREE)["vocabulary"] < 300


def test_the_same_in_every_process() -> None:
    code = (
        "import json, hashlib\n"
        "from plait.data.media import Media\n"
        "from plait.data.modalities.base import Settings\n"
        "from plait.data.modalities.text import TextModality\n"
        "texts = [f'{n % 7} cats {n % 11}{n % 5} 猫 {chr(97 + n % 26) * 3}' for n in range(500)]\n"
        "state = TextModality().fit(texts, Settings(Media(None)))\n"
        "print(hashlib.sha256(json.dumps(state).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_fork_after_use_is_silent() -> None:
    code = (
        "import os\n"
        "from plait.data.media import Media\n"
        "from plait.data.modalities.base import Settings\n"
        "from plait.data.modalities.text import TextModality\n"
        "text, settings = TextModality(), Settings(Media(None))\n"
        "state = text.fit(['a cat', 'a dog'] * 600, settings)\n"
        "text.prepare(['a cat'] * 2000, state, settings)\n"
        "child = os.fork()\n"
        "text.prepare(['a cat'] * 2000, state, settings)\n"
        "child or os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    clean = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_few_tokenizers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOADED", OrderedDict())
    states = [TEXT.fit([f"text {number}"], FREE) for number in range(10)]
    for state in states * 2:
        ids(state, "text")
    assert len(module._LOADED) == 8


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
@hypothesis_settings(max_examples=examples(60))
def test_any_text(cells: list[str]) -> None:
    state = TEXT.fit(CORPUS, FREE)
    prepared = TEXT.prepare(cells, state, FREE)
    broken = {problem.row for problem in prepared.problems}
    for row, cell in enumerate(cells):
        surrogate = any("\ud800" <= letter <= "\udfff" for letter in cell)
        assert (row in broken) == surrogate
        assert bool(prepared.present[row]) == (bool(cell.strip()) and not surrogate)


def test_words_in_many_scripts() -> None:
    assert count_words("two words") == 2
    assert count_words("猫在睡觉") == 2
    assert count_words("") == 0


def test_matches() -> None:
    sentences = [f"item number {n} is here" for n in range(30)]
    assert TEXT.matches("x", sentences, FREE).strength == 0.85
    assert TEXT.matches("x", sentences, FREE).reason == (
        "30 different texts in all 30 sampled cells, about 5 words each"
    )
    assert TEXT.matches("x", [f"name{n}" for n in range(30)], FREE).strength == 0.7
    assert TEXT.matches("x", ["red", "blue"] * 20, FREE).strength == 0.3
    assert TEXT.matches("x", [f"name{n % 25}" for n in range(100)], FREE).strength == 0.4
    assert TEXT.matches("x", [f"one two three {n % 21}" for n in range(300)], FREE).strength == 0.5
    assert TEXT.matches("x", [f"a/{n}.png" for n in range(30)], FREE).strength == 0.2
    assert TEXT.matches("x", [1, 2, "three"], FREE) is None


def test_what_is_cut_is_counted_and_what_fits_is_not(settings: Settings) -> None:
    texts: list[object] = ["one two three four five six"] * 5 + ["one two"] * 5
    state = TEXT.fit(texts, settings)
    most = state["max_tokens"]
    prepared = TEXT.prepare([*texts, None, "six five four three two one " * most], state, settings)
    assert prepared.shortened == 1 and prepared.lengths is not None
    assert prepared.lengths.max() == most and prepared.lengths[-1] == most
