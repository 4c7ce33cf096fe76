"""Whether the report can be trusted: coverage of prediction sets, deletion of what is marked."""

import numpy as np

from benchmarks.context import Bench
from benchmarks.data import NoDataError, Source
from benchmarks.lines import Line, at_least, at_most, not_run
from benchmarks.ready import some
from plait.data.features import settings_for
from plait.devices import compute_threads, torch_threads
from plait.insight.explain.sanity import deletion_check
from plait.pipeline import fit
from plait.predictor.predictor import Predictor, load

NEAR = 0.02
ROWS = 64
"""Test rows whose maps are checked."""

COVERED, DELETED = ("avdigits", "heartbeat"), ("avdigits", "clipart")


def measure(bench: Bench) -> list[Line]:
    """Each data set fitted once with defaults; the demo has nothing to tell here."""
    lines: list[Line] = []
    for name in dict.fromkeys((*COVERED, *DELETED)):
        try:
            source = bench.data.find(name)
        except NoDataError as error:
            lines.append(not_run(f"trust, {name}", "coverage and deletion", str(error)))
            continue
        model = fitted(bench, source)
        found = coverage(bench, model, source) if name in COVERED else []
        found += deletion(bench, model, source) if name in DELETED else []
        lines += [line.on(source.name) for line in found]
    return lines


def fitted(bench: Bench, source: Source) -> Predictor:
    """A model of all defaults."""
    folder = bench.work / f"trust-{source.folder.name}"
    options = {"epochs": 1} if bench.quick else {}
    table = some(source.train, source.folder, 200) if bench.quick else source.train
    fit(table, source.target, out=folder, report="off", **source.options, **options)
    return load(folder)


def coverage(bench: Bench, model: Predictor, source: Source) -> list[Line]:
    """The share of test rows whose answer is in its set."""
    lines = []
    for asked, empty in ((0.9, False), (0.95, False), (0.9, True)):
        sets = model.predict_set(source.test, coverage=asked, empty=empty).targets[source.target]
        assert sets.measured is not None
        share, (low, high), rows = sets.measured
        kind = "sets may be empty" if empty else "the answered class is always in it"
        bench.say(
            f"  {source.name}, {asked}, {kind}: {share:.3f} ({low:.3f} to {high:.3f}) of {rows}, "
            f"{sets.size:.2f} classes"
        )
        lines.append(
            Line(
                f"coverage, {source.folder.name}, {asked}{' with empty sets' if empty else ''}",
                f"how far the share of {rows} test rows whose answer is in its set is from the {asked} "
                f"asked; {kind}, {sets.size:.2f} classes a set; limit from {sets.held_out} others",
                value=abs(share - asked),
                reference=share,
                against=f"the share itself, 95 % interval {low:.3f} to {high:.3f}",
                promise=None if empty else at_most(NEAR),
            )
        )
    return lines


def deletion(bench: Bench, model: Predictor, source: Source) -> list[Line]:
    """How much more the score drops when the marked part goes than when as much goes at random."""
    table = some(source.test, source.folder, bench.few(ROWS, 12))
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    with torch_threads(compute_threads()):
        found = deletion_check(
            model.model, columns, np.arange(table.rows), model.targets[0], model.features
        )
    lines = []
    for one in found:
        low, high = one.interval
        bench.say(
            f"  {source.name}, {one.group}: {one.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        )
        lines.append(
            Line(
                f"deletion, {source.folder.name}, {one.group}",
                f"drop of the score when the marked fifth goes less that when another fifth goes, "
                f"{one.rows} rows; the lower end of its 95 % interval",
                value=low,
                reference=one.difference,
                against="the mean itself",
                promise=at_least(0),
            )
        )
    return lines
