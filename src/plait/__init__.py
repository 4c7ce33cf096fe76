"""plait braids images, text, audio, video, signals and tables into one model.

    import plait

    model = plait.fit("train.csv", target="label", out="runs/a")
    print(model.evaluate("test.csv")["accuracy"])
    answers = model.predict("new.csv")
    model = plait.load("runs/a")

``plait.model.align`` holds what brings streams together in time, space and feature space, for use alone.

Importing plait imports neither torch nor anything else that is slow; the first use does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.answers.answers import Answers
    from plait.client import Client
    from plait.data.table.source import open_table
    from plait.experiments.comparison.compare import Comparison, compare
    from plait.model import align
    from plait.model.infer import Evaluation
    from plait.pipeline import fit
    from plait.predictor.predictor import Predictor, load

__version__ = "0.1.0"
__all__ = [
    "Answers",
    "Client",
    "Comparison",
    "Evaluation",
    "Predictor",
    "align",
    "compare",
    "fit",
    "load",
    "open_table",
]

_HOMES = {
    "Answers": "plait.answers.answers",
    "Client": "plait.client",
    "Comparison": "plait.experiments.comparison.compare",
    "Evaluation": "plait.model.infer",
    "Predictor": "plait.predictor.predictor",
    "compare": "plait.experiments.comparison.compare",
    "fit": "plait.pipeline",
    "load": "plait.predictor.predictor",
    "open_table": "plait.data.table.source",
}


_PACKAGES = ("align",)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"plait.{name}")
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ImportError as error:
            from plait.errors import training_extra

            raise training_extra(error) or error from None
    raise AttributeError(f"module 'plait' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_PACKAGES})
