"""plait braids images, text, audio, video, signals and tables into one model.

    import plait

    model = plait.fit("train.csv", target="label", out="runs/a")
    print(model.evaluate("test.csv")["accuracy"])
    answers = model.predict("new.csv")
    model = plait.load("runs/a")

The names below are the public face, with those of ``plait.fusion``, ``plait.align``, ``plait.insight``,
``plait.runtime``, ``plait.export``, ``plait.serve``, ``plait.sklearn``, ``plait.client`` and
``plait.errors``; docs/api.md lists them. Other modules may move between releases.

Importing plait imports neither torch nor anything else that is slow; the first use does.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.answers.answers import Answers
    from plait.answers.evaluation import Evaluation
    from plait.client import Client
    from plait.config import Config, configure
    from plait.data.table.source import Table, open_table
    from plait.data.targets.target import Target
    from plait.errors import PlaitError, PlaitWarning
    from plait.experiments.comparison.compare import Comparison, compare
    from plait.model import align, fusion
    from plait.model.encoders.base import Encoder
    from plait.model.fusion.base import Fusion
    from plait.model.fusion.registry import FUSIONS
    from plait.model.register import register
    from plait.model.tokens import Fused, Tokens
    from plait.pipeline import fit
    from plait.predictor.predictor import Predictor, load
    from plait.runtime.runtime import Runtime
    from plait.training.compress.compress import compress

__version__ = "0.1.0"
__all__ = [
    "FUSIONS",
    "Answers",
    "Client",
    "Comparison",
    "Config",
    "Encoder",
    "Evaluation",
    "Fused",
    "Fusion",
    "PlaitError",
    "PlaitWarning",
    "Predictor",
    "Runtime",
    "Table",
    "Target",
    "Tokens",
    "align",
    "compare",
    "compress",
    "configure",
    "fit",
    "fusion",
    "load",
    "open_table",
    "register",
]

_HOMES = {
    "FUSIONS": "model.fusion.registry",
    "Answers": "answers.answers",
    "Client": "client",
    "Comparison": "experiments.comparison.compare",
    "Config": "config",
    "Encoder": "model.encoders.base",
    "Evaluation": "answers.evaluation",
    "Fused": "model.tokens",
    "Fusion": "model.fusion.base",
    "PlaitError": "errors",
    "PlaitWarning": "errors",
    "Predictor": "predictor.predictor",
    "Runtime": "runtime.runtime",
    "Table": "data.table.source",
    "Target": "data.targets.target",
    "Tokens": "model.tokens",
    "compare": "experiments.comparison.compare",
    "compress": "training.compress.compress",
    "configure": "config",
    "fit": "pipeline",
    "load": "predictor.predictor",
    "open_table": "data.table.source",
    "register": "model.register",
}
"""Public name → the module below plait where it is defined."""

_ALIASES = {"plait.align": "plait.model.align", "plait.fusion": "plait.model.fusion"}
"""Public packages → where they live."""


class _Alias:
    """Lets ``from plait.fusion import Concat`` find the one module ``plait.model.fusion``.

    Without it the module would have to exist twice, and a class of the one would be no instance of the
    other. ``plait.fusion.gmu`` is the module ``plait.model.fusion.gmu`` likewise.
    """

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Only for names at or below an alias."""
        known = any(f"{name}.".startswith(f"{alias}.") for alias in _ALIASES)
        return ModuleSpec(name, self) if known else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, as it is known under its own name."""
        alias = next(alias for alias in _ALIASES if f"{spec.name}.".startswith(f"{alias}."))
        module = import_module(_ALIASES[alias] + spec.name.removeprefix(alias))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run; the import system has only renamed the module, which is undone."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_Alias())


def __getattr__(name: str) -> Any:
    if f"plait.{name}" in _ALIASES:
        return import_module(f"plait.{name}")
    if name in _HOMES:
        try:
            return getattr(import_module(f"plait.{_HOMES[name]}"), name)
        except ImportError as error:
            from plait.errors import training_extra

            raise training_extra(error) or error from None
    raise AttributeError(f"module 'plait' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
