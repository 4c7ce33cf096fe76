"""Bad input through the whole path: what a user is told, word for word, and that nothing else happens."""

import csv
import re
import struct
import zlib

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import plait
from plait.errors import (
    ConfigError,
    SchemaError,
    TableError,
    UnreadableCellsWarning,
    UnreadableColumnError,
)
from plait.model.fusion import FUSIONS

pytestmark = pytest.mark.usefixtures("few_resamples")


def _png(width, height):
    """A PNG of some dozen bytes that claims a size."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def _flac(rate, channels, samples):
    """A FLAC that is all header."""
    packed = (rate << 44) | ((channels - 1) << 41) | (15 << 36) | samples
    info = struct.pack(">HH", 4096, 4096) + b"\0" * 6 + packed.to_bytes(8, "big") + b"\0" * 16
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info


PHOTOS = {
    "cut.jpg": "'cut.jpg': cannot be decoded (",
    "zero.png": "'zero.png': is empty (zero bytes)",
    "page.jpg": "'page.jpg': is HTML or XML, not an image",
    "huge.png": "'huge.png': claims 4295 megapixels, more than the cap of 64 (max_image_megapixels)",
    "../outside.png": "'../outside.png': climbs out of the root folder by '..'",
    "/etc/hostname": "'/etc/hostname': is absolute: give paths relative to the table's folder",
    "link.png": "'link.png': is a symbolic link that leads outside the root folder",
    "nothing.png": "'nothing.png': no such file",
    "media": "'media': is a folder",
    "https://example.org/a.png": "'https://example.org/a.png': is a URL, and plait does not fetch",
    "pipe.png": "'pipe.png': is not a regular file (a pipe, socket or device)",
}
SOUNDS = {
    "claims.flac": "'claims.flac': lasts 1.049e+05 s, more than the cap of 600 s (max_audio_seconds)",
    "wide.flac": "'wide.flac': decodes to 1200 MiB, more than the cap of 256 MiB (max_audio_decoded_mib)",
    "hour.flac": "'hour.flac': lasts 3600 s, more than the cap of 600 s (max_audio_seconds)",
    "page.wav": "'page.wav': is HTML or XML, not a sound",
}
LONG = "word " * 2_000_000


@pytest.fixture(scope="module")
def hostile(maker, tmp_path_factory):
    """A folder with 100 rows, some of whose cells are as bad as they come."""
    outside = tmp_path_factory.mktemp("hostile")
    folder = outside / "data"
    rows = maker.rows(folder, 100)
    rng = np.random.default_rng(0)
    whole = maker.image(folder / "whole.jpg", 100, rng)
    maker.image(outside / "outside.png", 100, rng)
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.png").write_bytes(b"")
    for name in ("page.jpg", "page.wav"):
        (folder / name).write_bytes(b"<!DOCTYPE html><html><body>404 not found</body></html>")
    (folder / "huge.png").write_bytes(_png(65_535, 65_535))
    (folder / "link.png").symlink_to(outside / "outside.png")
    import os

    os.mkfifo(folder / "pipe.png")
    (folder / "claims.flac").write_bytes(_flac(655_350, 8, 2**36 - 1))
    (folder / "wide.flac").write_bytes(_flac(655_350, 8, 655_350 * 60))
    soundfile.write(folder / "hour.flac", np.zeros(3600 * 8000, np.int16), 8000)
    bad = {}
    for row, name in enumerate(PHOTOS):
        rows[row]["photo"] = name
        bad[row, "photo"] = PHOTOS[name]
    for row, name in enumerate(SOUNDS, start=20):
        rows[row]["voice"] = name
        bad[row, "voice"] = SOUNDS[name]
    rows[30]["note"] = LONG
    bad[30, "note"] = "10 MB of text, more than the cap of 1 MB (max_text_mb)"
    rows[31]["price"], rows[32]["price"], rows[33]["price"] = "inf", "-inf", "nan"
    bad[31, "price"] = "'inf' is infinite, expected a finite number"
    bad[32, "price"] = "'-inf' is infinite, expected a finite number"
    for row in rows:
        del row["score"], row["tags"]
    return maker.csv(folder, "t.csv", rows), bad


@pytest.fixture(scope="module")
def survivor(maker, hostile, tmp_path_factory):
    """The model fitted on it, where it is saved, and what the fit warned of."""
    out = tmp_path_factory.mktemp("survivor") / "run"
    with pytest.warns(
        UnreadableCellsWarning, match="^unreadable cells counted as missing:\n  "
    ) as told:
        model = maker.fit(hostile[0], "label", out=out)
    return model, out, [str(warning.message) for warning in told]


def _check(entries, bad):
    found = {(entry.row, entry.column): entry.reason for entry in entries}
    assert set(found) == set(bad)
    for cell, reason in bad.items():
        assert reason in found[cell], cell


def test_a_fit_survives_them_and_names_each(survivor, hostile):
    model, out, told = survivor
    _check(model.quarantine.entries, hostile[1])
    _check(plait.load(out).quarantine.entries, hostile[1])
    assert len(told) == 1
    assert "photo: 11 unreadable cells, the first in row 0: 'cut.jpg'" in told[0]
    assert "voice: 4 unreadable cells, the first in row 20: 'claims.flac'" in told[0]
    assert "note: 1 unreadable cell in row 30: " in told[0]
    assert "price: 2 unreadable cells, the first in row 31: 'inf'" in told[0]
    assert all(np.isfinite(line["train_loss"]) for line in model.history)


def test_a_prediction_survives_them_and_names_each(survivor, hostile):
    model, _, _ = survivor
    answers = model.answer(hostile[0])
    assert len(answers) == 100
    assert np.isfinite(answers.scores["label"]).all()
    _check(answers.quarantine.entries, hostile[1])


def test_reasons_name_no_folder_of_this_machine(survivor, hostile):
    folder = str(hostile[0].parent)
    assert not any(folder in entry.reason for entry in survivor[0].quarantine.entries)


def test_an_evaluation_counts_them_all(survivor, hostile):
    evaluation = survivor[0].evaluate(hostile[0], resamples=0)
    assert evaluation.targets["label"].rows == 100
    assert any(
        note.startswith("photo: 11 unreadable cells, the first in row 0: ")
        for note in evaluation.notes
    )


def test_caps_are_options(maker, hostile):
    with pytest.raises(
        UnreadableColumnError,
        match=r"'voice': 100 of 100 cells \(100%\) are unreadable, .* The first: row 0: 'media/0-0.wav': "
        r"lasts 0.2 s, more than the cap of 0.1 s \(max_audio_seconds\)",
    ):
        maker.fit(hostile[0], "label", max_audio_seconds=0.1, ignore=("photo", "pulse"))


def test_too_much_of_a_column_stops_the_training(maker, tmp_path):
    rows = maker.rows(tmp_path, 20)
    for row in rows[:6]:
        row["photo"] = "gone.png"
    rows[7]["photo"] = rows[8]["photo"] = None
    table = maker.csv(tmp_path, "t.csv", rows)
    others = ("voice", "pulse", "score", "tags")
    with pytest.raises(
        UnreadableColumnError,
        match=re.escape(
            "column 'photo': 6 of 18 cells (33%) are unreadable, more than the 20% allowed "
            "(max_unreadable). The first: row 0: 'gone.png': no such file"
        ),
    ):
        maker.fit(table, "label", ignore=others)
    with pytest.warns(UnreadableCellsWarning, match="photo: 6 unreadable cells"):
        model = maker.fit(table, "label", ignore=others, max_unreadable=0.4)
    assert len(model.quarantine) == 6


def test_lone_surrogates(maker, plain_run):
    rows = maker.plain(24)
    rows[3]["note"] = "half \ud83d a smile"
    rows[4]["shop"] = "\udcff"
    model = maker.fit(rows, "label")
    assert len(model.predict(rows)) == 24
    assert np.isfinite(plain_run[0].predict_proba(rows)).all()


def test_unicode_of_every_kind_in_text(maker):
    rows = maker.plain(24)
    texts = [
        "你好，世界",
        "🙂🙃👩‍👩‍👧",
        "\u202eright to left",
        "\x00\x01\x02",
        "ﷺ" * 100,
        "\n\n\t x",
    ]
    for row, text in zip(rows, texts, strict=False):
        row["note"] = text
    model = maker.fit(rows, "label")
    assert np.isfinite(model.predict_proba(rows)).all()


# Tables


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "t.csv (is empty|has no)"),
        ("t.csv", "price,label\n", "t.csv has no rows, only the columns price, label"),
        (
            "t.csv",
            "price,price,label\n1,2,a\n",
            "has more than one column named 'price'. Rename the columns",
        ),
        ("t.jsonl", "", "has no columns"),
        ("t.pkl", "x", "is a .pkl file. plait never opens pickles, which can run code"),
        (
            "t.xlsx",
            "x",
            "ends in '.xlsx', which plait cannot read as a table. Save the sheet as CSV UTF-8",
        ),
    ],
)
def test_tables_that_are_none(maker, plain_run, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    uses = [lambda path: maker.fit(path, "label"), plain_run[0].evaluate]
    uses += [] if "no rows" in message else [plain_run[0].predict]  # no rows, no answers: no error
    for use in uses:
        with pytest.raises(TableError, match=message):
            use(tmp_path / name)


def test_no_such_file(maker, plain_run, tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        TableError, match=r"there is no file '.*trian.csv'. Did you mean 'train.csv'\?"
    ):
        maker.fit(tmp_path / "trian.csv", "label")
    with pytest.raises(
        TableError, match=r"there is no file '.*trian.csv'. Did you mean 'train.csv'\?"
    ):
        plain_run[0].predict(tmp_path / "trian.csv")


class _Extension(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "plait.test")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


def test_parquet_with_an_extension_type(maker, plain_run, tmp_path):
    storage = pa.array(range(24))
    array = pa.ExtensionArray.from_storage(_Extension(), storage)
    pq.write_table(pa.table({"price": array, "label": ["a", "b"] * 12}), tmp_path / "t.parquet")
    message = "column 'price' has the extension type 'plait.test'. .* Such a type runs code of its own|Such a type runs code"
    with pytest.raises(TableError, match=message):
        maker.fit(tmp_path / "t.parquet", "label")
    with pytest.raises(TableError, match=message):
        plain_run[0].predict(tmp_path / "t.parquet")


# Columns and targets


def _rows(maker, **columns):
    rows = maker.plain(24)
    return [
        {**row, **{name: cell(n) for name, cell in columns.items()}} for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("columns", "target", "options", "message"),
    [
        (
            {},
            "lable",
            {},
            r"target 'lable': this list of 24 rows has no such column. Did you mean 'label'\? Its columns: price, shop, note, label",
        ),
        ({}, "label", {"ignore": ("nte",)}, r"ignored column 'nte': .* Did you mean 'note'\?"),
        (
            {},
            "label",
            {"columns": {"prise": "numeric"}},
            r"column 'prise': .* Did you mean 'price'\?",
        ),
        (
            {},
            "label",
            {"columns": {"price": "numerik"}},
            r"column 'price': unknown modality 'numerik'. Did you mean 'numeric'\? Choose from: audio, ",
        ),
        ({}, "label", {"group": "shp"}, r"group 'shp': .* Did you mean 'shop'\?"),
        (
            {},
            "label",
            {"columns": {"label": "text"}},
            "'label' is both a target and an input .text.: a model that sees the answer learns nothing else",
        ),
        ({}, ["label", "label"], {}, "target 'label' is named 2 times; name it once"),
        (
            {"y": lambda n: "same"},
            "y",
            {},
            "the target 'y' has a single class 'same' in all 24 rows: nothing to learn",
        ),
        (
            {"y": lambda n: None},
            "y",
            {},
            "the target 'y' is missing in all 24 rows: nothing to learn",
        ),
        (
            {"y": lambda n: 1.5},
            "y",
            {"target_kinds": {"y": "regression"}},
            "the target 'y' has the single value 1.5 in all 24 rows",
        ),
        (
            {"y": lambda n: f"class {n}"},
            "y",
            {},
            "the target 'y' has as many classes as rows .24., such as",
        ),
        (
            {"y": lambda n: "word"},
            "y",
            {"target_kinds": {"y": "regression"}},
            "24 of 24 cells are not numbers, such as 'word'",
        ),
        (
            {},
            "label",
            {"ignore": ("price", "shop", "note")},
            "no column is left to learn from. Ignored: price: as requested",
        ),
    ],
)
def test_requests_that_contradict_the_table(maker, columns, target, options, message):
    with pytest.raises(SchemaError, match=message):
        maker.fit(_rows(maker, **columns), target, **options)


def test_everything_wrong_with_a_request_is_told_together(maker):
    with pytest.raises(SchemaError) as caught:
        maker.fit(
            maker.plain(24), "lable", ignore=("nte",), columns={"price": "numerik"}, group="shp"
        )
    assert str(caught.value).startswith("4 things are wrong:\n  - target 'lable': ")
    assert str(caught.value).count("Did you mean") == 4


def test_columns_that_tell_nothing_are_left_out_with_the_reason(maker):
    rows = _rows(
        maker,
        empty=lambda n: None,
        same=lambda n: "x",
        id=lambda n: f"r{n:04d}",
        answer=lambda n: n,
    )
    for number, row in enumerate(rows):
        row["answer"] = row["label"].upper()
        row["id"] = f"r{number:04d}"
    model = maker.fit(rows, "label")
    reasons = {
        column.name: column.reason for column in model.schema.columns if column.role == "ignored"
    }
    assert reasons["empty"] == "all 24 cells are missing"
    assert reasons["same"] == "all 24 cells are 'x': it tells no row from another"
    assert reasons["id"].startswith(
        "every value is different and it looks like an identifier by its name"
    )
    assert reasons["answer"].startswith("it goes one to one with the target 'label'")
    with pytest.raises(
        SchemaError, match="column 'empty' is named numeric, but all 24 of its cells are missing"
    ):
        maker.fit(rows, "label", columns={"empty": "numeric"})


def test_too_few_rows(maker):
    with pytest.raises(TableError, match="a split into training and validation needs at least 4"):
        maker.fit(maker.plain(3), "label")


def test_duplicate_names_in_a_frame(maker):
    frame = pandas.DataFrame([[1.0, 2.0, "a"], [2.0, 3.0, "b"]], columns=["x", "x", "label"])
    with pytest.raises(TableError, match="has more than one column named 'x'"):
        maker.fit(frame, "label")


# Options


def test_every_wrong_option_is_told_at_once(maker):
    with pytest.raises(ConfigError) as caught:
        maker.fit(
            maker.plain(24), "label", lrr=0.1, epochs=0, preset="fats", fusion="atention", dropout=2
        )
    assert str(caught.value).splitlines()[0] == "5 options are wrong:"
    text = str(caught.value)
    assert "there is no option 'lrr'. Did you mean 'lr'?" in text
    assert (
        "preset='fats': input should be 'fast', 'balanced' or 'best'. Did you mean 'fast'?" in text
    )
    assert (
        "epochs=0: input should be greater than or equal to 1. (Most passes over the rows" in text
    )
    assert "dropout=2: input should be less than 1." in text
    assert (
        "fusion: unknown fusion 'atention'. Did you mean 'attention'? "
        f"Choose from: {', '.join(sorted(FUSIONS))}." in text
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"fusion": "telepathy"},
            f"fusion: unknown fusion 'telepathy'. Choose from: {', '.join(sorted(FUSIONS))}",
        ),
        ({"share": ("txt",)}, r"share: unknown modality 'txt'. Did you mean 'text'\?"),
        (
            {"encoders": {"note": "lstn"}},
            r"encoders: unknown text encoder 'lstn'. Did you mean 'lstm'\?",
        ),
        (
            {"encoders": {"nte": "lstm"}},
            r"encoders: there is no column or modality 'nte'. Did you mean 'note'\?",
        ),
        (
            {"encoders": {"price": "cnn"}},
            "encoders: price is numeric; tabular columns have one encoder only",
        ),
        ({"device": "cuda:99"}, "device='cuda:99': this machine has only cpu"),
    ],
)
def test_names_that_only_the_registries_know(maker, options, message):
    with pytest.raises(ConfigError, match=message):
        maker.fit(maker.plain(24), "label", **options)


# Names that mean something elsewhere

FORMULA = "=cmd|' /C calc'!A0"
SCRIPT = "<script>alert(1)</script>"


def test_class_names_are_no_formulas_and_no_markup(maker, tmp_path):
    rows = maker.plain(24)
    for row in rows:
        row["label"] = {"no": FORMULA, "yes": SCRIPT}[row["label"]]
        row[SCRIPT] = row.pop("note")
    model = maker.fit(rows, "label", out=tmp_path / "run")
    assert model.classes_ == sorted([FORMULA, SCRIPT])
    answers = model.answer(rows)
    from plait.data.table.answers import write_table

    write_table(tmp_path / "answers.csv", answers.to_columns())
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not any(cell.startswith("=") for cell in cells)
    assert {
        "'" + FORMULA if value == FORMULA else value for value in answers.values["label"]
    } <= set(cells)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "<script>" not in card
    assert r"\<script\>alert(1)\</script\>" in card
    assert r"=cmd\|' /C calc'!A0" in card
