"""Every fusion method on two data sets with `plait.compare`: the table by which a default is judged."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from benchmarks.context import Bench
from plait.data.cache import cache_folder
from plait.experiments.comparison.rows import Row

HEAD = [
    "data",
    "method",
    "seeds",
    "balanced accuracy",
    "95 %",
    "− concat",
    "p (Holm)",
    "worst stream missing",
    "half of the streams gone",
    "fusion parameters",
    "rows/s",
]
DATA: dict[str, dict[str, Any]] = {
    "avdigits": {"epochs": 6},
    "clipart": {
        "epochs": 4,
        "encoders": {"image": "pip:efficientnet-lite0", "text": "pip:all-minilm-l6-v2"},
    },
}
"""Data set → options. Clip art has too few drawings to learn seeing from, so its encoders are pretrained
and frozen: what is compared is how methods fuse streams that both say something."""

TITLE = (
    "Fusion methods under `plait compare`: preset fast, all else default and the same for every method; "
    "avdigits 6 epochs from scratch, clipart 4 on frozen packaged encoders. Mean ± standard deviation "
    "over the seeds that finished, on the test table. 95 %: bootstrap over test rows. − concat and p: "
    "paired bootstrap over test rows, Holm over the fusions. Rows/s with several runs at a time, one "
    "thread each."
)


def measure(bench: Bench) -> dict[str, Any]:
    """A table: one row a data set and method; takes up what an earlier call left."""
    import plait

    rows: list[list[str]] = []
    for name, given in DATA.items():
        source = bench.data.find(name)
        options = {**given, "epochs": 1 if bench.quick else given["epochs"]}
        found = plait.compare(
            source.train,
            source.target,
            fusion=["concat", "late"] if bench.quick else "all",
            seeds=bench.few(bench.seeds, 1),
            test=source.test,
            out=cache_folder() / "compare" / name,
            jobs=bench.runs.jobs,
            preset="fast",
            **options,
            **source.options,
        )
        bench.say(f"  {name}: {len(found.rows)} methods")
        rows += lines(name, found.rows)
    return {"title": TITLE, "head": HEAD, "rows": rows}


def lines(data: str, rows: Sequence[Row]) -> list[list[str]]:
    """A comparison's rows as text."""
    return [
        [
            data,
            row.method,
            str(row.seeds),
            known("{:.3f}", row.mean) + known(" ± {:.3f}", row.std),
            known("{:.3f}", row.low) + known(" to {:.3f}", row.high),
            known("{:+.3f}", row.difference) if row.method != "concat" else "",
            known("{:.3f}", row.p_holm),
            known("{:.3f}", min(row.without.values(), default=float("nan"))),
            known("{:.3f}", row.gaps.get("0.5", float("nan"))),
            known("{:,.0f}", row.fusion_parameters),
            known("{:,.0f}", row.rows_per_second),
        ]
        for row in rows
    ]


def known(form: str, value: float) -> str:
    return form.format(value) if isfinite(value) else ""
