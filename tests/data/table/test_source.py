"""Every kind of source gives the same table, and every bad one says what to do."""

import datetime
import decimal
import json
import subprocess
import sys
import threading
from pathlib import Path

import datasets
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from plait.data.table import delimited, header, objects, spill
from plait.data.table.arrow_tables import ArrowTable
from plait.data.table.header import read_header
from plait.data.table.source import open_table
from plait.data.table.table_cache import cache_folder, cache_key
from plait.errors import TableError

ROWS = [
    {"text": "good, really", "note": "a", "kind": "x"},
    {"text": 'two\nlines "quoted"', "note": None, "kind": "y"},
    {"text": "你好 🙂", "note": "c", "kind": "x"},
    {"text": None, "note": "d", "kind": "x"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    monkeypatch.setattr(
        datasets.config, "TORCH_AVAILABLE", False
    )  # it would import torch to stream
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "plait-cache"))


def _stream(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as w,
    ):
        w.write_table(table)
    return tmp_path / "t.arrow"


def _csv(tmp_path, name="t.csv", sep=",", encoding="utf-8"):
    pandas.DataFrame(ROWS).to_csv(tmp_path / name, index=False, sep=sep, encoding=encoding)
    return tmp_path / name


def _feather(tmp_path, compression):
    path = tmp_path / f"t-{compression}.feather"
    pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS), str(path), compression=compression)
    return path


