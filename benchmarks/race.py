"""Child process: `plait.fit`, looked at after each epoch on the test table, until a goal is reached.

Takes one JSON argument and prints one JSON line. The time of looking is taken off.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Measure = Callable[[Any], float]


class Reached(Exception):
    """The goal was reached; training need not go on."""


class Watch:
    """Accuracy on the test table by epoch, and the seconds that were spent on finding it out."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.spent = 0.0
        self.curve: list[list[float]] = []

    def look(self, measure: Measure, model: Any) -> None:
        now = time.time()
        accuracy = measure(model)
        self.curve.append([round(now - self.told["began"] - self.spent, 2), round(accuracy, 4)])
        self.spent += time.time() - now
        if accuracy >= self.told["goal"]:
            raise Reached


def main() -> None:
    told = json.loads(sys.argv[1])
    watch = Watch(told)
    from plait import pipeline

    _listen(pipeline, watch)
    reached = False
    try:
        pipeline.fit(
            told["train"],
            told["target"],
            out=told["out"],
            root=told["root"],
            seed=told["seed"],
            overwrite=True,
        )
    except Reached:
        reached = True
    seconds = watch.curve[-1][0] if reached else None
    print(json.dumps({"seconds": seconds, "epochs": len(watch.curve), "curve": watch.curve}))


def _listen(pipeline: Any, watch: Watch) -> None:
    """Put ears on the pipeline: its features tell how to prepare the test table."""
    from plait.training import fit as fitting

    train_model, trainer = pipeline.train_model, fitting.Trainer

    def listening(data: Any, features: Any, *rest: Any, **named: Any) -> Any:
        began = time.time()
        measure = _measure(watch.told, data.targets[0], features)
        watch.spent += time.time() - began

        class Listening(trainer):  # type: ignore[misc, valid-type]
            def __init__(
                self, model: Any, loader: Any, validate: Any, *args: Any, **kw: Any
            ) -> None:
                def watched(now: Any) -> Any:
                    watch.look(measure, now)
                    return validate(now)

                super().__init__(model, loader, watched, *args, **kw)

        fitting.Trainer = Listening
        return train_model(data, features, *rest, **named)

    pipeline.train_model = listening


def _measure(told: dict[str, Any], target: Any, features: Any) -> Measure:
    """Accuracy of a model on the test table, which is prepared here once and in memory."""
    import numpy as np

    from plait.answers.evaluation import ALL
    from plait.config import configure
    from plait.data.features import settings_for
    from plait.data.table.source import open_table
    from plait.model.infer import infer

    table = open_table(told["test"], root=told["root"])
    prepared = features.prepare(table, settings_for(table, configure()))
    truth, present, _ = target.encode(table.cells(target.name))
    rows = np.flatnonzero(present)

    def accuracy(model: Any) -> float:
        scores = infer(model, prepared.columns, rows)[ALL][target.name]
        return float((scores.argmax(axis=1) == truth[rows]).mean())

    return accuracy


if __name__ == "__main__":
    main()
