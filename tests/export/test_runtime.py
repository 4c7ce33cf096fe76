"""The runtime answers as the model does: a row in, a row out, whatever the row."""

import csv
import json
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas
import pytest

import plait
from plait.errors import (
    BundleError,
    ConfigError,
    PlaitWarning,
    TableError,
    UnreadableCellsWarning,
)
from plait.runtime import Runtime


@pytest.fixture(scope="module")
def runtime(full_app):
    return Runtime(full_app[1], threads=1)


def rows_of(braid):
    with (braid / "test.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def alike(got, want):
    assert got.scores.keys() == want.scores.keys()
    for name in want.scores:
        np.testing.assert_allclose(got.scores[name], want.scores[name], atol=1e-4)
        assert got.values[name].tolist() == want.values[name].tolist()
        assert got.values[name].dtype == want.values[name].dtype
    assert got.quarantine.entries == want.quarantine.entries
    assert got.absent == want.absent
    assert got.notes() == want.notes()


def test_a_table_with_gaps(runtime, fitted, braid):
    alike(runtime.answer(braid / "test.csv"), fitted[0].answer(braid / "test.csv"))


def test_the_same_methods_as_a_predictor(runtime, fitted, braid):
    model, table = fitted[0], braid / "test.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        assert runtime.predict(table).tolist() == model.predict(table).tolist()
        np.testing.assert_allclose(
            runtime.predict_proba(table), model.predict_proba(table), atol=1e-4
        )
        sure = np.sort(model.predict_proba(table).max(axis=1))
        below = float(sure[np.argmax(np.diff(sure)) :][:2].mean())  # where the two cannot disagree
        kept = model.predict(table, abstain_below=below).tolist()
        assert runtime.predict(table, abstain_below=below).tolist() == kept
    assert None in kept and set(kept) - {None}
    assert runtime.classes_ == model.classes_
    assert runtime.schema == model.schema
    assert runtime.verify() < 1e-4


def test_probabilities_are_the_calibrated_ones(plain_run, unwatched_export, tmp_path):
    rows = [
        {"price": 1.0, "shop": "north", "note": "dear"},
        {"price": 9.0, "shop": "a", "note": ""},
    ]
    warm = plait.load(plain_run[1])
    raw = warm.predict_proba(rows)
    warm.model.heads[0].temperature = 7.0
    warm.golden = []
    want = warm.predict_proba(rows)
    assert np.abs(want - raw).max() > 0.01
    unwatched_export(warm, tmp_path / "app")
    np.testing.assert_allclose(Runtime(tmp_path / "app").predict_proba(rows), want, atol=1e-4)


def test_single_rows_take_the_short_way_to_the_same_answers(runtime, fitted, braid, monkeypatch):
    want = fitted[0].answer(braid / "test.csv")
    monkeypatch.setattr("plait.runtime.runtime.open_table", pytest.fail)
    for number, row in enumerate(rows_of(braid)):
        got = runtime.answer([row], root=braid)
        np.testing.assert_allclose(got.scores["label"][0], want.scores["label"][number], atol=1e-4)
        assert got.values["label"][0] == want.values["label"][number]


def test_many_rows_come_back_in_their_order(runtime, fitted, braid):
    rows = rows_of(braid)
    generator = np.random.default_rng(0)
    order = generator.integers(len(rows), size=300)
    want = fitted[0].answer(rows, root=braid).scores["label"][order]
    got = runtime.answer([rows[index] for index in order], root=braid).scores["label"]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_only_the_encoders_of_what_is_there_are_run(runtime, braid):
    class Counted:
        def __init__(self, session):
            self.session, self.rows = session, []

        def run(self, outputs, feed):
            self.rows.append(len(next(iter(feed.values()))))
            return self.session.run(outputs, feed)

    graphs = runtime.graphs
    kept = dict(graphs.sessions)
    try:
        graphs.sessions = {name: Counted(session) for name, session in kept.items()}
        files = {stream.name: stream.encoder for stream in graphs.streams}
        row = {**rows_of(braid)[0], "note": "a brick tower"}
        runtime.answer([{"note": row["note"]}])
        ran = {name: part.rows for name, part in graphs.sessions.items() if part.rows}
        assert ran == {files["note"]: [1], "fusion.onnx": [1]}
        for part in graphs.sessions.values():
            part.rows.clear()
        runtime.answer([{"note": "x", "price": 1.0}, {"note": None, "price": 2.0}, {"price": None}])
        assert graphs.sessions[files["note"]].rows == [1]
        assert graphs.sessions[files["tabular"]].rows == [2]
        assert graphs.sessions["fusion.onnx"].rows == [3]
        assert not graphs.sessions[files["photo"]].rows
    finally:
        graphs.sessions = kept


def test_a_row_without_anything_is_answered(runtime, fitted):
    row = dict.fromkeys(fitted[0].schema.inputs)
    alike(runtime.answer([row]), fitted[0].answer([row]))
    alike(runtime.answer([row] * 20), fitted[0].answer([row] * 20))


def test_unreadable_cells_are_missing_and_listed(runtime, fitted, braid):
    row = {**rows_of(braid)[0], "photo": b"no picture", "voice": "media/none.wav"}
    want = fitted[0].answer([row], root=braid)
    got = runtime.answer([row], root=braid)
    assert [(entry.row, entry.column) for entry in got.quarantine.entries] == [
        (0, "photo"),
        (0, "voice"),
    ]
    alike(got, want)
    alike(runtime.answer([row] * 20, root=braid), fitted[0].answer([row] * 20, root=braid))
    with pytest.warns(
        UnreadableCellsWarning, match="photo: 1 unreadable cell in row 0: is not an im"
    ):
        runtime.predict([row], root=braid)


def test_a_column_that_the_table_lacks_is_said(runtime, fitted, braid):
    row = {key: cell for key, cell in rows_of(braid)[0].items() if key != "voice"}
    for source in ([row], pandas.DataFrame([row])):
        answers = runtime.answer(source, root=braid)
        assert answers.absent == ["voice"]
        assert answers.notes() == [
            "the table has no column 'voice'; it counted as missing in every row"
        ]
    alike(runtime.answer([row], root=braid), fitted[0].answer([row], root=braid))
    with pytest.warns(PlaitWarning, match="the table has no column 'voice'"):
        runtime.predict([row], root=braid)


@pytest.mark.parametrize(
    "row",
    [
        {"price": 3, "shop": "south", "day": "2024-02-03"},
        {"price": "3.5", "shop": None, "note": "  "},
        {"price": float("nan"), "day": __import__("datetime").datetime(2024, 2, 3, 4, 5)},
        {"price": True, "day": __import__("datetime").date(2024, 2, 3)},
        {"price": np.float64(2.5), "shop": np.str_("west"), "day": pandas.Timestamp("2024-02-03")},
        {"price": 10**30, "note": "half \ud800 a character"},
        {"pulse": [[0.5, 1.5]] * 12, "note": 7},
        {"photo": {"bytes": b"no picture", "path": "a.png"}, "note": "x"},
        {"photo": {"path": None}, "note": "x"},
        {" note ": "a brick tower"},
        {"price": "dear"},
    ],
    ids=str,
)
def test_cells_of_any_type_mean_what_they_mean_to_the_model(runtime, fitted, row):
    alike(runtime.answer([row]), fitted[0].answer([row]))


def test_streams_that_are_to_be_ignored(runtime, fitted, braid):
    table = braid / "test.csv"
    some = ["note", "tabular"]
    alike(runtime.answer(table, streams=some), fitted[0].answer(table, streams=some))
    with pytest.raises(ConfigError, match="streams: unknown stream 'nota'. Did you mean 'note'?"):
        runtime.answer(table, streams=["nota"])


def test_vectors_of_some_streams_are_those_of_the_fitted_model(runtime, fitted, braid):
    table, whole = braid / "test.csv", runtime.embed(braid / "test.csv")
    for some in (["note"], ["photo", "voice"], None):
        got, want = (one.embed(table, streams=some) for one in (runtime, fitted[0]))
        np.testing.assert_allclose(got, want, atol=1e-4)
        assert (some is None) == bool(np.allclose(got, whole, atol=1e-4))
    for model in (runtime, fitted[0]):
        for wrong, shown in (("note", "'note'"), ([], r"\[\]")):
            for ask in (model.embed, model.answer):
                with pytest.raises(ConfigError, match=f"expected a list of names, got {shown}$"):
                    ask(table, streams=wrong)
    with pytest.raises(ConfigError, match="streams: unknown stream 'nota'. Did you mean 'note'?"):
        runtime.embed(table, streams=["nota"])


def test_what_is_no_table_is_told_as_ever(runtime, fitted, tmp_path):
    for wrong in ([], [3], [{"other": 1}], {"note": "single"}, tmp_path / "none.csv"):
        with pytest.raises(TableError) as want:
            fitted[0].answer(wrong)
        with pytest.raises(TableError) as got:
            runtime.answer(wrong)
        assert str(got.value) == str(want.value)
    with pytest.raises(TableError, match="root='nowhere' is not a folder"):
        runtime.answer([{"note": "x"}], root="nowhere")


def test_several_targets_of_every_kind(maker, unwatched_export, tmp_path):
    rows = maker.plain(40)
    for number, row in enumerate(rows):
        row |= {"size": number / 3, "tags": "a;b" if number % 2 else "a"}
    kinds = {"tags": "multilabel", "size": "regression"}
    model = maker.fit(rows, ["label", "size", "tags"], golden_rows=2, target_kinds=kinds)
    assert [target.kind for target in model.targets] == ["binary", "regression", "multilabel"]
    found = unwatched_export(model, tmp_path / "app")
    assert max(found.golden, found.random) < 1e-4
    runtime = Runtime(tmp_path / "app")
    for some in (rows[:1], rows):
        got, want = runtime.answer(some), model.answer(some)
        for name in ("label", "tags", "size"):
            np.testing.assert_allclose(got.scores[name], want.scores[name], atol=1e-4, rtol=1e-4)
        assert got.values["tags"].tolist() == want.values["tags"].tolist()
    assert set(runtime.predict(rows)) == {"label", "size", "tags"}
    assert set(runtime.predict_proba(rows)) == {"label", "tags"}
    with pytest.raises(TableError, match="several targets"):
        _ = runtime.classes_


BLOCKED = textwrap.dedent(
    """
    import sys

    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {names}:
                raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

    sys.meta_path.insert(0, Blocked())
    """
)


def run_blocked(names, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=names) + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


HEAVY = {"torch", "transformers", "accelerate", "safetensors", "sklearn", "tensorboard", "onnx"}
HEAVY |= {"pyarrow", "pandas"}


def test_it_runs_where_there_is_no_torch(full_app, fitted, braid):
    code = """
    from plait.runtime import Runtime
    answers = Runtime(sys.argv[1]).answer(sys.argv[2])
    print(answers.scores["label"].tolist())
    """
    done = run_blocked(
        HEAVY | {"typer", "rich", "pandas", "scipy"}, code, full_app[1], braid / "test.csv"
    )
    assert done.returncode == 0, done.stderr
    want = fitted[0].answer(braid / "test.csv").scores["label"]
    np.testing.assert_allclose(json.loads(done.stdout), want, atol=1e-4)


def test_the_command_line_predicts_where_there_is_no_torch(full_app, fitted, braid, tmp_path):
    code = "from plait.cli.main import main; sys.argv[0] = 'plait'; main()"
    out = tmp_path / "answers.csv"
    done = run_blocked(HEAVY, code, "predict", full_app[1], braid / "test.csv", "-o", out)
    assert done.returncode == 0, done.stderr
    with out.open(encoding="utf-8") as file:
        got = [row["label"] for row in csv.DictReader(file)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        assert got == list(fitted[0].predict(braid / "test.csv"))
    done = run_blocked(HEAVY, code, "checks", full_app[1])
    assert "answers agree to" in done.stdout, done.stderr


COMMAND = "from plait.cli.main import main; sys.argv[0] = 'plait'; main()"


def test_without_torch_a_fit_says_what_to_install(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,label\n" + "1,x\n2,y\n" * 20)
    for absent in ({"torch", "accelerate"}, {"pyarrow"}):
        done = run_blocked(
            absent, COMMAND, "fit", str(table), "--target", "label", "--out", str(tmp_path / "r")
        )
        assert done.returncode
        assert 'pip install "plait[train]"' in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_without_pyarrow_parquet_says_what_to_install(plain_app, tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    done = run_blocked({"pyarrow"}, COMMAND, "predict", plain_app[1], tmp_path / "t.parquet")
    assert done.returncode
    told = " ".join(done.stderr.split())
    assert "t.parquet needs the package pyarrow, which is not installed. Install it with:" in told
    assert 'pip install "plait[tables]"' in told
    (tmp_path / "t.csv").write_text("price\n1\n")
    done = run_blocked(
        {"pyarrow"},
        COMMAND,
        "predict",
        plain_app[1],
        tmp_path / "t.csv",
        "-o",
        tmp_path / "a.parquet",
    )
    told = " ".join(done.stderr.split())
    assert "a.parquet' needs the package pyarrow" in told


def test_without_onnxruntime_it_says_what_to_install(plain_app):
    code = """
    from plait.runtime import Runtime
    from plait.errors import MissingExtra
    try:
        Runtime(sys.argv[1])
    except MissingExtra as error:
        print(error)
    """
    done = run_blocked({"onnxruntime"}, code, plain_app[1])
    assert done.stdout == (
        "an exported model needs the package onnxruntime, which is not installed.\n"
        'Install it with:  pip install "plait[runtime]"\n'
    ), done.stderr


def test_a_bundle_and_an_exported_model_are_told_apart(plain_app, plain_run):
    with pytest.raises(
        BundleError,
        match="is not a plait bundle: it has no bundle.json. It holds an exported model, for `plait "
        "predict` and plait.Runtime",
    ):
        plait.load(plain_app[1])
    with pytest.raises(BundleError, match="is not a plait exported model: it has no app.json"):
        Runtime(plain_run[1])
    with pytest.raises(BundleError, match="There is no such folder"):
        Runtime("nowhere")


def test_caps_are_the_lower_of_the_folders_and_the_callers(full_app, braid):
    strict = Runtime(full_app[1], max_image_megapixels=0.0001)
    row = next(row for row in rows_of(braid) if row["photo"])
    answers = strict.answer([row], root=braid)
    assert "more than the cap of 400 bytes (max_image_megapixels" in answers.quarantine.summary()[0]
    with pytest.raises(ConfigError, match="max_image is not a cap"):
        Runtime(full_app[1], max_image=3)


def test_fitting_without_torch_says_what_to_install(plain_run, tmp_path):
    told = (
        "a fitted model needs the package torch, which is not installed.\n"
        'Install it with:  pip install "plait[train]"'
    )
    code = "from plait.cli.main import main; sys.argv[0] = 'plait'; main()"
    done = run_blocked({"torch"}, code, "evaluate", plain_run[1], "test.csv")
    assert done.returncode == 1
    assert done.stderr == f"error: {told}\n"
    code = """
    import plait
    from plait.errors import MissingExtra
    try:
        plait.fit
    except MissingExtra as error:
        print(error)
    plait.open_table
    """
    done = run_blocked({"torch"}, code)
    assert done.stdout == told + "\n", done.stderr