def _json(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    return path


def _parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet", row_group_size=2)
    return tmp_path / "t.parquet"


class Capsule:
    """Nothing but the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.Table.from_pylist(ROWS).__arrow_c_stream__(requested_schema)


SOURCES = {
    "csv": _csv,
    "csv as text path": lambda tmp: str(_csv(tmp)),
    "csv with BOM": lambda tmp: _csv(tmp, encoding="utf-8-sig"),
    "csv with semicolons": lambda tmp: _csv(tmp, sep=";"),
    "tsv": lambda tmp: _csv(tmp, "t.tsv", "\t"),
    "jsonl": lambda tmp: _json(tmp, "t.jsonl"),
    "ndjson": lambda tmp: _json(tmp, "t.ndjson"),
    "parquet": _parquet,
    "feather": lambda tmp: _feather(tmp, "uncompressed"),
    "compressed feather": lambda tmp: _feather(tmp, "lz4"),
    "arrow stream": _stream,
    "pandas": lambda tmp: pandas.DataFrame(ROWS),
    "pandas objects": lambda tmp: pandas.DataFrame(ROWS, dtype=object),
    "pandas categories": lambda tmp: pandas.DataFrame(ROWS).astype({"kind": "category"}),
    "polars": lambda tmp: polars.DataFrame(ROWS),
    "polars categories": lambda tmp: polars.DataFrame(ROWS).cast({"kind": polars.Categorical}),
    "pyarrow": lambda tmp: pa.Table.from_pylist(ROWS),
    "pyarrow batch": lambda tmp: pa.RecordBatch.from_pylist(ROWS),
    "pyarrow reader": lambda tmp: pa.Table.from_pylist(ROWS).to_reader(max_chunksize=2),
    "capsule": lambda tmp: Capsule(),
    "list of dicts": lambda tmp: ROWS,
    "tuple of dicts": lambda tmp: tuple(ROWS),
    "dict of lists": lambda tmp: COLUMNS,
    "hugging face": lambda tmp: datasets.Dataset.from_list(ROWS),
    "hugging face, reordered": lambda tmp: datasets.Dataset.from_list(ROWS[::-1]).select(
        [3, 2, 1, 0]
    ),
    "hugging face, streamed": lambda tmp: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "table": lambda tmp: open_table(ROWS),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_table(kind, tmp_path):
    source = SOURCES[kind](tmp_path)
    table = open_table(source)
    assert table.rows == 4
    assert table.columns == ["text", "note", "kind"]
    for name, cells in COLUMNS.items():
        assert table.cells(name) == cells
        assert table.cells(name, np.array([3, 0, 0])) == [cells[3], cells[0], cells[0]]
        assert table.cells(name, slice(1, 3)) == cells[1:3]
    on_disk = isinstance(source, str | Path)
    assert table.root == (tmp_path if on_disk else None)
    assert not table.named_root


def test_a_named_root_is_kept_and_must_exist(tmp_path):
    table = open_table(ROWS, root=tmp_path)
    assert (table.root, table.named_root) == (tmp_path, True)
    again = open_table(open_table(ROWS), root=str(tmp_path))
    assert (again.root, again.named_root) == (tmp_path, True)
    with pytest.raises(TableError, match="root='.*nowhere' is not a folder"):
        open_table(ROWS, root=tmp_path / "nowhere")


def test_cells_by_mask_step_and_number():
    table = open_table({"a": list(range(10))})
    assert table.cells("a", np.arange(10) > 7) == [8, 9]
    assert table.cells("a", slice(None, None, 4)) == [0, 4, 8]
    assert table.cells("a", np.array([], dtype=int)) == []
    with pytest.raises(IndexError, match="between 0 and 9"):
        table.cells("a", np.array([10]))
    with pytest.raises(IndexError):
        table.cells("a", np.array([-1]))


def test_chunks_cover_every_row_once():
    table = open_table(
        pa.concat_tables([pa.table({"a": range(i * 7, i * 7 + 7)}) for i in range(9)])
    )
    assert [c for part in table.chunks("a", size=10) for c in part] == list(range(63))
    assert [c for part in table.chunks("a", slice(5, 50), 10) for c in part] == list(range(5, 50))
    mask = np.arange(63) % 3 == 0
    assert [c for part in table.chunks("a", mask, 4) for c in part] == list(range(0, 63, 3))
    order = np.random.default_rng(0).permutation(63)
    assert [c for part in table.chunks("a", order, 10) for c in part] == order.tolist()
    assert {len(part) for part in table.chunks("a", size=21)} == {21}


def test_take_slice_select_require():
    table = open_table(ROWS)
    assert table.take(np.array([2, 0])).cells("note") == ["c", "a"]
    assert table.slice(1, 3).cells("kind") == ["y", "x"]
    assert table.slice(3, 99).rows == 1
    assert table.select(["kind"]).columns == ["kind"]
    table.require(["text"])
    with pytest.raises(TableError) as caught:
        table.require(["text", "nots", "zzz"])
    assert str(caught.value) == (
        "this list of 4 rows has no column 'nots'. Did you mean 'note'? no column 'zzz'. "
        "Its columns: text, note, kind."
    )


def test_arrow_types_become_python_cells():
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    table = open_table(
        pa.table(
            {
                "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
                "view": pa.array(["a", " ", None], pa.string_view()),
                "bytes view": pa.array([b"a", b"", None], pa.binary_view()),
                "decimal": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal("2")]),
                "nanoseconds": pa.array([moment, None, moment], pa.timestamp("ns", "UTC")),
                "time": pa.array([datetime.time(1, 2), None, None], pa.time64("ns")),
                "duration": pa.array(
                    [datetime.timedelta(minutes=1), None, None], pa.duration("ns")
                ),
                "date": pa.array([datetime.date(2020, 1, 2), None, None]),
                "far": pa.array([10**14, None, 0], pa.int64()).cast(pa.timestamp("s")),
                "nan": pa.array([float("nan"), None, 1.0]),
                "struct": pa.array([{"bytes": b"x", "path": "p"}, None, None]),
                "texts": pa.array([["a", "b"], None, []]),
                "runs": pa.RunEndEncodedArray.from_arrays([2, 3], ["p", "q"]),
                "flag": pa.array([True, None, False]),
            }
        )
    )
    assert table.cells("dictionary") == ["a", None, "a"]
    assert table.cells("view") == ["a", None, None]
    assert table.cells("bytes view") == [b"a", b"", None]
    assert table.cells("decimal") == [1.5, None, 2.0]
    assert table.cells("nanoseconds") == [moment, None, moment]
    assert type(table.cells("nanoseconds")[0]) is datetime.datetime
    assert table.cells("time") == [datetime.time(1, 2), None, None]
    assert table.cells("duration") == [60.0, None, None]
    assert table.cells("date") == [datetime.date(2020, 1, 2), None, None]
    assert "out of range" in table.cells("far")[0]  # text, which no modality takes for a date
    assert table.cells("nan") == [None, None, 1.0]
    assert table.cells("struct") == [{"bytes": b"x", "path": "p"}, None, None]
    assert table.cells("texts") == [["a", "b"], None, []]
    assert table.cells("runs") == ["p", "p", "q"]
    assert table.cells("flag") == [True, None, False]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16(), pa.int16()])
def test_lists_of_numbers_are_arrays(kind):
    lists = [np.array([1, 2, 3]), None, np.array([]), np.array([4])]
    column = pa.array(
        [None if x is None else x.astype(kind.to_pandas_dtype()) for x in lists], pa.list_(kind)
    )
    cells = open_table(pa.table({"a": column})).cells("a", slice(0, 4))
    assert cells[1] is None
    assert [cells[i].tolist() for i in (0, 2, 3)] == [[1, 2, 3], [], [4]]
    assert cells[0].dtype == kind.to_pandas_dtype()
    assert open_table(pa.table({"a": column})).cells("a", np.array([3]))[0].tolist() == [4]


def test_leads_and_gaps_in_lists():
    table = open_table({"two": [[[1, 2], [3, 4]], None], "gap": [[1.0, None], [2.0]]})
    assert np.array(table.cells("two")[0]).tolist() == [[1, 2], [3, 4]]
    assert np.isnan(table.cells("gap")[0][1])
    fixed = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2))
    assert open_table(pa.table({"f": fixed})).cells("f", slice(1, 2))[0].tolist() == [3, 4]


def test_hugging_face_media_stay_structs_and_class_numbers_get_names(tmp_path):
    from PIL import Image

    picture = tmp_path / "a.png"
    Image.new("L", (2, 2)).save(picture)
    features = datasets.Features(
        {"image": datasets.Image(), "y": datasets.ClassLabel(names=["cat", "dog"])}
    )
    data = datasets.Dataset.from_dict(
        {"image": [str(picture)] * 3, "y": [0, 1, -1]}, features=features
    )
    for source, order in ((data, [0, 1, 2]), (data.select([1, 0, 2]), [1, 0, 2])):
        table = open_table(source)
        assert table.cells("y") == [["cat", "dog", None][i] for i in order]
        assert table.cells("image")[0] == {"bytes": None, "path": str(picture)}
        assert "y: class numbers are shown by their names" in table.notes


def test_hugging_face_splits_must_be_chosen(tmp_path):
    both = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(TableError, match=r"holds the splits train. Pass one: dataset\['train'\]"):
        open_table(both)
    both.save_to_disk(tmp_path / "saved", num_proc=None)
    with pytest.raises(TableError, match="saved to disk. Open it with datasets.load_from_disk"):
        open_table(tmp_path / "saved")


def _tree(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_of_classes_is_a_table(tmp_path):
    _tree(tmp_path, ["dog/b.PNG", "dog/a.jpg", "cat/deep/c.png", "cat/notes.txt", ".git/x.png"])
    (tmp_path / "empty").mkdir()
    table = open_table(tmp_path)
    assert table.columns == ["image", "label"]
    assert table.cells("image") == ["cat/deep/c.png", "dog/a.jpg", "dog/b.PNG"]
    assert table.cells("label") == ["cat", "dog", "dog"]
    assert table.root == tmp_path
    assert table.notes[1:] == (
        "1 other files are left out, such as notes.txt",
        "subfolders without image files: empty",
    )


def test_a_folder_of_sounds_is_named_audio(tmp_path):
    assert open_table(_tree(tmp_path, ["a/1.wav", "b/2.flac"])).columns == ["audio", "label"]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], "is empty. Name a table's file"),
        (["a.png"], "holds files but no subfolders"),
        (["a/x.txt"], "holds no images, sounds, videos or signals in its subfolders (a)"),
        (["train.csv", "a/x.png"], "is a folder that holds the table 'train.csv'. Name the file: "),
    ],
)
def test_other_folders_say_what_they_lack(tmp_path, files, text):
    with pytest.raises(TableError) as caught:
        open_table(_tree(tmp_path, files))
    assert text in str(caught.value)


BAD_FILES = [
    ("t.csv", b"", "t.csv is empty. A table needs a row of names and rows of cells."),
    (
        "t.csv",
        b"a,b\n",
        "t.csv has no rows, only the columns a, b. A table needs at least one row.",
    ),
    ("t.csv", b"a,b,a\n1,2,3\n", "has more than one column named 'a'. Rename the columns"),
    (
        "t.csv",
        b"a,b\n1,2\n3,4,5\n",
        "row 1 (the first below the names is row 0) has 3 cells where the "
        "header names 2 columns: 3,4,5",
    ),
    ("t.csv", b"a,b\n1\n", "row 0 (the first below the names is row 0) has 1 cell where"),
    ("t.csv", b"a,b\n1,2\n" + b"3,4," + b"y" * 500 + b"\n", "y..."),
    ("t.csv", b"a,b\n1,2\n3,caf\xe9\n", "is not UTF-8: byte 13 (line 3) is 0xe9. Save it as UTF-8"),
    ("t.csv", b"caf\xe9,b\n1,2\n", "is not UTF-8: byte 3 (line 1) is 0xe9"),
    ("t.csv", b"a\nx\xe4", "is not UTF-8: byte 3 (line 2) is 0xe4"),
    ("t.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16, and plait reads UTF-8"),
    (
        "t.csv",
        b'a,b\n1,2\n3,"open\n4,5\n6,7\n',
        "the last row opens a quote that is never closed, at 'open'",
    ),
    ("t.csv", b"\x00\x01\x02" * 9, "t.csv"),
    ("t.jsonl", b'{"a": 1}\n{"a": \n', "t.jsonl, line 2 is not JSON"),
    ("t.jsonl", b'{"a": 1}\n[1]\n', "t.jsonl, line 2 is a JSON list, not an object."),
    ("t.jsonl", b'{"a": "\xe9"}\n', "t.jsonl, line 1 is not UTF-8: byte 7 of the line is 0xe9"),
    ("t.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", "t.jsonl, line 1 is not JSON"),
    ("t.jsonl", b"\n", "t.jsonl has no columns."),
    ("t.jsonl", b"{}\n{}\n", "t.jsonl has no columns."),
    ("t.parquet", b"PAR1 no", "t.parquet cannot be read as Parquet:"),
    ("t.parquet", b"", "t.parquet cannot be read as Parquet:"),
    ("t.arrow", b"nothing", "t.arrow cannot be read as an Arrow or Feather (version 2) file:"),
    ("t.pkl", b"\x80\x04", "is a .pkl file. plait never opens pickles, which can run code"),
    ("t.joblib", b"\x80\x04", "Save the table as Parquet: frame.to_parquet('table.parquet')"),
    ("t.pt", b"", "plait never opens pickles"),
    ("t.npz", b"", "plait never opens pickles"),
    (
        "t.xlsx",
        b"",
        "ends in '.xlsx', which plait cannot read as a table. Save the sheet as CSV UTF-8.",
    ),
    ("t.json", b"[]", "Write one object per line and call it .jsonl. It reads .csv, .tsv"),
    ("t.csv.gz", b"", "Unpack it first (gunzip)"),
    ("t", b"", "ends in '', which plait cannot read as a table. It reads .csv,"),
]


@pytest.mark.parametrize(("name", "content", "text"), BAD_FILES)
def test_bad_files_say_what_is_wrong(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as caught:
        open_table(tmp_path / name)
    assert text in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "train.csv").write_text("a\n1\n")
    with pytest.raises(TableError) as caught:
        open_table(tmp_path / "trian.csv")
    assert str(caught.value).endswith("trian.csv'. Did you mean 'train.csv'?")
    with pytest.raises(TableError, match=r"there is no file '.*zzz'. .* holds train.csv."):
        open_table(tmp_path / "zzz")
    with pytest.raises(TableError, match="There is no folder '.*nowhere' either."):
        open_table(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(
        TableError, match="is an address, and plait opens files. Download it first."
    ):
        open_table("https://example.org/a.csv")


def test_a_file_without_permission(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("a\n1\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(header, "read_header", refuse)
    with pytest.raises(TableError, match=r"a.csv cannot be read: Permission denied."):
        open_table(tmp_path / "a.csv")


BAD_OBJECTS = [
    ([], "the list has no rows."),
    ({}, "this dict has no columns."),
    ({"a": []}, "this dict has no rows, only the columns a."),
    ([{"a": 1}, 7], "element 1 of this list of 2 rows is int, not a dict."),
    ({"a": [1, 2], "b": [1]}, "the columns of this dict differ in length: 'a' 2, 'b' 1."),
    ({"a": "one"}, "this dict maps 'a' to str, and a table needs a list of cells"),
    ({"a": 3}, "For a single row, pass a list that holds the dict: [row]."),
    (
        [{"a": object()}],
        "column 'a' holds object (first in row 0), which one column of a table cannot",
    ),
    ([{"a": 1}, {"a": {"x": [1]}}], "column 'a' holds dict, int (first in row 1)"),
    ([{"a": "x"}, {"a": {"x": 1}}], "column 'a' holds dict, str (first in row 1)"),
    ([{"a": ["x", 1]}, {"a": [{}]}], None),
    (7, "cannot open builtins.int as a table. Give a path"),
    (polars.LazyFrame({"a": [1]}), "as a table. Call .collect() first. Give a path"),
    (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "has more than one column named 'a'"),
    (pandas.DataFrame({"a": [object()]}), "column 'a' holds object (first in row 0)"),
    (pandas.DataFrame(), "this DataFrame has no columns."),
    (pa.table({"a": pa.array([], pa.int8())}), "this Table has no rows, only the columns a."),
    (
        pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a "]),
        "has more than one column named 'a'",
    ),
    (datasets.Dataset.from_dict({"a": []}), "this Dataset has no"),
]


@pytest.mark.parametrize(("source", "text"), BAD_OBJECTS, ids=range(len(BAD_OBJECTS)))
def test_bad_objects_say_what_is_wrong(source, text):
    if text is None:
        return
    with pytest.raises(TableError) as caught:
        open_table(source)
    assert text in str(caught.value)


class Reversed(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "plait.reversed")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def _extensions():
    storage = pa.array([1, 2])
    registered = pa.ExtensionArray.from_storage(Reversed(), storage)
    by_name = pa.field("odd", pa.int64(), metadata={"ARROW:extension:name": "evil.type"})
    nested = pa.StructArray.from_arrays([storage], fields=[by_name])
    return {
        "registered": pa.table({"odd": registered}),
        "named": pa.Table.from_arrays([storage], schema=pa.schema([by_name])),
        "nested": pa.table({"odd": nested}),
        "dictionary": pa.table({"odd": pa.array([[1]], pa.list_(by_name))}),
    }


@pytest.mark.parametrize("kind", ["registered", "named", "nested", "dictionary"])
@pytest.mark.parametrize("ending", [".parquet", ".arrow", "memory", "reader"])
def test_extension_types_are_refused(kind, ending, tmp_path):
    table = _extensions()[kind]
    source = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pq.write_table(table, source)
    elif ending == ".arrow":
        with pa.OSFile(str(source), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        source = table if ending == "memory" else table.to_reader()
    with pytest.raises(TableError) as caught:
        open_table(source)
    assert "column 'odd' has the extension type '" in str(caught.value)
    assert "nothing inside a table is executed. Store the column as plain numbers" in str(
        caught.value
    )


def test_hugging_face_extension_types_are_refused():
    features = datasets.Features({"a": datasets.Array2D((2, 2), "float32")})
    data = datasets.Dataset.from_dict({"a": [np.zeros((2, 2))] * 2}, features=features)
    for source in (data, data.select([1, 0])):
        with pytest.raises(TableError, match="column 'a' has the extension type"):
            open_table(source)


def test_unnamed_columns_get_a_name_and_a_note(tmp_path):
    (tmp_path / "a.csv").write_text(",x\n0,1\n")
    table = open_table(tmp_path / "a.csv")
    assert table.columns == ["column_1", "x"]
    assert table.notes == ("column 1 has no name; it is called 'column_1'",)


def test_delimiter_and_index_are_noted(tmp_path):
    (tmp_path / "a.csv").write_text("\n\na;b\n1;2\n")
    table = open_table(tmp_path / "a.csv")
    assert (table.cells("b"), table.notes) == (["2"], ("cells are separated by ';'",))
    frame = pandas.DataFrame({"a": [1, 2]}, index=pandas.Index(["p", "q"], name="id"))
    assert open_table(frame).notes == (
        "the frame's index is not a column; reset_index() makes it one",
    )
    frame.to_parquet(tmp_path / "a.parquet")
    frame.index.name = None
    frame.to_parquet(tmp_path / "b.parquet")
    assert open_table(tmp_path / "a.parquet").columns == ["a", "id"]
    assert open_table(tmp_path / "b.parquet").columns == ["a"]
    assert open_table(tmp_path / "b.parquet").notes == (
        "the pandas index stored in the file is not a column",
    )


def test_mixed_cells_find_one_type():
    table = open_table(
        [
            {
                "a": 1,
                "b": "p.png",
                "c": "x",
                "d": "\ud800!",
                "e": 2**70,
                "f": {"bytes": b"1"},
                "g": Path("a/b"),
            },
            {"a": "x", "b": b"PNG", "c": ["y", 1], "d": None, "e": 1, "f": "q.png", "g": None},
            {"a": True, "b": None, "c": None, "d": "ok", "e": None, "f": None},
        ]
    )
    assert table.cells("a") == ["1", "x", "True"]
    assert table.cells("b") == [
        {"bytes": None, "path": "p.png"},
        {"bytes": b"PNG", "path": None},
        None,
    ]
    assert table.cells("c") == [["x"], ["y", "1"], None]
    assert table.cells("d") == ["\ufffd!", None, "ok"]
    assert table.cells("e") == [str(2**70), "1", None]
    assert table.cells("f")[:2] == [{"bytes": b"1", "path": None}, {"bytes": None, "path": "q.png"}]
    assert table.cells("g") == ["a/b", None, None]


def test_numpy_cells():
    table = open_table(
        {
            "a": np.arange(3, dtype=np.int32),
            "b": [np.float32(0.5), np.nan, None],
            "c": [np.ones((2, 2)), None, np.zeros((2, 2))],
            "d": [{"x", "y"}, {"x"}, set()],
            "e": [bytearray(b"q"), memoryview(b"r"), None],
            "f": (1, 2.5, None),
        }
    )
    assert table.cells("a") == [0, 1, 2]
    assert table.cells("b") == [0.5, None, None]
    assert np.array(table.cells("c")[0]).shape == (2, 2)
    assert table.cells("d") == [["x", "y"], ["x"], []]
    assert table.cells("e") == [b"q", b"r", None]
    assert table.cells("f") == [1.0, 2.5, None]


def test_pandas_columns_that_arrow_alone_refuses():
    frame = pandas.DataFrame({"a": [1, "x", None], "b": [np.ones((2, 2)), None, np.ones((1, 2))]})
    table = open_table(frame)
    assert table.cells("a") == ["1", "x", None]
    assert table.cells("b")[1] is None


def test_json_types_are_chosen_over_the_whole_file(tmp_path, monkeypatch):
    rows = [{"a": 1, "b": 1, "s": {"x": 1}, "n": None, "t": "k"}] * 50
    rows += [{"a": 2.5, "b": "z", "s": {"y": "q"}, "n": 3, "t": "\ud800"}] * 50
    path = tmp_path / "t.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)), encoding="utf-8")
    table, _ = objects.read_json_lines(path, tmp_path, None, block=200)
    table = ArrowTable(table, None, False, "t")
    assert table.cells("a", np.array([0, 99])) == [1.0, 2.5]
    assert table.cells("b", np.array([0, 99])) == ["1", "z"]
    assert table.cells("s", np.array([0, 99])) == [{"x": 1, "y": None}, {"x": None, "y": "q"}]
    assert table.cells("n", np.array([0, 99])) == [None, 3]
    assert table.cells("t", np.array([0, 99])) == ["k", "\ufffd"]
    path.write_text('{"a": 1}\n' * 9 + '{"a": [1]}\n' * 9)
    with pytest.raises(
        TableError, match="column 'a' holds int64 in some rows and list<.*> in others"
    ):
        objects.read_json_lines(path, tmp_path, None, block=20)


# Tables larger than memory.


def _big_csv(path, rows=20_000):
    path.write_text("a,b\n" + "".join(f'{i},"cell {i}\nof row"\n' for i in range(rows)))
    return path


def test_a_csv_streams_in_blocks(tmp_path):
    path = _big_csv(tmp_path / "big.csv", 2000)
    first = read_header(path)
    batches = list(delimited.read_batches(path, first, block=512))
    assert len(batches) > 50
    assert sum(batch.num_rows for batch in batches) == 2000
    table = ArrowTable(pa.Table.from_batches(batches), None, False, "t")
    assert table.cells("a") == [str(i) for i in range(2000)]
    assert table.cells("b", np.array([1999, 0])) == ["cell 1999\nof row", "cell 0\nof row"]


def test_a_row_longer_than_the_block_is_read(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 300 + "3," + "x" * 5000 + "\n" + "4,5\n" * 300)
    batches = list(delimited.read_batches(path, read_header(path), block=128))
    cells = [cell for batch in batches for cell in batch.column(1).to_pylist()]
    assert cells == ["2"] * 300 + ["x" * 5000] + ["5"] * 300


def test_a_row_longer_than_all_blocks_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_MAX_ROW_BYTES", 1024)
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 300 + '3,"' + "x" * 50000)
    with pytest.raises(
        TableError, match="after row 300 comes a row of more than 0 MiB. A quote that"
    ):
        list(delimited.read_batches(path, read_header(path), block=128))


def test_a_wrong_byte_far_into_a_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(header, "SCAN_BYTES", 64)
    path = tmp_path / "late.csv"
    good = "a,b\n" + "é,ü\n" * 20_000
    path.write_bytes(good.encode() + b"x,\xff\n" + good.encode())
    with pytest.raises(TableError, match=rf"byte {len(good.encode()) + 2} \(line 20002\) is 0xff"):
        open_table(path)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".feather"])
def test_large_tables_live_on_disk_and_open_again_at_once(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "MAX_MEMORY_BYTES", 1000)
    path, cache = tmp_path / f"big{ending}", tmp_path / "cache"
    frame = pandas.DataFrame({"a": [str(i) for i in range(3000)], "b": ["x\ny"] * 3000})
    if ending == ".csv":
        frame.to_csv(path, index=False)
    elif ending == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == ".parquet":
        frame.to_parquet(path, row_group_size=100)
    else:
        frame.to_feather(path)
    table = open_table(path, cache=cache)
    files = list(cache.iterdir())
    assert [file.suffix for file in files] == [".arrow"]
    assert table.cells("a", np.array([2999, 5])) == ["2999", "5"]
    # Mapped pages are the file's: opening allocates next to nothing.
    before, stamp = pa.total_allocated_bytes(), files[0].stat().st_mtime_ns
    again = open_table(path, cache=cache)
    assert pa.total_allocated_bytes() - before < 20_000 or ending == ".feather"
    assert files[0].stat().st_mtime_ns == stamp
    assert again.cells("b") == table.cells("b")
    # Another content, another file; the old one goes.
    frame.iloc[:2000].to_csv(path, index=False) if ending == ".csv" else None
    if ending == ".csv":
        assert open_table(path, cache=cache).rows == 2000
        assert len(list(cache.iterdir())) == 1


def test_a_damaged_cache_file_is_written_anew(tmp_path):
    path, cache = tmp_path / "a.csv", tmp_path / "cache"
    path.write_text("a\n" + "x" * 100 + "\n")
    folder = cache_folder(cache)
    key = cache_key(path, ".csv")
    folder.mkdir()
    (folder / f"{key}.arrow").write_bytes(b"half")
    assert open_table(path, cache=cache).rows == 1


def test_streams_without_a_length_spill_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "MAX_MEMORY_BYTES", 1000)
    schema = pa.schema([("a", pa.string())])
    batches = (pa.record_batch({"a": pa.array([str(i)] * 500)}) for i in range(200))
    before = pa.total_allocated_bytes()
    table = open_table(pa.RecordBatchReader.from_batches(schema, batches), cache=tmp_path / "c")
    assert table.rows == 100_000
    assert pa.total_allocated_bytes() - before < 200_000
    assert table.cells("a", np.array([99_999])) == ["199"]
    assert list((tmp_path / "c").iterdir()) == []


def test_a_broken_stream_is_explained():
    def batches():
        yield pa.record_batch({"a": ["x"]})
        raise pa.ArrowInvalid("torn")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.string())]), batches())
    with pytest.raises(
        TableError, match="this RecordBatchReader cannot be read as an Arrow stream: torn"
    ):
        open_table(reader)


def test_several_threads_may_open_one_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "MAX_MEMORY_BYTES", 1000)
    path, rows = _big_csv(tmp_path / "big.csv", 3000), []
    threads = [
        threading.Thread(target=lambda: rows.append(open_table(path, cache=tmp_path / "c").rows))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [3000] * 4
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "MAX_MEMORY_BYTES", 1000)
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="is kept as a file in .*file, which cannot be written"):
        open_table(_big_csv(tmp_path / "big.csv", 3000), cache=tmp_path / "file")

    def full(*_):
        raise OSError(28, "No space left on device")

    class Writer:
        write_batch = full

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(spill.pa.ipc, "new_file", lambda *_: Writer())
    with pytest.raises(TableError, match="No space left on device"):
        open_table(tmp_path / "big.csv", cache=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    assert cache_folder(None) == tmp_path / "plait-cache" / "tables"
    monkeypatch.delenv("PLAIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "plait" / "tables"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path.home() / ".cache/plait/tables"


def test_damaged_offsets_in_an_arrow_file_are_refused(tmp_path):
    path = tmp_path / "t.arrow"
    batch = pa.record_batch({"a": ["hello", "plait", "!"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    offsets, wild = np.array([0, 5, 10, 11], np.int32), np.array([0, 900_000, 10, 11], np.int32)
    data = path.read_bytes()
    assert offsets.tobytes() in data
    path.write_bytes(data.replace(offsets.tobytes(), wild.tobytes()))
    with pytest.raises(TableError, match="cannot be read as an Arrow"):
        open_table(path)


def test_nothing_heavy_is_imported(tmp_path):
    """A fresh process opens files and lists without torch, pandas, polars, datasets or sklearn."""
    path, parquet = _csv(tmp_path), _parquet(tmp_path)
    code = f"""
import sys
from plait.data.table.source import open_table
for source in ({str(path)!r}, {str(parquet)!r}, [{{"a": "x", "b": 1.5, "c": True, "d": b"q"}}] * 3):
    table = open_table(source)
    for column in table.columns:
        table.cells(column), table.cells(column, slice(0, 2))
        list(table.chunks(column))
    import numpy
    table.cells(table.columns[0], numpy.array([2, 0]))
heavy = {{"torch", "pandas", "polars", "datasets", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
