"""Child process: one accuracy run. Takes one JSON argument, prints one JSON line.

The argument: ``kind`` (fit, bare concat, or rr), ``data`` and its ``folder``, ``options`` beside the
data set's own, ``seed``, and ``rows`` to take (None: all). The line: accuracy and balanced accuracy on
the test table of ``all`` streams, ``alone`` and ``without`` each, and the ``seconds`` of the fit; where
the data set has other tests, the same of each under ``also``.
"""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.data import OTHER_TESTS, TASKS, Source
from benchmarks.ready import Ready, ready, some

Figures = dict[str, float]
METRICS = ("accuracy", "balanced_accuracy")


def main() -> None:
    told = json.loads(sys.argv[1])
    target, options = TASKS[told["data"]]
    merged = {**options, **told["options"]}
    merged["ignore"] = (*options.get("ignore", ()), *told["options"].get("ignore", ()))
    source = Source(Path(told["folder"]), told["data"], target, merged)
    print(json.dumps(KINDS[told["kind"]](source, told["seed"], told["rows"])))


def plait_fit(source: Source, seed: int, rows: int | None) -> dict[str, Any]:
    """`plait.fit` on train, evaluated on test."""
    from plait import fit

    train = some(source.train, source.folder, rows)
    began = perf_counter()
    model = fit(train, source.target, seed=seed, **source.options)
    seconds = perf_counter() - began
    found = evaluated(model, source, "test", rows)
    also = {name: evaluated(model, source, name, rows) for name in OTHER_TESTS.get(source.name, ())}
    if also:
        found["also"] = also
    return {**found, "seconds": round(seconds, 1), "epochs": len(model.history)}


def evaluated(model: Any, source: Source, name: str, rows: int | None) -> dict[str, Any]:
    """A model's figures on one of the data set's tables."""
    test = some(source.table(name), source.folder, rows)
    result = model.evaluate(test, resamples=0).targets[source.target]
    return {
        "all": chosen(result.metrics),
        "alone": {name: chosen(figures) for name, figures in result.alone.items()},
        "without": {name: chosen(figures) for name, figures in result.without.items()},
    }


def bare_concat(source: Source, seed: int, rows: int | None) -> dict[str, Any]:
    """Plain concat in the bare loop: no augmentation, modality dropout, alone-loss or averaging."""
    from benchmarks.bare import Arrays, BareLoop
    from plait.devices import compute_threads, torch_threads
    from plait.training.fit import length
    from plait.training.optim import DEFAULT_LR

    table = ready(
        source, rows=rows, seed=seed, fusion="concat", modality_dropout=0.0, unimodal_loss=0.0
    )
    config, loader, model = table.config, table.loader(), table.model()
    epochs, _ = length(config, len(loader))
    began = perf_counter()
    with torch_threads(compute_threads()):
        loop = BareLoop(
            model,
            Arrays(table.prepared.columns),
            table.goals,
            steps=epochs * len(loader),
            lr=config.lr or DEFAULT_LR[config.optimizer],
            weight_decay=config.weight_decay,
            clip=config.clip or float("inf"),
            warmup=config.warmup,
        )
        for epoch in range(epochs):
            loop.epoch([batch.rows for batch in loader.epoch(epoch)])
    seconds = round(perf_counter() - began, 1)
    return {**measured(table, model, source, rows), "seconds": seconds, "epochs": epochs}


def measured(table: Ready, model: Any, source: Source, rows: int | None) -> dict[str, Any]:
    """A bare model's figures on the test table, with all streams and without each."""
    from plait.answers.evaluation import subsets
    from plait.answers.metrics import classification
    from plait.data.features import settings_for
    from plait.model.infer import infer

    test = some(source.test, source.folder, rows)
    prepared = table.features.prepare(test, settings_for(test, table.config))
    truth, present, _ = table.data.targets[0].encode(test.cells(source.target))
    known = np.flatnonzero(present)
    scores = infer(model, prepared.columns, known, subsets=subsets(list(model.streams)))
    figures = {
        name: chosen(classification(truth[known], by_target[source.target]))
        for name, by_target in scores.items()
    }
    result: dict[str, Any] = {"all": figures.pop("all"), "alone": {}, "without": {}}
    for name, found in figures.items():
        how, stream = name.split(" ", 1)
        result[how][stream] = found
    return result


def rr_only(source: Source, seed: int, rows: int | None) -> dict[str, Any]:
    """Logistic regression on the RR intervals before and after the beat, standardised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def read(path: Path) -> tuple[np.ndarray, list[object]]:
        table = some(path, source.folder, rows)
        numbers = [[float(str(cell)) for cell in table.cells(name)] for name in ("before", "after")]
        return np.array(numbers).T, table.cells(source.target)

    weight = None if source.options["class_weight"] == "none" else "balanced"
    began = perf_counter()
    (x, y), (test_x, test_y) = read(source.train), read(source.test)
    regression = LogisticRegression(class_weight=weight, max_iter=1000, random_state=seed)
    guess = make_pipeline(StandardScaler(), regression).fit(x, y).predict(test_x)
    figures = {
        "accuracy": float(accuracy_score(test_y, guess)),
        "balanced_accuracy": float(balanced_accuracy_score(test_y, guess)),
    }
    return {"all": figures, "alone": {}, "without": {}, "seconds": perf_counter() - began}


def chosen(metrics: Figures) -> Figures:
    return {name: round(float(metrics[name]), 5) for name in METRICS}


KINDS = {"fit": plait_fit, "bare concat": bare_concat, "rr": rr_only}

if __name__ == "__main__":
    main()
