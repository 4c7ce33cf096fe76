"""`python -m benchmarks`: measure, show, write RESULTS.md and results.json."""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.context import Bench
from benchmarks.data import Finder, NoDataError, default_folder
from benchmarks.lines import not_run
from benchmarks.machine import ROOT, stamp
from benchmarks.measurements import MEASUREMENTS
from benchmarks.runs import Runs
from plait.data.cache import cache_folder


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name every measurement and stop")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(MEASUREMENTS), help="measure these only"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of data sets or archives; default: $PLAIT_DATA, ../shared/data",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each accuracy figure (3)")
    parser.add_argument("--jobs", type=int, default=2, help="accuracy runs at a time (2)")
    parser.add_argument(
        "--quick", action="store_true", help="try the benchmarks on crumbs; figures mean nothing"
    )
    parser.add_argument("--out", type=Path, help="folder for the results; default: benchmarks/")
    parsed = parser.parse_args(given)
    if parsed.seeds < 1 or parsed.jobs < 1:
        parser.error("--seeds and --jobs must be at least 1")
    return parsed


def main(given: list[str] | None = None) -> int:
    asked = arguments(given)
    if asked.list:
        for name, one in MEASUREMENTS.items():
            only = ", only when named" if one.asked else ""
            print(f"{name:<17} {one.about} (about {one.minutes:g} min{only})")
        return 0
    told = Console(stderr=True)
    home = cache_folder() / "bench"
    out = asked.out or (home / "quick" if asked.quick else ROOT / "benchmarks")
    # Prepared columns are kept between accuracy runs, apart from the user's own.
    os.environ["PLAIT_CACHE"] = str(home / "cache")
    results = report.load(out / "results.json")
    save = partial(report.save, out / "results.json", results)
    work = Path(tempfile.mkdtemp(prefix="plait-bench-"))
    say = partial(told.print, highlight=False, markup=False, soft_wrap=True)
    bench = Bench(
        data=Finder(asked.data or default_folder(), home, 80 if asked.quick else 1200),
        runs=Runs(asked.jobs, results["runs"], save, say),
        work=work,
        seeds=asked.seeds,
        quick=asked.quick,
        say=say,
    )
    words = sys.argv[1:] if given is None else given
    errors = 0
    try:
        for name in asked.only or [name for name, one in MEASUREMENTS.items() if not one.asked]:
            mark = stamp(shlex.join(["python", "-m", "benchmarks", *words]))
            found, failed = measured(name, bench)
            errors += failed
            report.merge(results, name, found, mark)
            save()
            (out / "RESULTS.md").write_text(
                report.markdown(results, list(MEASUREMENTS)), encoding="utf-8"
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.show(Console(width=None if sys.stdout.isatty() else 200), results, list(MEASUREMENTS))
    told.print(f"Written to {out / 'RESULTS.md'}", highlight=False, soft_wrap=True)
    return 1 if errors else 0


def measured(name: str, bench: Bench) -> tuple[dict[str, Any], bool]:
    """What a measurement gave, as JSON, and whether it failed."""
    one = MEASUREMENTS[name]
    bench.say(f"{name}: {one.about} (about {one.minutes:g} min)")
    try:
        found = one.load()(bench)
    except NoDataError as error:
        return {"lines": [not_run(name, one.about, str(error)).to_json()]}, False
    except Exception as error:  # the other lines are still worth measuring
        bench.say(traceback.format_exc())
        why = f"error: {type(error).__name__}: {error}".strip()[:300]
        return {"lines": [not_run(name, one.about, why).to_json()]}, True
    if isinstance(found, dict):
        return {"table": found}, False
    return {"lines": [line.to_json() for line in found]}, False


if __name__ == "__main__":
    raise SystemExit(main())
