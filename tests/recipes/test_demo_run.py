"""`plait demo`: the main job on data made on the spot."""

import json
import sys

import pytest

import plait
from plait.cli import main as cli
from plait.display.progress import Silent
from plait.errors import MissingExtra
from plait.recipes.demo import run as demo_run

pytestmark = pytest.mark.usefixtures("few_resamples")


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path, capsys):
    def absent(*args, **named):
        raise MissingExtra("The demo", "demo", "espeakng-loader")

    monkeypatch.setattr(demo_run, "build", absent)
    monkeypatch.setattr(sys, "argv", ["plait", "demo", "--out", str(tmp_path / "demo")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert 'pip install "plait[demo]"' in capsys.readouterr().err


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason='needs pip install "plait[demo]"')
    import plait.answers.evaluation

    whole = plait.answers.evaluation.bootstrap
    folder = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            plait.answers.evaluation,
            "bootstrap",
            lambda *args, **named: whole(*args, **{**named, "resamples": 2}),
        )
        return folder, demo_run.run(folder, rows=60, seed=1, epochs=1, reporter=Silent())


def test_it_makes_fits_and_measures(built):
    folder, found = built
    assert (folder / "data" / "train.csv").is_file()
    model = plait.load(folder / "model")
    assert model.verify() <= 1e-4
    assert set(model.schema.inputs.values()) == {
        "image", "audio", "text", "numeric", "datetime", "categorical", "signal",
    }  # fmt: skip
    assert model.schema.group == "voice"
    assert len(model.classes_) == 10
    json.dumps(found, allow_nan=False)
    assert found["test"]["source"] == "test.csv"
    assert set(found["test"]["targets"]["label"]["alone"]) == {
        "image",
        "audio",
        "text",
        "pulse",
        "tabular",
    }
    assert found["next"]["look at the data"].startswith("plait inspect ")
    assert found["next"]["the report"] == str(folder / "model" / "report.html")
    assert found["next"]["the model card"] == str(folder / "model" / "README.md")
    assert (folder / "model" / "report.html").is_file()


def test_the_command_prints_the_figures_and_what_to_run_next(built, monkeypatch, capsys):
    folder, found = built
    monkeypatch.setattr(demo_run, "run", lambda *args, **named: found)
    monkeypatch.setattr(sys, "argv", ["plait", "demo", "-o", str(folder), "-q"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    told = capsys.readouterr()
    assert "label (multiclass)" in told.out
    assert f"predict new rows: plait predict {folder / 'model'} " in told.out
    monkeypatch.setattr(sys, "argv", ["plait", "demo", "-o", str(folder), "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out) == found
