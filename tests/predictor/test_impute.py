"""Imputation: missing cells filled from the others, the rest untouched, and written safely."""

import csv
import json
import sys
from datetime import date

import numpy as np
import pytest
import soundfile
from PIL import Image

import plait
from plait.cli import main as cli
from plait.data.table.quarantine import Quarantine
from plait.errors import ConfigError, TableError
from plait.predictor.filled_table import Filled, _safe, check_beside, spoken, write_filled

pytestmark = pytest.mark.usefixtures("few_resamples")
GAPS = ("photo", "note", "voice", "price", "shop", "day", "pulse")


@pytest.fixture(scope="module")
def folder(maker, tmp_path_factory):
    """A folder with a table of every modality, some cells missing, one unreadable."""
    folder = tmp_path_factory.mktemp("gaps")
    rows = maker.rows(folder, 30, seed=5)
    for number, name in enumerate(GAPS):
        rows[number][name] = None
    maker.csv(folder, "train.csv", rows)
    (folder / "media" / "broken.png").write_bytes(b"no image")
    rows[9]["photo"] = "media/broken.png"
    maker.csv(folder, "new.csv", rows[:12])
    return folder


@pytest.fixture(scope="module")
def model(maker, folder):
    return maker.fit(
        folder / "train.csv", "label", reconstruct=0.3, ignore=("score", "tags"),
        out=folder / "run", golden_rows=0, unimodal_loss=0.0, fusion="concat",
    )  # fmt: skip


@pytest.fixture(scope="module")
def filled(model, folder):
    return model.impute(folder / "new.csv")


