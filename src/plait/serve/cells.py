"""Values of a request to cells. Media come as bytes alone: no path and no URL is ever followed."""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from plait.data.modalities import registry
from plait.data.modalities.signal import is_inline
from plait.errors import printable, suggest
from plait.serve.problem import Problem, wrong

_EXACT_DIGITS = 18
"""Digits of a whole number that int64 holds, whatever they are."""

_SHAPE = '{"base64": "..."}'

Cells = dict[str, list[object]]
"""Column → its cells, one a row."""


def row_cells(row: Any, modalities: Mapping[str, str], where: str) -> dict[str, object]:
    """One row of a JSON request.

    Args:
        modalities: column → modality, of the columns that the model reads.
        where: the row, for messages.

    Raises:
        Problem: the row is no object, or has a column or a value that the model cannot read.
    """
    if not isinstance(row, dict):
        raise wrong(f"{where} is {_kind(row)}, expected an object from column names to cells.")
    check_columns(row, modalities, where)
    return {
        name: _cell(value, modalities[name], f"{where}, column '{printable(name)}'")
        for name, value in row.items()
    }


def check_columns(names: Mapping[str, Any], modalities: Mapping[str, str], where: str) -> None:
    """Refuse columns that the model does not read."""
    for name in names:
        if name not in modalities:
            raise wrong(
                f"{where}: the model has no column '{printable(name)}'."
                f"{suggest(name[:200], modalities)} Its columns: {', '.join(modalities)}."
            )


def part_cell(data: bytes, filename: str | None, modality: str, where: str) -> object:
    """The cell of a part of a multipart form.

    Args:
        filename: what the client calls the file; its ending tells how to read some kinds.
    """
    kind = registry.get(modality)
    if not kind.media or filename is None:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise wrong(f"{where} holds bytes that are not UTF-8 text.") from None
        if not kind.media or (kind.listed and is_inline(text)):
            return text
        raise wrong(f"{where} is text, expected a file: curl -F '{modality}=@file'.")
    return _media(data, filename)


def columns_of(rows: Sequence[Mapping[str, object]]) -> Cells:
    """Rows turned into columns; a column that no row has is left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _cell(value: Any, modality: str, where: str) -> object:
    if value is None:
        return None
    kind = registry.get(modality)
    if kind.listed and isinstance(value, list | str):
        return _listed(value, where)
    if kind.media:
        return _encoded(value, modality, where)
    if isinstance(value, str):
        if _has_half_character(value):
            raise wrong(f"{where} holds a lone surrogate, which is half a character.")
        return value
    if isinstance(value, dict | list):
        raise wrong(f"{where} is {_kind(value)}, expected a text, a number, true or false.")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_EXACT_DIGITS:
        return str(value) if kind.words or kind.nominal else _float(value, where)
    return value


def _listed(value: list[Any] | str, where: str) -> object:
    """Numbers in a list, or in a list for each step; or a text of numbers."""
    if isinstance(value, str):
        if is_inline(value):
            return value
        raise wrong(f"{where} is a text, expected a list of numbers or {_SHAPE}. {_NO_PATHS}")
    for step in value:
        for number in step if isinstance(step, list) else [step]:
            if isinstance(number, bool) or not isinstance(number, int | float | None):
                raise wrong(f"{where} holds {_kind(number)} among its numbers.")
            if isinstance(number, int):
                _float(number, where)
    gaps = [math.nan if step is None else step for step in value]
    return [
        [math.nan if number is None else number for number in step]
        if isinstance(step, list)
        else step
        for step in gaps
    ]


_NO_PATHS = "Paths and URLs are not followed."


def _encoded(value: Any, modality: str, where: str) -> object:
    """Bytes in base64, with the file's name where one is given."""
    if not isinstance(value, dict):
        expected = f"{where} is {_kind(value)}, expected {_SHAPE} for a column of kind {modality}."
        raise wrong(f"{expected} {_NO_PATHS}")
    if "url" in value or "path" in value or "uri" in value:
        raise Problem(
            422, "refused", f"{where} names a file or an address. {_NO_PATHS} Send {_SHAPE}."
        )
    extra = sorted(value.keys() - {"base64", "name"})
    if extra or not isinstance(value.get("base64"), str):
        odd = f"has '{printable(extra[0])}'" if extra else "has no string 'base64'"
        raise wrong(f"{where} {odd}, expected {_SHAPE}.")
    name = value.get("name")
    if not isinstance(name, str | None):
        raise wrong(f"{where}: 'name' is {_kind(name)}, expected the name of a file.")
    text = value["base64"]
    if text.startswith("data:"):
        raise Problem(422, "refused", f"{where} is a data URL. Send only what follows its comma.")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = str(error).rstrip(".").lower()
        raise wrong(f"{where} is not base64: {printable(reason)}.") from None
    return _media(data, name)


def _media(data: bytes, filename: str | None) -> object:
    """Bytes, and the last part of a file's name, which is looked at for its ending and never opened."""
    if not filename:
        return data
    name = PurePosixPath(PureWindowsPath(filename).as_posix()).name
    name = "".join(c for c in name[-120:] if c.isprintable())
    return {"bytes": data, "path": name} if name else data


def _float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise wrong(
            f"{where} is a number of {len(str(value))} digits, which is too large."
        ) from None


def _has_half_character(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number")
