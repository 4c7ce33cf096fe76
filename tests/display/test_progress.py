"""What is shown while plait works."""

import io
import time

import pytest
from rich.console import Console

from plait.display.bars import Bars
from plait.display.progress import Reporter, Silent, Stage, Stopwatch


def shown():
    return Bars(Console(file=io.StringIO(), width=160, force_terminal=True, color_system=None))


def test_both_reporters_keep_the_contract():
    for reporter in (Silent(), shown()):
        assert isinstance(reporter, Reporter)
        with reporter.stage("train", 10, "rows") as stage:
            assert isinstance(stage, Stage)
            stage.advance()
            stage.advance(3, loss=0.5)


def test_silence_says_nothing(capsys):
    reporter = Silent()
    reporter.note("words")
    with reporter.stage("train", 10, "rows") as stage:
        stage.advance(10, loss=1.0)
    assert capsys.readouterr() == ("", "")


def test_a_bar_shows_title_count_rate_and_metrics():
    bars = shown()
    with bars.stage("train", 200, "rows") as stage:
        stage.advance(100)
        stage.advance(100, loss=0.25, score=0.5)
    text = bars.console.file.getvalue()
    assert "train" in text
    assert "200/200" in text
    assert "rows/s" in text
    assert "loss 0.250  score 0.500" in text


def test_metrics_stay_when_an_advance_has_none():
    bars = shown()
    with bars.stage("train", 200, "rows") as stage:
        stage.advance(100, loss=0.25)
        stage.advance(100)
    done = [line for line in bars.console.file.getvalue().splitlines() if "200/200" in line]
    assert "loss 0.250" in done[-1]


def test_a_note_is_printed_as_it_is():
    bars = shown()
    bars.note("[bold]'photo' {1}: 50 %[/bold]")
    assert bars.console.file.getvalue() == "[bold]'photo' {1}: 50 %[/bold]\n"


def test_bars_go_to_standard_error(capsys):
    Bars().note("words")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "words\n")


def test_slow_units_are_told_by_the_minute():
    bars = shown()
    with bars.stage("compare", 2, "runs") as stage:
        stage.advance()
        time.sleep(1.3)
        stage.advance()
    assert "runs/min" in bars.console.file.getvalue()


def test_a_stopwatch_passes_on_and_keeps():
    class Told(Silent):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    told = Told()
    watch = Stopwatch(told)
    for _ in range(2):
        with watch.stage("train", 3, "rows") as stage:
            stage.advance(3)
    with pytest.raises(KeyError), watch.stage("broken", 1, "rows"):
        raise KeyError
    watch.note("one")
    assert watch.notes == told.notes == ["one"]
    assert list(watch.seconds) == ["train", "broken"]
    assert 0 <= watch.seconds["train"] <= watch.total
