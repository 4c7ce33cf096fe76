"""Prepared arrays back to cells, in the user's own terms: the way of `prepare` in the other direction.

What ``prepare`` throws away does not come back: an image has the prepared size, a text is in lower
case, a sound is heard through its log-mel bands.
"""

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders

from plait.data.modalities.base import Prepared
from plait.data.modalities.datetime import EPOCH, moment_features
from plait.data.modalities.griffin_lim import listen

State = dict[str, Any]

NEAR = 366
"""Days around the position in time that are looked at for a date that fits its other features."""

_BYTES = decoders.ByteLevel()
_DIGIT = re.compile("Ġ([0-9])")
_MARK = re.compile("(?<=[0-9])Ġ([].,:;%/)'\"-])")


def restore(modality: str, prepared: Prepared, state: State) -> list[Any]:
    """The cells that these arrays stand for; None where there is none.

    Returns:
        numeric: float. categorical: the category's text. datetime: `datetime.date`, or
        `datetime.datetime` where the column has times. text: str. image: ``uint8 [height, width,
        channels]``. video: ``uint8 [frames, height, width, channels]``. audio: ``float32 [samples]`` at
        the state's rate. signal: ``float32 [steps]``, ``[steps, leads]`` or ``[leads, steps]``, as the
        column's own cells are.
    """
    found = RESTORE[modality](prepared, state)
    return [
        cell if there else None
        for cell, there in zip(found, prepared.present.tolist(), strict=True)
    ]


def _numbers(prepared: Prepared, state: State) -> list[Any]:
    """``x * scale + center``, within what the training cells held, six digits of it."""
    values = prepared.values[:, 0].astype(np.float64) * state["scale"] + state["center"]
    values = np.clip(values, state["minimum"], state["maximum"])
    return [float(f"{value:.6g}") for value in values.tolist()]


def _categories(prepared: Prepared, state: State) -> list[Any]:
    known = [None, *state["values"]]
    return [known[index] for index in prepared.values.tolist()]


def _dates(prepared: Prepared, state: State) -> list[Any]:
    return [_date(features, state) for features in prepared.values.astype(np.float64)]


def _date(features: np.ndarray, state: State) -> date | datetime | None:
    """The day whose features lie nearest, among those within a year of the position in time.

    The time of the day is the angle of its sine and cosine. None where the position lies outside the
    years 1 to 9999.
    """
    clock = timedelta(0)
    if state["times"]:
        turn = np.arctan2(features[7], features[8]) / (2 * np.pi) % 1.0
        clock = timedelta(minutes=round(turn * 24 * 60) % (24 * 60))
    try:
        near = EPOCH + timedelta(seconds=state["mean"] + float(features[0]) * state["std"])
        midnight = near.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [midnight + clock + timedelta(days=n) for n in range(-NEAR, NEAR + 1)]
    except OverflowError:
        return None
    told = moment_features(days, state)[:, : len(features)]
    best = days[int(np.square(told - features).sum(axis=1).argmin())]
    return best if state["times"] else best.date()


def _texts(prepared: Prepared, state: State) -> list[Any]:
    """The subwords joined, as characters.

    The tokenizer puts a space before every digit, and before what follows one. It is taken away before
    digits, and between a digit and a mark; before a letter it stays: ``3rd`` comes back as ``3 rd``.
    """
    tokenizer = _tokenizer(json.dumps(state["tokenizer"], sort_keys=True))
    found = []
    for ids in _cells(prepared):
        subwords = "".join(tokenizer.id_to_token(index) or "" for index in ids.tolist())
        joined = _MARK.sub(r"\1", _DIGIT.sub(r"\1", subwords))
        found.append(_BYTES.decode([joined]).replace("\ufffd", "").strip())
    return found


@lru_cache(maxsize=8)
def _tokenizer(described: str) -> Tokenizer:
    return Tokenizer.from_str(described)


def _pictures(prepared: Prepared, state: State) -> list[Any]:
    return list(prepared.values)


def _sounds(prepared: Prepared, state: State) -> list[Any]:
    return [listen(frames, state)[0] for frames in _cells(prepared)]


def _signals(prepared: Prepared, state: State) -> list[Any]:
    """Scaled back, each step repeated by the stride, so that time runs as in the column's cells."""
    found = []
    for steps in _cells(prepared):
        signal = steps * np.array(state["std"]) + np.array(state["mean"])
        signal = signal.repeat(int(state["stride"]), axis=0).astype(np.float32)
        if signal.shape[1] == 1 and not state["leads_first"]:
            signal = signal[:, 0]
        found.append(signal.T if state["leads_first"] else signal)
    return found


def _cells(prepared: Prepared) -> list[np.ndarray]:
    """Each ragged cell's own steps."""
    lengths = np.zeros(0, np.int64) if prepared.lengths is None else prepared.lengths
    return np.split(prepared.values, np.cumsum(lengths)[:-1]) if len(lengths) else []


RESTORE: dict[str, Callable[[Prepared, State], list[Any]]] = {
    "numeric": _numbers,
    "categorical": _categories,
    "datetime": _dates,
    "text": _texts,
    "image": _pictures,
    "video": _pictures,
    "audio": _sounds,
    "signal": _signals,
}
"""Modality → how its prepared arrays become cells again."""
