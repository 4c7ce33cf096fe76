"""Text of any language, as ids of a byte-level subword tokenizer trained on the column.

Byte-pair encoding: Sennrich et al. (2016), "Neural machine translation of rare words with subword
units", over the bytes of UTF-8, so that no character is unknown. Text is first brought to NFKC and
lower case, and digits stand alone.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from threading import Lock
from typing import Any, ClassVar, TypeVar

import numpy as np
from tokenizers import (
    Encoding,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from plait.data.media import Limits
from plait.data.modalities.base import (
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    is_missing,
    split_steps,
)
from plait.data.modalities.evidence import looks_like_file, quantity
from plait.data.modalities.sample import sample
from plait.errors import CellError

VOCABULARY = {"fast": 2000, "balanced": 4000, "best": 8000}
"""Subwords at most, by preset; rarer ones would be seen too seldom in tables of some thousand rows."""

MAX_TOKENS = {"fast": 64, "balanced": 128, "best": 256}
"""Subwords kept of a text, by preset; attention costs their square."""

SAMPLED_TEXTS = 50_000
"""Texts that the tokenizer is trained on."""

LIGHT_CHARACTERS = 4_000
"""A text of no more characters, some pages, is encoded where the caller is."""

PADDING = "[PAD]"
"""Has id 0. There is no unknown id: bytes spell out whatever the vocabulary lacks."""

_TOKEN_CHARACTERS = 24  # of a subword at most, as the trainer is told
_NFKC_SHRINK = 8  # characters that NFKC may join into one
_BATCH_TEXTS = 512  # handed to a thread at a time
_BYTES = decoders.ByteLevel()
_DIGIT = re.compile("Ġ([0-9])")
_MARK = re.compile("(?<=[0-9])Ġ([].,:;%/)'\"-])")
_Encoded = TypeVar("_Encoded")

# The library's own threads warn, or worse hang, when a process forks after it used them. plait brings
# its own threads; a value that the user has set is respected.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class TextModality(Modality):
    """Text to token ids, ``int32 [steps]``, ragged; id 0 is padding.

    State: ``tokenizer``, the JSON of a `tokenizers.Tokenizer`; ``vocabulary``, how many ids it has;
    ``max_tokens``, how many ids are kept of a text; ``longer``, the share of training texts that had
    more. The tokenizer of a pretrained checkpoint comes with ``special`` True: it sets its own marks
    around each text and keeps them when it cuts one. Marks written in a cell are text like any other.
    """

    name: ClassVar[str] = "text"
    stored: ClassVar[bool] = True
    words: ClassVar[bool] = True
    measure: ClassVar[str | None] = "length"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Words: many different texts, of several words each or of one word that seldom repeats."""
        texts = [cell for cell in cells if isinstance(cell, str)]
        if not texts or 2 * len(texts) < len(cells):
            return None
        words = float(np.mean([count_words(text) for text in texts]))
        distinct = len(set(texts))
        share = distinct / len(texts)
        which = quantity(len(texts), len(cells))
        what = f"{distinct} different texts in {which}, about {words:.2g} words each"
        if sum(map(looks_like_file, texts)) * 2 > len(texts):
            return Evidence(0.2, f"{what}, though they look like file names")
        if distinct <= 20 and share < 0.5:
            return Evidence(0.3, what)
        if words >= 3:
            return Evidence(0.85 if share > 0.2 else 0.5, what)
        return Evidence(0.7 if share > 0.5 else 0.4, what)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Train the tokenizer on the column's own texts."""
        limits = settings.media.limits
        texts: list[str] = []
        for cell in sample(cells, SAMPLED_TEXTS):
            try:
                texts.append(to_text(cell, limits)[:50_000])
            except CellError:
                continue
        tokenizer = _train(texts, VOCABULARY[settings.preset])
        cap = MAX_TOKENS[settings.preset]
        counts = [len(ids) for ids in _encode(tokenizer, texts, cap + 1, settings.threads)]
        longest = ceil(np.percentile(counts, 99.5)) if counts else cap
        max_tokens = min(max(longest, 4), cap)
        longer = float(np.mean(np.array(counts) > max_tokens)) if counts else 0.0
        return {
            "tokenizer": json.loads(tokenizer.to_str()),
            "vocabulary": tokenizer.get_vocab_size(),
            "max_tokens": max_tokens,
            "longer": round(longer, 6),
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Encode every text and keep its first ``max_tokens`` ids."""
        limits = settings.media.limits
        rows: list[int] = []
        texts: list[str] = []
        problems: list[Problem] = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            try:
                texts.append(to_text(cell, limits))
                rows.append(row)
            except CellError as error:
                problems.append(Problem(row, str(error)))
        tokenizer, max_tokens = _load(state["tokenizer"]), int(state["max_tokens"])
        if state.get("special"):
            encodings = _encode_marked(tokenizer, texts, max_tokens, settings.threads)
            shortened = sum(bool(encoding.overflowing) for encoding in encodings)
            kept = [encoding.ids for encoding in encodings]
        else:
            # One id more than is kept shows which texts are longer.
            encoded = _encode(tokenizer, texts, max_tokens + 1, settings.threads)
            shortened = sum(len(ids) > max_tokens for ids in encoded)
            kept = [ids[:max_tokens] for ids in encoded]
        lengths = np.zeros(len(cells), np.int64)
        lengths[rows] = [len(ids) for ids in kept]
        values = np.array([token for ids in kept for token in ids], np.int32)
        return Prepared(values, lengths, lengths > 0, problems, shortened)

    def is_light(self, cell: object) -> bool:
        """Some pages at most."""
        return not isinstance(cell, str | bytes) or len(cell) <= LIGHT_CHARACTERS

    def describe(self, state: State) -> str:
        """For instance ``1200 subwords, at most 24 a text``."""
        longer = f" ({state['longer']:.1%} of training texts are longer, and cut)"
        cut = longer if state["longer"] else ""
        return f"{state['vocabulary']} subwords, at most {state['max_tokens']} per text{cut}"

    def adapt(self, state: State, cells: Iterable[object], settings: Settings) -> State:
        """The state of a pretrained tokenizer with ``longer`` filled: the share of texts that it cuts.

        Args:
            state: one with ``special``, as `plait.model.pretrained.text_settings.text_state` gives it.
            cells: training cells; up to 50,000 of them are looked at, missing and broken ones are not.
            settings: caps and threads.
        """
        texts: list[str] = []
        for cell in sample(cells, SAMPLED_TEXTS):
            try:
                texts.append(to_text(cell, settings.media.limits))
            except CellError:
                continue
        max_tokens = int(state["max_tokens"])
        encodings = _encode_marked(_load(state["tokenizer"]), texts, max_tokens, settings.threads)
        longer = sum(bool(encoding.overflowing) for encoding in encodings)
        return {**state, "longer": round(longer / max(len(encodings), 1), 6)}

    def compared(self, cell: object, state: State, settings: Settings) -> Any:
        """The text without the space around it."""
        return str(cell).strip()

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """The subwords joined, as characters.

        The tokenizer puts a space before every digit, and before what follows one. It is taken away
        before digits, and between a digit and a mark; before a letter it stays: ``3rd`` comes back as
        ``3 rd``.
        """
        tokenizer = _load(state["tokenizer"])
        texts = []
        for ids in split_steps(prepared):
            subwords = "".join(tokenizer.id_to_token(index) or "" for index in ids.tolist())
            joined = _MARK.sub(r"\1", _DIGIT.sub(r"\1", subwords))
            texts.append(_BYTES.decode([joined]).replace("\ufffd", "").strip())
        return texts


def to_text(cell: object, limits: Limits) -> str:
    """A cell as text.

    Raises:
        CellError: when it is too large, or no Unicode text.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        _check_size(len(bytes(cell)), limits)
        try:
            cell = bytes(cell).decode("utf-8")
        except UnicodeDecodeError:
            raise CellError("is bytes that are not UTF-8 text") from None
    text = cell if isinstance(cell, str) else str(cell)
    if text.isascii():
        _check_size(len(text), limits)
        return text
    try:
        _check_size(len(text.encode("utf-8")), limits)
    except UnicodeEncodeError:
        raise CellError("holds half a character (lone surrogate)") from None
    return text


def count_words(text: str) -> int:
    """Words between blanks; in scripts without blanks, two characters count as a word."""
    dense = sum("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text[:2000])
    return max(len(text[:2000].split()), dense // 2)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.text_bytes:
        cap = limits.text_bytes / 1e6
        raise CellError(
            f"holds {size / 1e6:.4g} MB of text, more than the cap of {cap:g} MB (max_text_mb)"
        )


def _train(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_TOKEN_CHARACTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True  # "[PAD]" in a cell is five characters like any other
    return tokenizer


def _encode(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int, threads: int
) -> list[list[int]]:
    """Ids of every text. Only the part of a text that can fill ``max_tokens`` is looked at."""
    # A token is at most so many bytes, and NFKC joins at most some characters into one.
    reach = max_tokens * _TOKEN_CHARACTERS * _NFKC_SHRINK

    def encode(batch: Sequence[str]) -> list[list[int]]:
        cut = [text[:reach] for text in batch]
        encoded = tokenizer.encode_batch_fast(cut, add_special_tokens=False)
        return [encoding.ids[:max_tokens] for encoding in encoded]

    return _in_batches(encode, texts, threads)


def _encode_marked(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int, threads: int
) -> list[Encoding]:
    """Every text with the marks of a pretrained tokenizer, which cuts it by its own settings."""
    # Far more characters than ``max_tokens`` can hold, whatever the vocabulary.
    from_left = (tokenizer.truncation or {}).get("direction") == "left"
    reach = None if from_left else max_tokens * _TOKEN_CHARACTERS * _NFKC_SHRINK

    def encode(batch: Sequence[str]) -> list[Encoding]:
        return list(tokenizer.encode_batch_fast([text[:reach] for text in batch]))

    return _in_batches(encode, texts, threads)


def _in_batches(
    encode: Callable[[Sequence[str]], list[_Encoded]], texts: Sequence[str], threads: int
) -> list[_Encoded]:
    """`encode` over batches of texts, in threads: tokenizers release the GIL."""
    batches = [texts[begin : begin + _BATCH_TEXTS] for begin in range(0, len(texts), _BATCH_TEXTS)]
    if len(batches) <= 1 or threads == 1:
        return [encoded for batch in batches for encoded in encode(batch)]
    with ThreadPoolExecutor(threads) as pool:
        return [encoded for part in pool.map(encode, batches) for encoded in part]


_LOADED: dict[int, tuple[Any, Tokenizer]] = {}
_LOADING = Lock()
_CACHED_TOKENIZERS = 8  # more text columns than most tables have


def _load(described: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a state; the last few are kept, since parsing one costs milliseconds."""
    with _LOADING:
        known = _LOADED.get(id(described))
        if known is None:
            tokenizer = Tokenizer.from_str(json.dumps(described))
            tokenizer.encode_special_tokens = True
            while len(_LOADED) >= _CACHED_TOKENIZERS:
                _LOADED.pop(next(iter(_LOADED)))
            known = _LOADED[id(described)] = (described, tokenizer)  # held, so its id stays its own
        return known[1]
