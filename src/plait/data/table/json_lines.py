"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plait.errors import TableError


def json_blocks(path: Path, block: int) -> Iterator[list[dict[str, Any]]]:
    """Rows of a JSON Lines file, some megabytes at a time."""
    rows: list[dict[str, Any]] = []
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            rows.append(_json_row(path, number, line))
            size += len(line)
            if size >= block:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _json_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """One line as a dict."""
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}, line {number} is not UTF-8: byte {error.start} of the line is "
            f"0x{line[error.start]:02x}. Save the file as UTF-8."
        ) from None
    except (ValueError, RecursionError) as error:
        raise TableError(
            f"{path}, line {number} is not JSON ({error}). JSON Lines holds one object per line: "
            '{"text": "good", "label": 1}'
        ) from None
    if not isinstance(row, dict):
        raise TableError(
            f"{path}, line {number} is a JSON {type(row).__name__}, not an object. JSON Lines holds "
            'one object per line: {"text": "good", "label": 1}'
        )
    return row