def lines(path):
    """The rows of a CSV file, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# The library.


def test_what_was_missing_is_filled_and_nothing_else(filled, folder):
    source = plait.open_table(folder / "new.csv")
    assert len(filled) == 12 and list(filled.columns) == source.columns
    assert filled.counts() == dict.fromkeys(GAPS, 1) | {"photo": 2}
    for name in source.columns:
        which = filled.filled.get(name, np.zeros(12, bool))
        for row, cell in enumerate(source.cells(name)):
            if not which[row]:
                assert filled.columns[name][row] == cell
    assert [name for name in GAPS if filled.filled[name][GAPS.index(name)]] == list(GAPS)


def test_cells_are_in_the_users_own_terms(filled, model):
    cell = {name: filled.columns[name][row] for row, name in enumerate(GAPS)}
    assert cell["photo"].dtype == np.uint8 and cell["photo"].shape == (16, 16, 3)
    assert isinstance(cell["note"], str) and cell["note"]
    assert cell["voice"].dtype == np.float32 and cell["voice"].ndim == 1
    assert filled.rates == {"voice": 8000}
    assert isinstance(cell["price"], float)
    assert cell["shop"] in model.features.states["shop"]["values"]
    assert isinstance(cell["day"], date) and cell["day"].year in (2023, 2024)
    assert cell["pulse"].shape[1] == 2 and np.isfinite(cell["pulse"]).all()


def test_rows_are_dicts(filled):
    rows = list(filled)
    assert len(rows) == 12 and rows[3]["label"] == "a"
    assert rows[4]["shop"] == filled.columns["shop"][4]


def test_unreadable_cells_are_filled_and_told(filled):
    (note,) = filled.notes()
    assert note.startswith("unreadable, and filled: ") and "photo" in note
    assert filled.filled["photo"][9]


def test_a_column_the_table_lacks_is_filled_in_every_row(model):
    found = model.impute([{"price": 1.0, "label": "a"}, {"price": None, "label": None}])
    assert list(found.columns)[:2] == ["price", "label"]
    assert found.columns["label"] == ["a", None]
    assert found.counts()["price"] == 1 and found.counts()["shop"] == 2
    assert "the table has no column 'shop'; it was filled in every row" in found.notes()


def test_the_same_table_gives_the_same_cells(model, filled, folder):
    again = model.impute(folder / "new.csv")
    np.testing.assert_array_equal(again.columns["photo"][0], filled.columns["photo"][0])
    np.testing.assert_array_equal(again.columns["voice"][2], filled.columns["voice"][2])
    loaded = plait.load(folder / "run").impute(folder / "new.csv")
    assert loaded.columns["note"][1] == filled.columns["note"][1]
    assert loaded.columns["price"] == filled.columns["price"]


def test_a_table_without_rows_has_none_to_fill(model):
    found = model.impute({"price": [], "shop": []})
    assert len(found) == 0 and sum(found.counts().values()) == 0


def test_a_category_is_written_as_the_table_writes_it(maker):
    rows = [{"size": n % 2 + 1, "note": f"row {n} of {('one', 'two')[n % 2]}", "y": "ab"[n % 2]}
            for n in range(24)]  # fmt: skip
    made = maker.fit(rows, "y", reconstruct=0.1, columns={"size": "categorical", "note": "text"})
    found = made.impute(
        [{"size": None, "note": "x"}, {"size": 1, "note": "y"}, {"size": 2, "note": ""}]
    )
    assert found.columns["size"][0] in (1, 2) and not isinstance(found.columns["size"][0], str)
    text = made.impute([{"size": None, "note": "x"}])
    assert text.columns["size"][0] in ("1", "2")
    odd = made.impute([{"size": None, "note": "x"}, {"size": [1], "note": "y"}])
    assert odd.columns["size"][0] in ("1", "2")


def test_without_decoders_it_says_how_to_get_some(plain_run, run, tmp_path):
    model, out = plain_run
    with pytest.raises(ConfigError) as caught:
        model.impute([{"price": None}])
    assert str(caught.value) == (
        "1 option is wrong:\n  - impute: this model has no decoders, so it cannot fill missing cells. "
        "Fit it with pretrain='masked' or 'reconstruct' (--pretrain masked), or with reconstruct=0.1 "
        "(--set reconstruct=0.1)."
    )
    table = tmp_path / "a.csv"
    table.write_text("price,shop\n,north\n")
    code, _, err = run("impute", out, table, "-o", tmp_path / "b.csv")
    assert code == 2 and "this model has no decoders" in err
    assert not (tmp_path / "b.csv").exists()


# The command.


@pytest.fixture(scope="module")
def written(model, folder):
    """`plait impute`, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv",
            ["plait", "impute", str(folder / "run"), str(folder / "new.csv"), "-o", str(folder / "filled.csv")],
        )  # fmt: skip
        _main()
    return lines(folder / "filled.csv")


def _main():
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def test_the_command_writes_text_into_the_table_and_media_beside_it(written, folder, filled):
    before = lines(folder / "new.csv")
    assert list(written[0]) == list(before[0]) and len(written) == 12
    assert all(written[row][name] for row, name in enumerate(GAPS))
    assert written[11] == before[11]
    assert written[0]["photo"] == "filled_media/photo/0.png"
    assert written[5]["day"] == str(filled.columns["day"][5])
    assert written[4]["shop"] == filled.columns["shop"][4]
    with Image.open(folder / written[0]["photo"]) as image:
        np.testing.assert_array_equal(np.asarray(image), filled.columns["photo"][0])
    wave, rate = soundfile.read(folder / written[2]["voice"])
    assert rate == 8000 and len(wave) == len(filled.columns["voice"][2])
    np.testing.assert_array_equal(np.load(folder / written[6]["pulse"]), filled.columns["pulse"][6])


def test_what_was_filled_is_listed(written, folder):
    listed = [(int(row["row"]), row["column"]) for row in lines(folder / "filled.filled.csv")]
    assert sorted(listed) == sorted([*enumerate(GAPS), (9, "photo")])


