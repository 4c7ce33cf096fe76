"""What a model does, rests on, and fails at: numbers (`explain`, `diagnose`) and a page (`report`).

The names below are public; the modules they come from may move between releases.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.answers.abstain import risk_coverage
    from plait.insight.diagnose.noise import suspects
    from plait.insight.diagnose.slices import slices
    from plait.insight.explain.calibration import reliability
    from plait.insight.explain.robustness import robustness
    from plait.insight.explain.sanity import deletion_check, randomisation_check
    from plait.insight.report.context import Limits

__all__ = [
    "Limits",
    "deletion_check",
    "randomisation_check",
    "reliability",
    "risk_coverage",
    "robustness",
    "slices",
    "suspects",
]

# Lazy, because half of them import torch and the rest should not have to wait for it.
_HOMES = {
    "Limits": "plait.insight.report.context",
    "deletion_check": "plait.insight.explain.sanity",
    "randomisation_check": "plait.insight.explain.sanity",
    "reliability": "plait.insight.explain.calibration",
    "risk_coverage": "plait.answers.abstain",
    "robustness": "plait.insight.explain.robustness",
    "slices": "plait.insight.diagnose.slices",
    "suspects": "plait.insight.diagnose.noise",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'plait.insight' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
