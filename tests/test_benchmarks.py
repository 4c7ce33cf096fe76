"""The benchmarks' own logic: verdicts, merging, the report, the list. Nothing is measured here."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    bare_encoders,
    fit_race,
    html_report,
    pretrained,
    report,
    reports,
    runs,
    transfer,
)
from benchmarks.context import Bench  # noqa: E402
from benchmarks.data import Finder, NoDataError, Source  # noqa: E402
from benchmarks.lines import Line, Promise, at_least, at_most, more_than, not_run  # noqa: E402
from benchmarks.measurements import MEASUREMENTS  # noqa: E402
from plait.data.store import PreparedColumn  # noqa: E402

STAMP = {
    "commit": "abc1234+dirty",
    "date": "2026-01-01 00:00 UTC",
    "command": "python -m benchmarks",
    "machine": "a processor, 2 cores",
    "load": 0.1,
}


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (Line("a", "", 95.0, reference=100.0, promise=at_least(0.9, "ratio")), "pass"),
        (Line("a", "", 85.0, reference=100.0, promise=at_least(0.9, "ratio")), "fall short"),
        (Line("a", "", 0.93, promise=at_least(0.93)), "pass"),
        (Line("a", "", 15.1, promise=at_most(15, unit="ms")), "fall short"),
        (Line("a", "", 0.70, reference=0.71, promise=at_least(-0.02, "difference")), "pass"),
        (Line("a", "", 0.68, reference=0.71, promise=at_least(-0.02, "difference")), "fall short"),
        (Line("a", "", 0.5, reference=0.5, promise=more_than(0)), "fall short"),
        (Line("a", "", None, promise=at_most(39)), "fall short"),
        (Line("a", "", float("nan"), promise=at_most(39)), "fall short"),
        (Line("a", "", 1.0), "for information"),
        (not_run("a", "", "no data: x"), "not run (no data: x)"),
    ],
)
def test_verdict(line: Line, verdict: str) -> None:
    assert line.verdict == verdict
    assert Line.from_json(json.loads(json.dumps(line.to_json()))).verdict == verdict


def test_promise_in_words() -> None:
    assert str(at_most(15, unit="ms")) == "value ≤ 15 ms"
    assert str(Promise("difference", "≥", -0.02)) == "difference ≥ -0.02"


def found(*lines: Line) -> dict[str, object]:
    return {"lines": [line.to_json() for line in lines]}


def fake() -> report.Results:
    results: report.Results = {"measured": {}, "runs": {}}
    good = Line("training speed", "samples/s", 950.0, "samples/s", None, 1000.0, "bare | loop")
    short = Line("avdigits", "accuracy", 0.9, spread=0.01, promise=at_least(0.93))
    report.merge(results, "training", found(good), STAMP)
    report.merge(results, "avdigits", found(short, Line("race", "", None)), STAMP)
    report.merge(results, "clipart", found(not_run("clipart", "", "no data: here")), STAMP)
    table = {"title": "Fusions", "head": ["data", "fusion"], "rows": [["avdigits", "concat"]]}
    report.merge(results, "fusions", {"table": table}, STAMP)
    return results


def test_markdown_tells_everything() -> None:
    text = report.markdown(fake(), list(MEASUREMENTS))
    assert "| training speed | samples/s | 950 samples/s | 1,000 samples/s: bare \\| loop |" in text
    assert "| 0.900 ± 0.010 |" in text
    assert "never reached" in text
    assert "not run (no data: here)" in text
    assert "0 pass, 1 fall short, 1 not run." in text
    assert "abc1234+dirty, 2026-01-01 00:00 UTC, A, 0.1" in text
    assert "**A**: a processor, 2 cores" in text
    assert "| avdigits | concat |" in text
    assert text.index("training speed") < text.index("never reached") < text.index("## Fusions")


@pytest.mark.parametrize("width", [90, 200])
def test_terminal_table(width: int) -> None:
    console = Console(width=width, file=StringIO())
    report.show(console, fake(), list(MEASUREMENTS))
    text = console.file.getvalue()
    assert "training speed" in text
    assert "fall short" in text
    assert "concat" in text


def test_what_was_not_run_never_replaces_a_figure(tmp_path: Path) -> None:
    results = fake()
    before = results["measured"]["training"]
    report.merge(results, "training", found(not_run("training", "", "no data")), STAMP)
    assert results["measured"]["training"] == before
    report.merge(results, "clipart", found(Line("clipart", "", 1.0)), STAMP)
    assert [line["why"] for line in results["measured"]["clipart"]["lines"]] == [""]
    report.save(tmp_path / "results.json", results)
    assert report.load(tmp_path / "results.json") == results
    assert report.load(tmp_path / "absent.json") == {"measured": {}, "runs": {}}


def test_finished_runs_are_remembered_until_the_source_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = [
        {"kind": "fit", "data": "avdigits", "options": {}, "seed": seed, "rows": None}
        for seed in range(2)
    ]
    saved: list[int] = []
    made = runs.Runs(2, {}, lambda: saved.append(len(made.known)), lambda text: None)
    monkeypatch.setattr(runs, "source_hash", lambda: "one")
    asked: list[int] = []

    def run(self: runs.Runs, spec: runs.Spec) -> tuple[runs.Result, float]:
        asked.append(spec["seed"])
        return {"all": {"accuracy": spec["seed"] / 10}}, 1.0

    monkeypatch.setattr(runs.Runs, "_run", run)
    assert [one["all"]["accuracy"] for one in made.do(specs)] == [0.0, 0.1]
    assert made.do(list(reversed(specs)))[0]["all"]["accuracy"] == 0.1
    assert sorted(asked) == [0, 1]
    assert saved == [1, 2]
    monkeypatch.setattr(runs, "source_hash", lambda: "two")
    made.do(specs[:1])
    assert sorted(asked) == [0, 0, 1]


def test_data_are_unpacked_once_and_their_absence_is_told(tmp_path: Path) -> None:
    finder = Finder(tmp_path / "data", tmp_path / "work")
    with pytest.raises(
        NoDataError, match="no data: neither avdigits/train.csv nor avdigits.tar.gz"
    ):
        finder.find("avdigits")
    inside = tmp_path / "avdigits"
    inside.mkdir()
    (inside / "train.csv").write_text("label\none\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "avdigits.tar.gz", "w:gz") as archive:
        archive.add(inside, "avdigits")
    first = finder.find("avdigits")
    assert first.train.is_file()
    first.test.touch()
    assert finder.find("avdigits").test.is_file()


def test_transfer_promises_more_than_both_deviations() -> None:
    def results(*scores: float) -> list[runs.Result]:
        return [
            {
                "all": {"balanced_accuracy": 0.0},
                "also": {"style_test": {"all": {"balanced_accuracy": score}}},
            }
            for score in scores
        ]

    told = transfer.transferred(
        "emoji", "style_test", "", results(0.5, 0.6, 0.7), results(0.2, 0.3, 0.4)
    )
    assert told.value == pytest.approx(0.6)
    assert told.reference == pytest.approx(0.3)
    assert str(told.promise) == "difference > +0.2"
    assert told.verdict == "pass"
    close = transfer.transferred(
        "emoji", "style_test", "", results(0.3, 0.4, 0.5), results(0.2, 0.3, 0.4)
    )
    assert close.verdict == "fall short"
    alone = transfer.transferred("emoji", "test", "name", results(0.5), results(0.4))
    assert (alone.value, alone.spread, alone.verdict) == (0.0, None, "for information")


def test_bare_encoding_has_the_batches_of_the_store() -> None:
    lengths = np.array([*range(300, 0, -1)])
    lengths[7] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = PreparedColumn(np.zeros(offsets[-1], np.int32), offsets, lengths > 0)
    batches = [cells for _, cells in bare_encoders.batches([column])]
    assert sorted(np.concatenate(batches).tolist()) == [n for n in range(300) if n != 7]
    assert [len(cells) for cells in batches] == [32] * 7 + [31, 32, 12]
    assert batches[0].tolist() == list(range(255, 223, -1)), "sorted by length within a chunk"
    whole = PreparedColumn(np.zeros((3, 2, 2, 3), np.uint8), None, np.array([True, False, True]))
    assert [cells.tolist() for _, cells in bare_encoders.batches([whole])] == [[0, 2]]


def test_race_tells_what_each_validation_finds() -> None:
    class Trainer:
        def __init__(self, model: str, loader: str, validate: Callable[[str], object]) -> None:
            self.found = validate(model)

    seen: list[object] = []
    made = fit_race.listening(Trainer, seen.append)("model", "loader", lambda model: {"score": 1.0})
    assert made.found == {"score": 1.0}
    assert seen == [{"score": 1.0}]


def test_pretrained_lines_say_which_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "installed", lambda name: None)
    with pytest.raises(
        NoDataError, match="no weights of all-minilm-l6-v2, efficientnet-lite0: pip"
    ):
        pretrained.needed()


def test_list_names_every_measurement() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    named = [line.split()[0] for line in done.stdout.splitlines()]
    assert named == list(MEASUREMENTS)
    assert all(one.load() for one in MEASUREMENTS.values())


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that look at next to nothing."""
    from plait.insight.report import report as module

    few = module.Limits(
        rows=8, degraded=2, levels=(0.0, 1.0), checked=0, examples=1, steps=1, resamples=3
    )
    monkeypatch.setattr(module, "Limits", lambda: few)


