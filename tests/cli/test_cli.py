"""The command line: what goes to which stream, exit codes, and never a stack trace."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

import plait

pytestmark = pytest.mark.usefixtures("few_resamples")

COMMANDS = (
    *("inspect", "encoders", "fusions", "options", "fit", "demo"),
    *(
        "evaluate",
        "report",
        "predict",
        "explain",
        "impute",
        "compare",
        "compress",
        "export",
        "serve",
    ),
    *("checks", "cache"),
)
"""In the order of work."""

QUICK = ["--preset", "fast", "--epochs", "1", "--batch-size", "16"]


@pytest.fixture(scope="module")
def table(maker, tmp_path_factory):
    """A CSV without media, and one row fewer for each answer wanted."""
    return maker.csv(tmp_path_factory.mktemp("cli"), "train.csv", maker.plain(40))


def _shell(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "plait", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run, command):
    code, out, err = run(command, "--help")
    assert code == 0
    assert re.search(rf"Example: plait {command}\b", out)
    assert err == ""


def test_help_lists_every_command_and_imports_no_torch():
    done = _shell("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "plait.cli.main" in loaded
    assert not loaded & {"torch", "pyarrow", "sklearn", "pandas", "accelerate"}


@pytest.fixture
def eighty(monkeypatch):
    """A terminal of eighty columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("fusions", "options"):
        monkeypatch.setattr(f"plait.cli.{command}.out", Console(width=80))


