"""Names of columns and shapes of tables given as Python values, before any cell is looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from plait.errors import TableError


def check_names(names: Sequence[str], table: str) -> tuple[list[str], list[str]]:
    """Column names without blanks around them, and a note for each column that had no name.

    Raises:
        TableError: for a table without columns, and for names that occur twice.
    """
    if not names:
        raise TableError(f"{table} has no columns. A table needs at least one column and one row.")
    stripped = [str(name).strip().lstrip("\ufeff") for name in names]
    notes = []
    for position, name in enumerate(stripped):
        if not name:
            stripped[position] = f"column_{position + 1}"
            notes.append(f"column {position + 1} has no name; it is called '{stripped[position]}'")
    twice = sorted({name for name in stripped if stripped.count(name) > 1})
    if twice:
        raise TableError(
            f"{table} has more than one column named {', '.join(map(repr, twice))}. "
            "Rename the columns so that each name occurs once."
        )
    return stripped, notes


def checked_columns(columns: Mapping[Any, Any], name: str) -> tuple[list[str], list[str]]:
    """The names of a dict of lists, as `check_names` gives them.

    Raises:
        TableError: for columns of different lengths, and for values that are no lists.
    """
    names, notes = check_names([str(key) for key in columns], name)
    single = [
        key for key, cells in columns.items() if isinstance(cells, str | bytes) or not _sized(cells)
    ]
    if single:
        raise TableError(
            f"{name} maps '{single[0]}' to {type(columns[single[0]]).__name__}, and a table needs a "
            "list of cells for each column. For a single row, pass a list that holds the dict: [row]."
        )
    lengths = {key: len(cells) for key, cells in zip(names, columns.values(), strict=True)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"'{key}' {count}" for key, count in lengths.items())
        raise TableError(
            f"the columns of {name} differ in length: {listed}. Each needs one cell per row."
        )
    return names, notes


def _sized(cells: Any) -> bool:
    return (
        hasattr(cells, "__len__")
        and hasattr(cells, "__getitem__")
        and not isinstance(cells, Mapping)
    )


def columns_of(rows: Sequence[Any], name: str) -> dict[Any, list[Any]]:
    """A list of dicts as a dict of lists: the union of their keys, in the order first seen.

    Raises:
        TableError: naming the first element that is no dict.
    """
    keys: dict[Any, None] = {}
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TableError(
                f"element {position} of {name} is {type(row).__name__}, not a dict. A list of rows "
                "holds one dict per row, from column name to cell."
            )
        keys.update(dict.fromkeys(row))
    return {key: [row.get(key) for row in rows] for key in keys}
