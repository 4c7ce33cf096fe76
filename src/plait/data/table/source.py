"""Open a table, wherever it is: files, folders, frames, lists, Arrow streams."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plait.data.table.base import Rows, Table
from plait.data.table.table_cache import cache_folder, cache_key
from plait.errors import TableError, error_line, suggest

__all__ = ["ENDINGS", "Rows", "Table", "open_table"]


def open_table(
    source: Any,
    *,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    empty: bool = False,
) -> Table:
    """Open a table. Nothing inside it is executed.

    Args:
        source: a path to CSV, TSV, JSON Lines, Parquet, Arrow or Feather; a folder with one subfolder of
            media a class; a pandas or polars frame, a pyarrow Table or RecordBatchReader, a list of
            dicts, a dict of lists, a Hugging Face dataset, or anything else with
            ``__arrow_c_stream__``. A `Table` passes through. Without pyarrow only those of
            `plait.data.table.list_tables`.
        root: the folder that paths in media cells are relative to. Default: the folder the table's file
            is in; for tables in memory None: paths start from the working folder and may lead anywhere.
        cache: where tables of more than 8 MiB are kept as memory-mapped files. Default:
            ``$PLAIT_CACHE/tables``, else ``~/.cache/plait/tables``.
        empty: whether a table without rows is welcome, as it is when answers are asked for.

    Raises:
        TableError: saying what was found, what was expected and how to mend it.
        MissingExtra: such a table needs pyarrow, which is not installed.
    """
    if root is not None and not Path(root).is_dir():
        raise TableError(
            f"root='{root}' is not a folder. Name the folder that media paths start from."
        )
    if isinstance(source, Table):
        return source if root is None else replace(source, root=Path(root), named_root=True)
    folder = cache_folder(cache)
    if isinstance(source, str | Path):
        path = Path(source)
        (data, notes), name = _read_path(path, str(source), folder), path.name
        place: Path | None = path if path.is_dir() else path.parent
    else:
        data, notes, name = _ways().read_object(source, folder)
        place = None
    table = _ways().TABLE(
        data, place if root is None else Path(root), root is not None, name, tuple(notes)
    )
    if not table.columns:
        raise TableError(f"{name} has no columns. A table needs at least one column and one row.")
    if not table.rows and not empty:
        raise TableError(
            f"{name} has no rows, only the columns {', '.join(table.columns)}. "
            "A table needs at least one row."
        )
    return table


def _ways() -> Any:
    """How tables are opened here: by Arrow, or where it is not installed by lists."""
    try:
        from plait.data.table import arrow_tables
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        from plait.data.table import list_tables as listed

        return listed
    return arrow_tables


ENDINGS = (
    ".csv",
    ".tsv",
    ".tab",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".ipc",
)
"""What the names of files end in that are tables."""

_PICKLES = [
    ".pkl",
    ".pickle",
    ".joblib",
    ".dill",
    ".pt",
    ".pth",
    ".ckpt",
    ".npz",
    ".npy",
    ".h5",
    ".hdf5",
    ".mat",
    ".rds",
]
_ADVICE = {
    ".xlsx": "Save the sheet as CSV UTF-8.",
    ".xls": "Save the sheet as CSV UTF-8.",
    ".ods": "Save the sheet as CSV UTF-8.",
    ".json": "Write one object per line and call it .jsonl.",
    ".gz": "Unpack it first (gunzip), or save it as Parquet, which is compressed too.",
    ".zip": "Unpack it first.",
    ".zst": "Unpack it first.",
    ".txt": "If it is a table of text, call it .csv or .tsv.",
    ".orc": "Save it as Parquet.",
    ".sqlite": "Query it into a frame and pass that.",
    ".db": "Query it into a frame and pass that.",
}


def _read_path(path: Path, given: str, folder: Path) -> tuple[Any, Sequence[str]]:
    """The file or folder a user named."""
    if "://" in given:
        raise TableError(f"{given} is an address, and plait opens files. Download it first.")
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise TableError(
            f"{path} is a {suffix} file. plait never opens pickles, which can run code when they are "
            "read, nor other containers of objects. Save the table as Parquet: "
            "frame.to_parquet('table.parquet')"
        )
    if not path.exists():
        raise TableError(f"there is no file '{path}'.{_similar(path)}")
    try:
        if path.is_dir():
            return _ways().read_folders(path)
        if suffix not in ENDINGS:
            advice = _ADVICE.get(suffix, "")
            raise TableError(
                f"{path} ends in '{suffix}', which plait cannot read as a table. {advice}".rstrip()
                + f" It reads {', '.join(ENDINGS)} and folders with one subfolder per class."
            )
        return _ways().READERS[suffix](path, folder, cache_key(path, suffix))
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error_line(error)}.") from None


def _similar(path: Path) -> str:
    """What is there instead of a path that does not exist."""
    if path.parent.is_dir():
        names = sorted(part.name for part in path.parent.iterdir())
        hint = suggest(path.name, names)
        tables = [name for name in names if Path(name).suffix.lower() in ENDINGS][:8]
        return hint or (f" {path.parent} holds {', '.join(tables)}." if tables else "")
    return f" There is no folder '{path.parent}' either."
