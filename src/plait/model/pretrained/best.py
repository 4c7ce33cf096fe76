"""Which pretrained encoder the preset ``best`` takes for a column, by what the column holds, and why.

Only models whose weights came by pip are taken, so that a preset never fetches anything. The rules and
the figures they rest on are in docs/pretrained.md.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from plait.data.modalities import registry
from plait.data.modalities.base import Settings, is_missing
from plait.data.modalities.text import to_text
from plait.errors import CellError
from plait.model.pretrained.packaged import find_packaged, installed
from plait.model.pretrained.text_settings import text_state

IMAGE = "efficientnet-lite0"
TEXT = "all-minilm-l6-v2"

MIN_SIDE = 48
"""Pixels a side from which a picture has what a model of photographs knows; digits of 28 have not."""

MAX_FERTILITY = 1.8
"""Subwords a word up to which a vocabulary was made for such text (Rust et al. 2021)."""

MARKS = 2
"""Marks that the text model's tokenizer puts around a text."""

SAMPLED_TEXTS, MAX_CHARACTERS = 500, 1000
"""Texts looked at, and characters of each."""

_WORD = re.compile(r"[^\W\d_]+")


def best_encoder(
    modality: str, cells: Iterable[object], settings: Settings
) -> tuple[str | None, str]:
    """The reference of the encoder to take, or None for plait's own; and the reason.

    Args:
        cells: of the training rows.
    """
    if modality not in CHOICES:
        return None, f"no pretrained {modality} encoder comes by pip"
    name, suits = CHOICES[modality]
    if installed(name) is None:
        return None, (
            f'pip:{name} is not installed; to have it weighed: pip install "plait[pretrained]"'
        )
    fits, why = suits(cells, settings)
    return (f"pip:{name}" if fits else None), why


def _pictures(cells: Iterable[object], settings: Settings) -> tuple[bool, str]:
    state: Any = registry.get("image").fit(cells, settings)
    if state["channels"] == 1:
        return False, "its pictures are grey, and the packaged model knows photographs"
    if state["size"] < MIN_SIDE:
        return False, f"its pictures are {state['size']} px wide, less than {MIN_SIDE}"
    return True, f"colour pictures of {MIN_SIDE} px or more"


def _texts(cells: Iterable[object], settings: Settings) -> tuple[bool, str]:
    """Whether the model's vocabulary was made for such text: few pieces a word."""
    seen = islice(_readable(cells, settings), SAMPLED_TEXTS)
    texts = [" ".join(_WORD.findall(text[:MAX_CHARACTERS])) for text in seen]
    words = sum(map(len, map(str.split, texts)))
    if not words:
        return False, "it holds no words"
    state = text_state(find_packaged(TEXT).folder)
    lengths: Any = registry.get("text").prepare(texts, state, settings).lengths
    fertility = (int(lengths.sum()) - MARKS * len(texts)) / words
    measured = f"{fertility:.2f} subwords a word in the packaged model's vocabulary"
    fits = fertility <= MAX_FERTILITY
    return fits, f"{measured}, {'at most' if fits else 'more than'} {MAX_FERTILITY}"


def _readable(cells: Iterable[object], settings: Settings) -> Iterator[str]:
    for cell in cells:
        if is_missing(cell):
            continue
        with suppress(CellError):
            yield to_text(cell, settings.media.limits)


CHOICES: dict[str, tuple[str, Callable[[Iterable[object], Settings], tuple[bool, str]]]] = {
    "image": (IMAGE, _pictures),
    "text": (TEXT, _texts),
}
"""Modality → the packaged model that ``best`` may take, and whether it suits a column's cells."""