@pytest.mark.usefixtures("few_rows", "few_resamples")
def test_reports_are_written_of_the_data_that_is_there(
    maker: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("train", 40), ("test", 8)):
        maker.csv(tmp_path / "avdigits", f"{name}.csv", maker.plain(rows))
    out = tmp_path / "out"
    asked = ["--data", str(tmp_path), "--out", str(out), "--epochs", "1"]
    assert reports.main(asked) == 0
    told = capsys.readouterr().out
    assert "clipart is left out: no data: neither clipart/train.csv nor" in told
    assert "reports on: avdigits" in told and "avdigits.html (0." in told
    assert (out / "avdigits.html").is_file() and not (out / "avdigits" / "report.html").exists()
    written = (out / "avdigits" / "model.safetensors").stat().st_mtime_ns
    assert reports.main([*asked, "--language", "zh"]) == 0  # the model is there already
    assert (out / "avdigits" / "model.safetensors").stat().st_mtime_ns == written
    assert "label 的报告" in (out / "avdigits.html").read_text(encoding="utf-8")


def test_without_data_the_demo_is_reported_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = Source(tmp_path, "the demo", "label")
    monkeypatch.setattr(Finder, "find_or_demo", lambda self, name: demo)
    assert reports.sources(Finder(tmp_path, tmp_path)) == [demo]
    assert "reports on: the demo" in capsys.readouterr().out


@pytest.mark.usefixtures("few_rows")
def test_a_report_is_timed_and_weighed(
    plain_run: Any, maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.csv(tmp_path, "test.csv", maker.plain(8))
    source = Source(tmp_path, "crumbs", "label")
    monkeypatch.setattr(Finder, "find_or_demo", lambda self, name: source)
    monkeypatch.setattr(html_report, "fitted", lambda bench, source: plain_run[0])
    said: list[str] = []
    bench = Bench(Finder(tmp_path, tmp_path), None, tmp_path, 1, True, said.append)  # type: ignore[arg-type]
    seconds, megabytes = html_report.measure(bench)
    assert seconds.verdict == megabytes.verdict == "pass" and "crumbs" in seconds.what
    assert 0 < megabytes.value < 1 and seconds.value > 0 and said
