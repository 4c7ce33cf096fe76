"""`make reports`: fit the real data sets and write their reports; the demo where none is at hand."""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.data import Finder, NoDataError, Source, default_folder
from plait.display.bars import Bars
from plait.pipeline import fit
from plait.predictor.predictor import load

NAMES = ("avdigits", "clipart", "heartbeat")


def main(given: list[str] | None = None) -> int:
    """Write a report for each data set; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of data sets; default: $PLAIT_DATA")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder to write to")
    parser.add_argument("--epochs", type=int, help="passes at most; default: the preset's")
    parser.add_argument("--language", default="en", help="en or zh")
    parser.add_argument("--rows", type=int, default=1200, help="training rows of the demo")
    asked = parser.parse_args(given)
    asked.out.mkdir(parents=True, exist_ok=True)
    for source in sources(Finder(asked.data or default_folder(), asked.out, asked.rows)):
        _write(source, asked)
    return 0


def sources(finder: Finder) -> list[Source]:
    """The data sets that are there, saying which; the demo where none is."""
    found = []
    for name in NAMES:
        try:
            found.append(finder.find(name))
        except NoDataError as error:
            print(f"{name} is left out: {error}")
    if not found:
        (finder.work / "data").mkdir(exist_ok=True)
        found.append(finder.find_or_demo(NAMES[0]))
    print(f"reports on: {', '.join(one.name for one in found)}")
    return found


def _write(source: Source, asked: argparse.Namespace) -> None:
    """Fit where there is no model yet, then report on the test table."""
    run, reporter = asked.out / source.folder.name, Bars()
    options: dict[str, Any] = {} if asked.epochs is None else {"epochs": asked.epochs}
    if not (run / "bundle.json").is_file():
        fit(
            *(source.train, source.target),
            out=run,
            progress=reporter,
            resume=True,
            report="off",
            **source.options,
            **options,
        )
    place = asked.out / f"{source.folder.name}.html"
    load(run).report(
        *(source.test, place),
        train=source.train,
        run=run,
        language=asked.language,
        reporter=reporter,
    )
    print(f"{source.name}: {place} ({place.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    sys.exit(main())