def test_help_groups_commands_in_the_order_of_work(run, eighty):
    _, out, _ = run("--help")
    panels = re.findall(r"╭─ ([A-Z][a-z ]+) ─", out)
    assert panels == ["Options", "Look", "Fit", "Use", "Improve", "Ship", "This machine"]
    assert tuple(re.findall(r"^│ ([a-z]+) ", out, flags=re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize(
    ("command", "panels"),
    [
        ("fit", ["What to read", "The model", "Training", "Output"]),
        ("serve", ["Listening", "Access", "Limits", "Throughput"]),
    ],
)
def test_help_groups_the_options_of_a_command(run, eighty, command, panels):
    _, out, _ = run(command, "--help")
    assert re.findall(r"╭─ ([A-Z][a-z ]+) ─", out) == ["Arguments", "Options", *panels]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_eighty_columns_and_names_no_file_of_the_repository(run, eighty, command):
    _, out, _ = run(command, "--help")
    assert max(map(len, out.splitlines())) <= 80
    assert "docs/" not in out


def test_version(run):
    assert run("--version") == (0, f"plait {plait.__version__}\n", "")


def test_fusions_lists_every_method_six_of_them_first(run, eighty):
    code, out, err = run("fusions")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    names = re.findall(r"^  ([a-z]+) ", out, flags=re.MULTILINE)
    assert sorted(names) == sorted(plait.FUSIONS)
    assert out.splitlines()[0] == "To start with" and names[0] == "hybrid"
    assert out.splitlines()[7] == "Basic"
    found = json.loads(run("fusions", "--json")[1])
    assert found["gmu"]["family"] == "basic" and found["gmu"]["targets"] == []
    assert "binary" in found["dempster"]["targets"]
    assert "registered elsewhere" not in {method["family"] for method in found.values()}


def test_a_registered_fusion_is_shown_without_markup(run, eighty, monkeypatch):
    class Doubled(plait.FUSIONS["mean"]):
        """``z = 2 v`` of :class:`~torch.Tensor`, **twice**."""

    monkeypatch.setitem(plait.FUSIONS, "doubled", Doubled)
    assert "z = 2 v of torch.Tensor, twice." in run("fusions")[1]


def test_options_lists_every_option(run, eighty):
    code, out, err = run("options")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert all(f"\n{name} = " in out for name in plait.Config.model_fields)
    code, out, _ = run("options", "epochs", "lr", "--json")
    assert list(json.loads(out)) == ["epochs", "lr"]
    assert json.loads(out)["lr"]["default"] is None
    found = json.loads(run("options", "fusion", "schedule", "share", "--json")[1])
    assert [option["default"] for option in found.values()] == ["hybrid", "cosine", []]
    assert found["schedule"]["choices"] == ["cosine", "linear", "constant", "onecycle"]
    assert found["fusion"]["choices"] == []
    assert "Choices: cosine, linear, constant, onecycle." in run("options", "schedule")[1]
    code, _, err = run("options", "droput")
    assert code == 2 and "unknown option 'droput'. Did you mean 'dropout'?" in err


def test_no_command_is_help(run):
    code, out, err = run()
    assert code in (0, 2)
    assert "inspect" in out + err


# The main job


@pytest.fixture(scope="module")
def made(maker, braid, tmp_path_factory):
    """`plait fit` on a table of every modality, as a shell runs it."""
    out = tmp_path_factory.mktemp("made") / "run"
    done = _shell(
        "fit", braid / "train.csv", "--target", "label", "--out", out, *QUICK,
        "--ignore", "score", "--ignore", "tags", "--set", "golden_rows=2", "--column", "shop=categorical",
        "--encoder", "voice=gru", "--encoder", "image=cnn", "--fusion", "late", "--threads", "1",
    )  # fmt: skip
    return done, out


def test_fit_saves_a_model_and_shows_its_figures(made, braid):
    done, out = made
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "label (multiclass), " in done.stdout
    assert "held out for validation with seed 0" in done.stdout
    for stream in ("photo", "note", "voice", "pulse", "tabular"):
        assert f"only {stream}" in done.stdout
        assert f"without {stream}" in done.stdout
    assert f"Saved to {out}; its model card is {out / 'README.md'}" in done.stdout.replace(
        "\n", " "
    )
    assert "photo: image (16x16 colour" in done.stderr
    assert "shop: categorical" in done.stderr and "as requested" in done.stderr
    assert "prepare" in done.stderr and "train" in done.stderr
    model = plait.load(out)
    assert model.blueprint.fusion == "late"
    assert model.blueprint.encoders["voice"] == "gru"
    assert model.blueprint.encoders["photo"] == "cnn"
    assert model.verify() <= 1e-4
    assert (out / "training" / "checkpoint" / "state.json").is_file()
    assert list((out / "training" / "logs").glob("events*"))


def test_evaluate_predict_and_checks_of_it(run, made, braid, tmp_path):
    out = made[1]
    code, shown, err = run("evaluate", out, braid / "test.csv", "--resamples", "5")
    assert code == 0
    assert "label (multiclass), 24 rows of test.csv" in shown
    assert "95 % from" in shown
    code, shown, err = run(
        "evaluate", out, braid / "test.csv", "--json", "--quiet", "--resamples", "0"
    )
    assert (code, err) == (0, "")
    result = json.loads(shown)["targets"]["label"]
    assert result["rows"] == 24
    assert set(result["alone"]) == {"photo", "note", "voice", "pulse", "tabular"}

    answers = tmp_path / "answers.csv"
    code, shown, err = run("predict", out, braid / "test.csv", "-o", answers)
    assert (code, shown) == (0, f"24 answers written to {answers}\n")
    with answers.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["label", "label_confidence", "label_p_a", "label_p_b", "label_p_c"]
    assert [line["label"] for line in lines] == plait.load(out).predict(braid / "test.csv").tolist()
    assert not (tmp_path / "answers.unreadable.csv").exists()

    code, shown, _ = run("predict", out, braid / "test.csv", "--quiet")
    assert "24 answers" in shown
    assert "... and 4 more; write them all with -o answers.csv" in shown
    code, shown, _ = run("checks", out)
    assert code == 0
    assert re.search(r"golden rows\s+2, answers agree to \d", shown)
    code, shown, _ = run("checks", out, "--json")
    assert json.loads(shown)["Model"]["folder"] == str(out)


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "parquet"])
def test_answers_in_every_format(run, plain_run, table, tmp_path, ending):
    path = tmp_path / f"answers.{ending}"
    assert run("predict", plain_run[1], table, "--output", path, "-q")[0] == 0
    assert plait.open_table(path).rows == 40
    assert plait.open_table(path).cells("label") == plain_run[0].predict(table).tolist()