def test_the_filled_table_is_read_like_any_other(written, model, folder):
    answers = model.answer(folder / "filled.csv")
    assert len(answers) == 12 and len(answers.quarantine) == 0
    assert sum(model.impute(folder / "filled.csv").counts().values()) == 0


def test_the_command_tells_what_it_did(run, model, folder):
    out = folder / "below" / "told.csv"
    code, told, err = run("impute", folder / "run", folder / "new.csv", "-o", out, "-q")
    assert code == 0
    assert (
        f"8 cells filled: photo 2, note 1, voice 1, price 1, shop 1, day 1, pulse 1; 12 rows written to {out}"
        in told
    )
    assert f"The filled cells are listed in {out.with_suffix('.filled.csv')}" in told
    assert "! unreadable, and filled: " in err
    # Paths stay relative to the input's folder, like those of the cells that were there.
    rows = lines(out)
    assert rows[0]["photo"] == "below/told_media/photo/0.png"
    assert len(model.answer(out, root=folder).quarantine) == 0


def test_the_command_speaks_json(run, model, folder):
    out = folder / "told.jsonl"
    code, told, _ = run("impute", folder / "run", folder / "new.csv", "-o", out, "-q", "--json")
    found = json.loads(told)
    assert code == 0 and found["rows"] == 12 and found["out"] == str(out)
    assert found["filled"]["photo"] == [0, 9] and found["filled"]["pulse"] == [6]
    assert json.loads(out.read_text().splitlines()[5])["day"].startswith("202")


def test_nothing_is_overwritten(run, model, folder, tmp_path):
    table = folder / "new.csv"
    before = table.read_bytes()
    code, _, err = run("impute", folder / "run", table, "-o", table)
    assert code == 1 and "writing there would replace it" in err and table.read_bytes() == before
    (folder / "again_media").mkdir()
    code, _, err = run("impute", folder / "run", table, "-o", folder / "again.csv")
    assert code == 1 and not (folder / "again.csv").exists()
    assert (
        f"'{folder / 'again_media'}' is already there, and rebuilt media would go into it. Delete it, or "
        "name another output." in err
    )
    code, _, err = run("impute", folder / "run", table, "-o", tmp_path / "far.csv")
    assert code == 1 and not (tmp_path / "far.csv").exists()
    assert (
        f"the media paths in its cells are relative to '{folder}', so write it into that folder or one "
        "below it." in err
    )
    code, _, err = run("impute", folder / "run", table, "-o", folder / "a.xlsx")
    assert code == 1 and "end its name in .csv" in err


def test_the_command_explains_itself(run):
    code, out, _ = run("impute", "--help")
    assert code == 0 and "Example: plait impute runs/a new.csv -o filled.csv" in " ".join(
        out.split()
    )


def test_pretraining_from_the_command_line(run, maker, tmp_path):
    """The classic recipe, one command: encoders, fusion, decoders, classifier, evaluation."""
    table = maker.csv(tmp_path, "train.csv", maker.plain(40))
    code, out, err = run(
        "fit", table, "--target", "label", "--pretrain", "reconstruct", "--out", tmp_path / "run",
        "--preset", "fast", "--epochs", "1", "--batch-size", "16", "--set", "pretrain_epochs=1",
    )  # fmt: skip
    assert code == 0
    assert "pretraining (reconstruct)" in err and "pretrain" in err
    assert "reconstruction of train.csv" in out
    code, _, err = run(
        "fit", table, "--target", "label", "--pretrain", "all", "--out", tmp_path / "b"
    )
    assert code == 2 and "pretrain='all': input should be 'none', 'reconstruct' or 'masked'." in err


# Writing.


def made(columns, filled, modalities, rates=None):
    return Filled(
        columns=columns,
        filled={name: np.array(which) for name, which in filled.items()},
        modalities=modalities,
        rates=rates or {},
        quarantine=Quarantine(),
    )


