"""Accuracy with default settings on real data, several seeds, against models of the same run."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.context import Bench
from benchmarks.lines import Line, Promise, at_least, more_than
from benchmarks.runs import Result, Spec

BLANK = -0.02
WIDE = 0.10
CLEAR = 0.05
BEATS = 0.01
"""A tie is no win: differences below one point of accuracy are noise here."""
INPUTS = ("image", "audio", "text", "number")
Group = dict[str, list[Result]]


def specs(
    bench: Bench, data: str, kind: str, seeds: int | None = None, **options: Any
) -> list[Spec]:
    """The same run under several seeds."""
    bench.runs.folders[data] = str(bench.data.find(data).folder)
    rows = 200 if bench.quick else None
    if bench.quick and kind != "rr":
        options["epochs"] = 2
    count = min(bench.seeds, 1) if bench.quick else bench.seeds if seeds is None else seeds
    return [
        {"kind": kind, "data": data, "options": options, "seed": seed, "rows": rows}
        for seed in range(count)
    ]


def done(bench: Bench, groups: dict[str, list[Spec]]) -> Group:
    """All runs of all groups at once, and each group's results."""
    flat = [spec for group in groups.values() for spec in group]
    results = iter(bench.runs.do(flat))
    return {name: [next(results) for _ in group] for name, group in groups.items()}


def of(results: Sequence[Result], metric: str, how: str = "all", stream: str = "") -> list[float]:
    """A metric by seed: of all streams, or ``without`` or ``alone`` one."""
    return [(one[how][stream] if stream else one[how])[metric] for one in results]


def compared(
    name: str,
    what: str,
    values: Sequence[float],
    reference: float,
    against: str,
    promise: Promise | None,
) -> Line:
    """A line of a mean over seeds."""
    spread = stdev(values) if len(values) > 1 else None
    seeds = f"mean of {len(values)} seeds" if spread is not None else "one seed"
    return Line(name, f"{what}, {seeds}", mean(values), "", spread, reference, against, promise)


def measure_avdigits(bench: Bench) -> list[Line]:
    """Fused; each modality trained alone; a plain concat; each modality blank."""
    groups = {"fused": specs(bench, "avdigits", "fit")}
    groups["concat"] = specs(bench, "avdigits", "bare concat")
    for name in INPUTS:
        others = [other for other in INPUTS if other != name]
        groups[f"only {name}"] = specs(bench, "avdigits", "fit", ignore=others)
    for name in INPUTS[:3]:
        groups[f"no {name}"] = specs(bench, "avdigits", "fit", ignore=[name])
    found = done(bench, groups)
    metric = "accuracy"
    fused = of(found["fused"], metric)
    what = "test accuracy of plait.fit with defaults"
    alone = {name: mean(of(found[f"only {name}"], metric)) for name in INPUTS}
    best = max(alone, key=lambda name: alone[name])
    told = ", ".join(f"{name} {score:.3f}" for name, score in alone.items())
    concat = mean(of(found["concat"], metric))
    lines = [
        compared("avdigits", what, fused, 0.890, "Ludwig, recorded in issue 2", at_least(0.93)),
        compared(
            "avdigits, fused over single",
            what,
            fused,
            alone[best],
            f"the best of plait models trained on one column ({told})",
            at_least(WIDE, "difference"),
        ),
        compared(
            "avdigits, over plain concat",
            what,
            fused,
            concat,
            "plait's concat in the bare loop: no augmentation, modality dropout, alone-loss or EMA",
            more_than(0),
        ),
    ]
    for name in INPUTS[:3]:
        plain = mean(of(found["concat"], metric, "without", name))
        lines.append(
            compared(
                f"avdigits, {name} blank",
                f"test accuracy of the fused model with {name} missing in every row "
                f"(plain concat: {plain:.3f})",
                of(found["fused"], metric, "without", name),
                mean(of(found[f"no {name}"], metric)),
                f"a model trained without {name}",
                at_least(BLANK, "difference"),
            )
        )
    return lines


def measure_clipart(bench: Bench) -> list[Line]:
    """Image and title together, and each alone."""
    found = done(
        bench,
        {
            "fused": specs(bench, "clipart", "fit"),
            "image": specs(bench, "clipart", "fit", ignore=["title"]),
            "title": specs(bench, "clipart", "fit", ignore=["image"]),
        },
    )
    metric = "balanced_accuracy"
    return [
        compared(
            f"clipart, fused over {name}",
            "balanced test accuracy of plait.fit with defaults on image and title, artists apart",
            of(found["fused"], metric),
            mean(of(found[name], metric)),
            f"a plait model trained on {name} alone",
            at_least(BEATS, "difference"),
        )
        for name in ("image", "title")
    ]


def measure_heartbeat(bench: Bench) -> list[Line]:
    """All columns, against logistic regression on the two RR intervals."""
    groups = {"fused": specs(bench, "heartbeat", "fit")}
    for weight in ("none", "balanced"):
        groups[weight] = specs(bench, "heartbeat", "rr", seeds=1, class_weight=weight)
    found = done(bench, groups)
    metric = "balanced_accuracy"
    return [
        compared(
            f"heartbeat, over RR only ({weight})",
            "balanced test accuracy of plait.fit with defaults on all columns, patients apart",
            of(found["fused"], metric),
            mean(of(found[weight], metric)),
            f"logistic regression on RR before and after, class_weight {weight}",
            at_least(CLEAR, "difference"),
        )
        for weight in ("none", "balanced")
    ]
