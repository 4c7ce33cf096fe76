"""Parquet and Arrow files, and folders of media, as tables."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plait.data.modalities.registry import MODALITIES
from plait.data.table import build
from plait.data.table.arrow import (
    check_types,
    plain_batch,
    plain_schema,
    plain_type,
    reason,
)
from plait.data.table.names import check_names
from plait.data.table.spill import cached, collect
from plait.errors import TableError


def read_parquet(path: Path, folder: Path, key: str) -> tuple[pa.Table, list[str]]:
    """A Parquet file as a table, some thousand rows at a time.

    Raises:
        TableError: for extension types, duplicate names and files that are no Parquet.
    """
    try:
        with pq.ParquetFile(path) as file:
            original = file.schema_arrow
            check_types(original, str(path))
            names, notes = check_names(original.names, str(path))
            keep = [i for i, name in enumerate(names) if not name.startswith("__index_level_")]
            if len(keep) < len(names):
                notes.append("the pandas index stored in the file is not a column")
            known = cached(folder, key)
            if known is not None:
                return known, notes
            fields = plain_schema(original)
            schema = pa.schema([fields.field(i).with_name(names[i]) for i in keep])
            batches = (plain_batch(b.select(keep), schema) for b in _parquet_batches(file))
            return collect(batches, schema, folder=folder, key=key), notes
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path} cannot be read as Parquet: {reason(error)}.") from None


def _parquet_batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Row group after row group, in batches of about 4 MiB by the file's own figures."""
    metadata = file.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    rows = 4 * 2**20 * metadata.num_rows // max(size, 1)
    yield from file.iter_batches(batch_size=max(64, min(rows, 65536)))


def read_arrow(path: Path, folder: Path, key: str) -> tuple[pa.Table, list[str]]:
    """An Arrow or Feather file as a table: its own pages where they are not compressed.

    Raises:
        TableError: for extension types, duplicate names, and files that are damaged or no Arrow.
    """
    try:
        reader = _arrow_reader(path)
        check_types(reader.schema, str(path))
        names, notes = check_names(reader.schema.names, str(path))
        before = pa.total_allocated_bytes()
        batches = list(_first_batches(reader))
        copied = pa.total_allocated_bytes() - before
        compressed = copied > sum(batch.nbytes for batch in batches) // 2
        if not compressed and all(_mappable(kind) for kind in reader.schema.types):
            table = _whole(reader, batches)
            for batch in table.to_batches():
                batch.validate(full=True)  # offsets that point outside would read foreign memory
            return table.rename_columns(names), notes
        known = cached(folder, key)
        if known is not None:
            return known, notes
        schema = pa.schema(
            [f.with_name(n) for f, n in zip(plain_schema(reader.schema), names, strict=True)]
        )
        del batches
        plain = (plain_batch(batch, schema) for batch in _all_batches(_arrow_reader(path)))
        return collect(plain, schema, folder=folder, key=key), notes
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"{path} cannot be read as an Arrow or Feather (version 2) file: {reason(error)}."
        ) from None


def _mappable(kind: pa.DataType) -> bool:
    """Whether cells of this type can be picked by row as they lie in a file."""
    if pa.types.is_dictionary(kind):
        return _mappable(kind.value_type)
    return bool(plain_type(kind) == kind or pa.types.is_string(kind) or pa.types.is_binary(kind))


def _arrow_reader(path: Path) -> Any:
    """The file, or the stream: Hugging Face writes the latter."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path)))


def _first_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """The first batch, if there is one."""
    if isinstance(reader, pa.RecordBatchFileReader):
        if reader.num_record_batches:
            yield reader.get_batch(0)
    else:
        yield from (batch for batch, _ in zip(reader, range(1), strict=False))


def _all_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """Every batch, checked."""
    if isinstance(reader, pa.RecordBatchFileReader):
        stream: Iterator[Any] = map(reader.get_batch, range(reader.num_record_batches))
    else:
        stream = iter(reader)
    for batch in stream:
        batch.validate(full=True)
        yield batch


def _whole(reader: Any, first: list[pa.RecordBatch]) -> pa.Table:
    """All batches as a table; a stream has already given its first."""
    if isinstance(reader, pa.RecordBatchFileReader):
        return reader.read_all()
    return pa.Table.from_batches([*first, *reader], reader.schema)


def read_folders(folder: Path) -> tuple[pa.Table, list[str]]:
    """A folder with one subfolder a class as a table: the media's path, and ``label``.

    The media column is called image, audio, video or signal, by what most files are; other files are
    counted in the notes.

    Raises:
        TableError: for a folder that is empty, that has no subfolders, or that holds no media.
    """
    _refuse_other_folders(folder)
    classes = sorted(
        part for part in folder.iterdir() if part.is_dir() and not part.name.startswith(".")
    )
    files = [(path, part.name) for part in classes for path in _files_below(part)]
    kinds = Counter(kind for path, _ in files if (kind := _media_kind(path)))
    if not kinds:
        raise TableError(
            f"{folder} holds no images, sounds, videos or signals in its subfolders "
            f"({', '.join(part.name for part in classes[:5])}). A folder is a table when each of its "
            "subfolders is a class full of media files; else name the table's file."
        )
    kind = kinds.most_common(1)[0][0]
    rows = [(path, label) for path, label in files if _media_kind(path) == kind]
    notes = [f"{kind}: files below {folder}; label: the subfolder each is in"]
    if len(rows) < len(files):
        odd = next(path for path, _ in files if _media_kind(path) != kind)
        notes.append(f"{len(files) - len(rows)} other files are left out, such as {odd.name}")
    full = {label for _, label in rows}
    if empty := [part.name for part in classes if part.name not in full]:
        notes.append(f"subfolders without {kind} files: {', '.join(empty)}")
    paths = [path.relative_to(folder).as_posix() for path, _ in rows]
    columns = {
        kind: build.plain_cells(paths),
        "label": build.plain_cells([label for _, label in rows]),
    }
    return pa.table(columns), notes


def _media_kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    return next((name for name, part in MODALITIES.items() if suffix in part.folder_suffixes), None)


def _files_below(folder: Path) -> list[Path]:
    """Every file below a folder in the order of its path; hidden ones and linked folders are not."""
    files = []
    for here, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        files += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _refuse_other_folders(folder: Path) -> None:
    """Folders that are something else than a tree of classes, each with what to do."""
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith("."))
    names = {part.name for part in parts}
    if not parts:
        raise TableError(
            f"the folder {folder} is empty. Name a table's file, or a folder of classes."
        )
    if "state.json" in names or "dataset_dict.json" in names:
        raise TableError(
            f"{folder} is a Hugging Face dataset saved to disk. Open it with "
            f"datasets.load_from_disk('{folder}') and pass what that returns."
        )
    tables = [
        part.name for part in parts if part.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet")
    ]
    if tables:
        raise TableError(
            f"{folder} is a folder that holds the table '{tables[0]}'. "
            f"Name the file: {folder / tables[0]}"
        )
    if not any(part.is_dir() for part in parts):
        raise TableError(
            f"{folder} holds files but no subfolders. A folder is a table when each of its subfolders "
            "is a class full of media files; else name the table's file."
        )
