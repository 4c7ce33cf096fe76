"""`plait demo`: the main job from end to end, on data that is made on the spot."""

from pathlib import Path
from typing import Any

from plait.display.progress import Reporter
from plait.pipeline import fit
from plait.recipes.demo.table import build


def run(
    folder: Path, *, rows: int, seed: int, epochs: int | None, reporter: Reporter
) -> dict[str, Any]:
    """Make the demo table, fit it with whole voices held out, and test it on voices unheard so far.

    Args:
        folder: data goes to ``data`` below it, the model to ``model``.
        rows: training rows.
        epochs: passes over them; None as the preset has it.

    Returns:
        ``test``: the evaluation; ``next``: where things are and what to run next.

    Raises:
        MissingExtra: the library that speaks the digits is absent.
    """
    with reporter.stage("make the table", rows + rows // 4, "rows") as stage:
        done = 0

        def advance(now: int, total: int) -> None:
            nonlocal done
            stage.advance(now - done)
            done = now

        tables = build(folder / "data", rows=rows, seed=seed, progress=advance)
    options: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    model = fit(
        tables.train,
        "label",
        out=folder / "model",
        overwrite=True,
        progress=reporter,
        group="voice",
        seed=seed,
        **options,
    )
    return {
        "test": model.evaluate(tables.test, reporter=reporter).to_json(),
        "next": {
            "the table": str(tables.train),
            "the report": str(folder / "model" / "report.html"),
            "the model card": str(folder / "model" / "README.md"),
            "look at the data": f"plait inspect {tables.train} --target label",
            "predict new rows": f"plait predict {folder / 'model'} {tables.test}",
            "follow the training": f"tensorboard --logdir {folder / 'model' / 'training' / 'logs'}",
        },
    }