def test_inspect(run, braid):
    code, shown, err = run("inspect", braid / "train.csv", "--target", "label", "--ignore", "score")
    assert (code, err) == (0, "")
    assert "72 rows, 10 columns" in shown
    assert re.search(r"photo\s+input\s+image", shown)
    assert re.search(r"label\s+target\s+multiclass", shown)
    assert re.search(r"score\s+ignored .* as requested", shown)
    code, shown, err = run(
        "inspect", braid / "train.csv", "-t", "tags", "--kind", "tags=multilabel", "--column", "note=ignore",
        "--group", "shop", "--json", "--root", braid,
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(shown)
    assert found["targets"][0]["kind"] == "multilabel"
    roles = {column["name"]: column["role"] for column in found["schema"]["columns"]}
    assert (roles["note"], roles["shop"], roles["tags"]) == ("ignored", "group", "target")


def test_json_goes_to_standard_output_and_notes_to_standard_error(run, table, tmp_path):
    code, shown, err = run("fit", table, "-t", "label", "-o", tmp_path / "run", *QUICK, "--json")
    assert code == 0
    assert "target label: binary" in err
    found = json.loads(shown)
    assert found["out"] == str(tmp_path / "run")
    assert len(found["history"]) == 1
    assert "label" in found["metrics"]["targets"]
    code, shown, err = run("predict", tmp_path / "run", table, "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(shown)
    assert len(found["answers"]["label"]) == 40
    assert (found["unreadable"], found["absent"]) == ([], [])


def test_quiet_is_quiet(run, table, tmp_path):
    code, _, err = run("fit", table, "-t", "label", "-o", tmp_path / "run", *QUICK, "--quiet")
    assert (code, err) == (0, "")


def test_set_takes_json_none_and_words(run, table, tmp_path):
    code, _, err = run(
        "fit", table, "-t", "label", "-o", tmp_path / "run", *QUICK, "-q", "--lr", "0.01", "--seed", "7",
        "--set", "dropout=0.2", "--set", "ema=none", "--set", 'share=["text"]', "--set", "augment=false",
        "--set", "optimizer=sgd", "--set", 'encoders={"note": "gru"}', "--set", "golden_rows=1",
    )  # fmt: skip
    assert code == 0, err
    config = plait.load(tmp_path / "run").config
    assert (config.dropout, config.ema, config.share) == (0.2, None, ("text",))
    assert (config.augment, config.optimizer, config.lr, config.seed) == (False, "sgd", 0.01, 7)
    assert config.encoders == {"note": "gru"}


def test_a_model_is_replaced_only_on_request(run, table, tmp_path):
    arguments = ["fit", table, "-t", "label", "-o", tmp_path / "run", *QUICK, "-q"]
    assert run(*arguments)[0] == 0
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "already holds a model; name another folder, or pass overwrite=True (--overwrite)" in err
    assert run(*arguments, "--overwrite", "--seed", "3")[0] == 0
    assert plait.load(tmp_path / "run").config.seed == 3


# Unreadable cells


def test_unreadable_cells_are_named_and_listed(run, maker, tmp_path):
    rows = maker.rows(tmp_path, 40)
    rows[17]["photo"] = "broken.png"
    (tmp_path / "broken.png").write_bytes(b"GIF89a nonsense")
    table = maker.csv(tmp_path, "t [bold].csv", rows)
    others = [word for name in ("voice", "pulse", "score", "tags") for word in ("--ignore", name)]
    code, _, err = run("fit", table, "-t", "label", "-o", tmp_path / "run", *QUICK, *others)
    assert code == 0
    told = "photo: 1 unreadable cell in row 17: 'broken.png': "
    assert f"unreadable, counted as missing: {told}" in err.replace("\n", " ")
    answers = tmp_path / "out [red]" / "answers.csv"
    code, out, err = run("predict", tmp_path / "run", table, "-o", answers)
    assert (code, out) == (0, f"40 answers written to {answers}\n")
    assert f"! {told}" in err
    listed = answers.with_name("answers.unreadable.csv")
    assert f"1 unreadable cell is listed in {listed}" in err
    with listed.open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["row"], line["column"]) == ("17", "photo")
    assert line["reason"].startswith("'broken.png': ")
    with answers.open() as file:
        assert len(file.readlines()) == 41
    code, out, err = run("predict", tmp_path / "run", table, "--json")
    assert [entry[:2] for entry in json.loads(out)["unreadable"]] == [[17, "photo"]]


def test_absent_columns_are_named(run, plain_run, maker, tmp_path):
    rows = [{"note": row["note"], "more": 1} for row in maker.plain(4)]
    code, _, err = run("predict", plain_run[1], maker.csv(tmp_path, "t.csv", rows), "-q")
    assert code == 0
    assert "! the table has no column 'price'; it counted as missing in every row" in err
    assert "! the table has no column 'shop'; it counted as missing in every row" in err


# Errors


def _bad(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("price,label\n")
    (tmp_path / "one.csv").write_text("price,label\n" + "1.5,a\n2.5,a\n" * 6)
    (tmp_path / "twice.csv").write_text("price,price,label\n1,2,a\n")
    (tmp_path / "t.pkl").write_text("x")
    (tmp_path / "gone.csv").write_text("photo,label\n" + "no.png,a\nnot.png,b\n" * 12)
    (tmp_path / "latin.csv").write_bytes(b"price,label\n1,caf\xe9\n2,b\n3,c\n\xff\xfe,\xff\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("no.csv", 1, "there is no file '"),
        ("empty.csv", 1, "empty.csv"),
        ("head.csv", 1, "has no rows, only the columns price, label"),
        ("one.csv", 1, "the target 'label' has a single class 'a' in all 12 rows"),
        ("twice.csv", 1, "has more than one column named 'price'"),
        ("t.pkl", 1, "plait never opens pickles"),
        ("gone.csv", 1, "column 'photo': 24 of 24 cells (100%) are unreadable"),
        ("latin.csv", 1, ""),
    ],
)
def test_bad_tables_are_a_message_and_exit_1(run, tmp_path, name, code, message):
    path = _bad(tmp_path) / name
    done, out, err = run("fit", path, "-t", "label", "-o", tmp_path / "run", *QUICK, "--column", "photo=image"
                         if name == "gone.csv" else "price=numeric", "--quiet")  # fmt: skip
    assert (done, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "run" / "bundle.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "predict", "checks"])
def test_no_bundle_is_a_message(run, table, tmp_path, command):
    arguments = [command, tmp_path / "no"] + ([] if command == "checks" else [table])
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert "no is not a plait bundle: it has no bundle.json. There is no such folder" in err


def test_answers_that_cannot_be_written(run, plain_run, table, tmp_path):
    code, _, err = run("predict", plain_run[1], table, "-q", "-o", tmp_path / "answers.xlsx")
    assert code == 1
    assert "end its name in .csv, .tsv, .jsonl, .ndjson, .parquet" in err


def test_misspelt_options_are_told_at_once(run, table, tmp_path):
    code, out, err = run(
        "fit", table, "--traget", "label", "--uot=x", "--dropout", "0.1", "--frobnicate"
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: 4 options are wrong:\n")
    assert "--traget: `plait fit` has no such option. Did you mean '--target'?" in err
    assert "--uot: `plait fit` has no such option. Did you mean '--out'?" in err
    assert "--dropout: give it as --set dropout=VALUE" in err
    assert "--frobnicate: `plait fit` has no such option." in err


def test_wrong_values_are_told_at_once(run, table, tmp_path):
    code, out, err = run(
        "fit", table, "-t", "label", "-o", tmp_path / "run", "--preset", "fats", "--fusion", "atention",
        "--set", "lrr=1", "--set", "dropout=much",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "4 options are wrong" in err
    for hint in ("'fast'", "'attention'", "'lr'"):
        assert f"Did you mean {hint}?" in err


def test_pairs_without_an_equals_sign_are_told_at_once(run, table, tmp_path):
    code, out, err = run(
        "fit", table, "-t", "label", "-o", tmp_path / "run", "--column", "photo", "--kind", "label",
        "--set", "dropout", "--encoder", "image",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "4 options are wrong" in err
    assert "--column photo: write it as NAME=VALUE, for example --column photo=image." in err
    assert "--set dropout: write it as NAME=VALUE." in err


@pytest.mark.parametrize(
    "arguments",
    [["fti"], ["fit", "t.csv"], ["fit", "t.csv", "-t", "x", "-o", "y", "--epochs", "many"],
     ["evaluate"], ["predict", "a", "b", "c"], ["cache", "--trim", "-1"], ["fit", "-z"]],
)  # fmt: skip
def test_wrong_usage_is_exit_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: plait" in err


def test_a_bug_is_called_one_and_shows_no_trace(run, table, monkeypatch):
    def broken(*args, **named):
        raise RuntimeError("[red]boom")

    monkeypatch.setattr("plait.cli.inspect.inspect_table", broken)
    code, out, err = run("inspect", table)
    assert (code, out) == (70, "")
    assert "This is a bug in plait: RuntimeError: [red]boom" in err
    assert "PLAIT_DEBUG=1" in err
    monkeypatch.setenv("PLAIT_DEBUG", "1")
    with pytest.raises(RuntimeError, match="boom"):
        run("inspect", table)


def test_a_full_disk_is_no_bug(run, table, monkeypatch):
    def full(*args, **named):
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr("plait.cli.inspect.inspect_table", full)
    assert run("inspect", table) == (1, "", "error: /somewhere: No space left on device.\n")
    monkeypatch.setenv("PLAIT_DEBUG", "1")
    with pytest.raises(OSError, match="No space left"):
        run("inspect", table)


def test_a_disk_that_fills_up_while_training(table, tmp_path):
    """The kernel refuses files over 60 kB: the checkpoint cannot be written."""
    code = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "from plait.cli.main import main\n"
        "main()\n"
    )
    arguments = [
        "fit",
        table,
        "-t",
        "label",
        "-o",
        tmp_path / "run",
        *QUICK,
        "--set",
        "checkpoint_seconds=0",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        # Coverage could not write its own file either.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: the checkpoint could not be saved to" in done.stderr
    assert "Free some space, then continue with --resume" in done.stderr
    assert not (tmp_path / "run" / "bundle.json").exists()


def test_a_closed_pipe_is_no_trace(table):
    done = subprocess.run(
        f"{sys.executable} -m plait inspect {table} --json | true",
        shell=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_ctrl_c_and_resume(run, table, tmp_path):
    arguments = [
        "fit", table, "-t", "label", "-o", tmp_path / "run", "--preset", "fast", "--epochs", "6",
        "--batch-size", "4", "--set", "patience=50",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "plait", *map(str, arguments), "--set", "checkpoint_seconds=0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    state = tmp_path / "run" / "training" / "checkpoint" / "state.json"
    until = time.monotonic() + 90
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert (
        "Interrupted. Run the same command again: with --resume a fit continues from its last"
        in err
    )
    assert not (tmp_path / "run" / "bundle.json").exists()
    code, out, err = run("evaluate", tmp_path / "run", table)
    assert code == 1
    assert "A fit was started there and has not finished; continue it with --resume" in err
    code, _, err = run(*arguments, "--resume")
    assert code == 0, err
    assert re.search(r"resumed at epoch \d+, step \d+", err)
    assert run("checks", tmp_path / "run")[0] == 0
    assert len(plait.load(tmp_path / "run").history) == 6


# The cache


def test_cache(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    code, out, _ = run("cache", "--json")
    empty = json.loads(out)
    assert code == 0
    assert (empty["folder"], empty["entries"], empty["deleted"]) == (str(tmp_path / "cache"), 0, 0)
    for number, kind in enumerate(("store", "store", "tables")):
        entry = tmp_path / "cache" / kind / str(number)
        entry.mkdir(parents=True)
        (entry / "data").write_bytes(b"x" * 2_000_000)
        os.utime(entry, (number, number))
    assert json.loads(run("cache", "--json")[1])["megabytes"] == 6.0
    trimmed = json.loads(run("cache", "--trim", "0.005", "--json")[1])
    assert (trimmed["deleted"], trimmed["entries"]) == (1, 2)
    code, out, _ = run("cache", "--clear")
    assert code == 0
    assert re.search(r"deleted\s+2 *\n", out)
    assert json.loads(run("cache", "--json")[1])["entries"] == 0
    monkeypatch.setenv("PLAIT_CACHE_GB", "lots")
    code, _, err = run("cache")
    assert code == 1
    assert "PLAIT_CACHE_GB is 'lots'; it must be a positive number of gigabytes" in err


def test_a_changed_model_fails_its_checks(run, plain_run, tmp_path):
    shutil.copytree(plain_run[1], tmp_path / "run")
    golden = tmp_path / "run" / "golden.json"
    golden.write_text(golden.read_text().replace("0.", "1.", 1))
    code, out, err = run("checks", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "golden.json was changed or damaged after the bundle was saved" in err


@pytest.mark.parametrize("name", ["out", "target", "preset", "seed"])
def test_set_leaves_what_has_a_flag_to_its_flag(run, table, tmp_path, name):
    code, _, err = run("fit", table, "-t", "label", "-o", tmp_path, "--set", f"{name}=x")
    assert code == 2
    assert f"--set {name}: this option has a flag of its own." in err