def test_text_that_looks_like_a_formula_is_defused(tmp_path):
    found = made({"note": ["=1+1", "a"]}, {"note": [True, False]}, {"note": "text"})
    write_filled(tmp_path / "a.csv", found, tmp_path / "a_media", None)
    assert (tmp_path / "a.csv").read_text() == "note\n'=1+1\na\n"
    assert (tmp_path / "a.filled.csv").read_text() == "row,column\n0,note\n"
    assert not (tmp_path / "a_media").exists()


def test_dates_join_their_column_as_text_or_as_dates(tmp_path):
    day = date(2024, 1, 31)
    found = made(
        {"a": ["2024-01-01", day], "b": [date(2024, 1, 1), day]},
        {"a": [False, True], "b": [False, True]},
        {"a": "datetime", "b": "datetime"},
    )
    write_filled(tmp_path / "a.parquet", found, tmp_path, None)
    again = plait.open_table(tmp_path / "a.parquet")
    assert again.cells("a") == ["2024-01-01", "2024-01-31"]
    assert again.cells("b") == [date(2024, 1, 1), day]


def test_a_signal_in_a_column_of_lists_becomes_a_list(tmp_path):
    found = made(
        {"pulse": [[1.0, 2.0], np.array([3.0, 4.0], np.float32)]},
        {"pulse": [False, True]},
        {"pulse": "signal"},
    )
    write_filled(tmp_path / "a.jsonl", found, tmp_path / "m", None)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines == [{"pulse": [1.0, 2.0]}, {"pulse": [3.0, 4.0]}]


def test_grey_images_are_written_grey(tmp_path):
    grey = np.full((4, 4, 1), 7, np.uint8)
    found = made({"x": [grey]}, {"x": [True]}, {"x": "image"})
    write_filled(tmp_path / "a.csv", found, tmp_path / "a_media", tmp_path)
    with Image.open(tmp_path / "a_media" / "x" / "0.png") as image:
        assert image.mode == "L" and image.size == (4, 4)


def test_media_as_bytes_are_refused_in_words(tmp_path):
    found = made(
        {"x": [b"png", np.zeros((4, 4, 1), np.uint8)]}, {"x": [False, True]}, {"x": "image"}
    )
    with pytest.raises(TableError) as caught:
        write_filled(tmp_path / "a.csv", found, tmp_path / "m", None)
    assert str(caught.value) == (
        "column 'x' holds its media as bytes, beside which paths make no table. From Python, "
        "model.impute(...) gives the rebuilt cells as arrays."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "m").write_text("a file")
    found = made({"x": [np.zeros((4, 4, 1), np.uint8)]}, {"x": [True]}, {"x": "image"})
    with pytest.raises(TableError, match="cannot write into"):
        write_filled(tmp_path / "a.csv", found, tmp_path / "m", tmp_path)


def test_a_column_cannot_lead_out_of_the_folder(tmp_path):
    assert _safe("photo", ["photo"]) == "photo"
    assert _safe("../../etc", ["a", "../../etc"]) == "_etc-1"
    assert _safe("a b", ["a b", "a_b"]) != _safe("a_b", ["a b", "a_b"])
    image = np.zeros((4, 4, 1), np.uint8)
    found = made({"../up": [image]}, {"../up": [True]}, {"../up": "image"})
    write_filled(tmp_path / "in" / "a.csv", found, tmp_path / "in" / "a_media", None)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert "a_media/_up-0/0.png" in (tmp_path / "in" / "a.csv").read_text()


def test_a_table_without_media_may_go_anywhere(tmp_path):
    (tmp_path / "a_media").mkdir()
    assert check_beside(tmp_path / "a.csv", tmp_path / "elsewhere", []) == tmp_path / "a_media"


def test_counts_are_spoken():
    assert spoken({"a": 0}) == "0 cells filled"
    assert spoken({"a": 1, "b": 0}) == "1 cell filled: a 1"
    assert spoken({"a": 1, "b": 2}) == "3 cells filled: a 1, b 2"
