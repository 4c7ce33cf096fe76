"""Child process: `plait.fit`, timed to each look at its validation rows, until a goal is reached.

Takes one JSON argument and prints one JSON line: ``curve``, seconds since ``began`` and score of each
epoch, and the seconds of the other ``stages``. Validation is part of a fit, so its time counts.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Reached(Exception):
    """The goal was reached; training need not go on."""


class Stages:
    """A reporter that says nothing and takes the time of every stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator["Stages"]:
        began = time.perf_counter()
        try:
            yield self
        finally:
            self.seconds[title] = round(time.perf_counter() - began, 2)

    def advance(self, amount: int = 1, **metrics: float) -> None:
        return

    def note(self, text: str) -> None:
        return


def main() -> None:
    told = json.loads(sys.argv[1])
    from plait import pipeline
    from plait.training import fit as fitting

    curve: list[list[float]] = []

    def looked(figures: Any) -> None:
        curve.append([round(time.time() - told["began"], 2), float(figures["score"])])
        if told["goal"] is not None and figures["score"] >= told["goal"]:
            raise Reached

    fitting.Trainer = listening(fitting.Trainer, looked)  # type: ignore[misc]
    stages = Stages()
    with suppress(Reached):
        pipeline.fit(
            told["train"],
            told["target"],
            root=told["root"],
            seed=told["seed"],
            progress=stages,
            **told["options"],
        )
    print(json.dumps({"curve": curve, "stages": stages.seconds}))


def listening(trainer: Any, looked: Callable[[Any], None]) -> Any:
    """The Trainer, which tells what each validation finds."""

    class Listening(trainer):  # type: ignore[misc]
        def __init__(self, model: Any, loader: Any, validate: Any, *args: Any, **kw: Any) -> None:
            def watched(now: Any) -> Any:
                figures = validate(now)
                looked(figures)
                return figures

            super().__init__(model, loader, watched, *args, **kw)

    return Listening


if __name__ == "__main__":
    main()
