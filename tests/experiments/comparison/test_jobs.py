"""Many processes, each with a result file; a broken-off lot continues."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plait.experiments.comparison import jobs
from plait.experiments.comparison.run import Run

JOBS = [Run("fusion", name, seed, "print") for seed in (0, 1) for name in ("concat", "late")]

WORK = """
import json, os, sys, time
asked = json.loads(sys.argv[1])
run = asked["run"]
name = run["name"]
if name == "killed":
    print("half a line"); sys.stdout.flush(); os.kill(os.getpid(), 9)
if name == "silent":
    print("a trace\\nthe last line", file=sys.stderr); sys.exit(3)
if name == "forever":
    time.sleep(60)
found = {**run, "method": name, "metrics": {}}
if name == "odd":
    found = {**run, "method": name, "error": "ConfigError: no\\nsuch"}
with open(asked["out"] + ".draft", "w") as file:
    json.dump(found, file)
os.replace(asked["out"] + ".draft", asked["out"])
"""


class Told:
    """A reporter that remembers."""

    def __init__(self):
        self.notes, self.stages = [], []

    def note(self, text):
        self.notes.append(text)

    def stage(self, title, total, unit):
        from contextlib import contextmanager

        self.stages.append([title, total, unit, 0])
        line = self.stages[-1]

        class Stage:
            def advance(self, amount=1, **metrics):
                line[3] += amount

        @contextmanager
        def opened():
            yield Stage()

        return opened()


@pytest.fixture
def started(monkeypatch):
    """Every run is a small process of its own; returns what was started."""
    asked = []

    def launch(argument, log):
        asked.append(argument)
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-S", "-c", WORK, json.dumps(argument)], stdout=file, stderr=file
            )

    monkeypatch.setattr(jobs, "launch", launch)
    return asked


def test_every_job_has_a_result_in_order(started, tmp_path):
    told = Told()
    found = jobs.run_all(tmp_path, JOBS, 2, told)
    assert [(r["method"], r["seed"]) for r in found] == [(j.name, j.seed) for j in JOBS]
    assert told.stages == [["compare", 4, "runs", 4]] and told.notes == []
    files = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert files == ["concat.0.json", "concat.1.json", "late.0.json", "late.1.json"]  # and no log


def test_a_second_call_starts_nothing(started, tmp_path):
    first = jobs.run_all(tmp_path, JOBS, 2, Told())
    started.clear()
    told = Told()
    assert jobs.run_all(tmp_path, JOBS, 2, told) == first
    assert started == []
    assert told.notes == ["4 of 4 runs were finished before"]
    assert told.stages == []


def test_what_is_missing_damaged_or_of_other_data_is_run_again(started, tmp_path):
    jobs.run_all(tmp_path, JOBS, 2, Told())
    started.clear()
    jobs.path_of(tmp_path, JOBS[0]).unlink()
    jobs.path_of(tmp_path, JOBS[1]).write_text("[1", encoding="utf-8")
    jobs.path_of(tmp_path, JOBS[2]).write_text("[]", encoding="utf-8")
    told = Told()
    jobs.run_all(tmp_path, JOBS, 1, told)
    assert [(a["run"]["name"], a["run"]["seed"]) for a in started] == [
        ("concat", 0), ("late", 0), ("concat", 1),
    ]  # fmt: skip
    assert told.notes == ["1 of 4 runs were finished before"]
    started.clear()
    jobs.run_all(tmp_path, [Run("fusion", "late", 1, "other print")], 1, Told())
    assert len(started) == 1


def test_failed_runs_are_told_and_the_rest_goes_on(started, tmp_path):
    names = ("odd", "killed", "silent", "late")
    told = Told()
    found = jobs.run_all(tmp_path, [Run("fusion", n, 0, "p") for n in names], 2, told)
    errors = {r["method"]: r.get("error") for r in found}
    assert errors["late"] is None
    assert errors["odd"] == "ConfigError: no\nsuch"
    log = tmp_path / "runs" / "silent.0.log"
    assert errors["silent"] == f"the process ended with status 3; see {log}. the last line"
    assert "was stopped by signal 9, as when memory runs out; see " in errors["killed"]
    assert len(told.notes) == 3
    assert "odd, seed 0 failed: ConfigError: no" in told.notes
    started.clear()
    jobs.run_all(tmp_path, [Run("fusion", n, 0, "p") for n in names], 2, Told())
    assert {a["run"]["name"] for a in started} == {"odd", "killed", "silent"}


def test_an_interrupt_stops_the_processes(started, tmp_path, monkeypatch):
    processes = []
    launch = jobs.launch

    def watched(argument, log):
        processes.append(launch(argument, log))
        return processes[-1]

    def interrupt(seconds):
        if len(processes) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "launch", watched)
    monkeypatch.setattr(jobs, "time", type("Clock", (), {"sleep": staticmethod(interrupt)}))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        jobs.run_all(tmp_path, [Run("fusion", "forever", s, "p") for s in range(3)], 2, Told())
    assert time.monotonic() - began < 20
    assert [process.poll() is not None for process in processes] == [True, True]


def test_a_run_does_not_outlive_what_started_it():
    code = (
        "import sys, time\n"
        "from plait.experiments.comparison.run import end_with\n"
        "end_with(sys.stdin.buffer)\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    process.stdin.close()
    assert process.wait(timeout=20) == 1
    process.stdout.close()


def test_names_of_the_user_make_safe_files(tmp_path):
    paths = [
        jobs.path_of(tmp_path, Run("alone", name, 1))
        for name in ("a/../b", "a_.._b", "图像", "x" * 300)
    ]
    assert len(set(paths)) == 4
    for path in paths:
        assert path.parent == tmp_path / "runs"
        assert path.name.startswith("alone-") and path.name.endswith(".1.json")
        assert len(path.name) < 70 and path.name.isascii()


def test_a_process_gets_json_one_thread_and_this_plait(tmp_path, monkeypatch):
    given = {}

    def popen(command, **options):
        given.update(options, command=command)
        return real(["true"])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    jobs.launch({"folder": "a b; rm"}, tmp_path / "x.log").wait()
    assert given["stdin"] == subprocess.PIPE
    assert given["command"][:4] == [sys.executable, "-P", "-m", "plait.experiments.comparison.run"]
    assert json.loads(given["command"][4]) == {"folder": "a b; rm"}
    assert given["env"]["OMP_NUM_THREADS"] == given["env"]["MKL_NUM_THREADS"] == "1"
    first, second = given["env"]["PYTHONPATH"].split(os.pathsep)
    assert ((Path(first) / "plait").is_dir(), second) == (True, "elsewhere")
    assert "shell" not in given


# Latency

TIMES = """
import json, sys
asked = json.loads(sys.argv[1])
times = {run["name"]: {"latency_ms": 1.0} for run in asked["runs"]}
json.dump({"fingerprint": asked["runs"][0]["fingerprint"], "times": times}, open(asked["out"], "w"))
"""


def test_rows_are_timed_once_and_again_when_a_method_is_new(tmp_path, monkeypatch):
    count = []

    def launch(argument, log):
        count.append(len(argument["runs"]))
        return subprocess.Popen([sys.executable, "-S", "-c", TIMES, json.dumps(argument)])

    monkeypatch.setattr(jobs, "launch", launch)
    once = JOBS[:1]
    assert jobs.time_rows(tmp_path, once, Told()) == {"concat": {"latency_ms": 1.0}}
    assert jobs.time_rows(tmp_path, once, Told()) == {"concat": {"latency_ms": 1.0}}
    assert count == [1]
    assert set(jobs.time_rows(tmp_path, JOBS[:2], Told())) == {"concat", "late"}
    jobs.time_rows(tmp_path, [Run("fusion", "concat", 0, "other")], Told())
    assert count == [1, 2, 1]
    assert jobs.time_rows(tmp_path, [], Told()) == {}


def test_a_timing_that_fails_gives_no_times(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "launch", lambda argument, log: subprocess.Popen(["false"]))
    assert jobs.time_rows(tmp_path, JOBS[:1], Told()) == {}
