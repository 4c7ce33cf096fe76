"""A part of a report, and the two languages it may be in."""

from dataclasses import dataclass
from typing import Literal

from plait.display.markup import Html

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its address in the page, ``#key``; letters and hyphens.
        title: its heading, in the page's language; plain text.
        body: what stands below the heading.
    """

    key: str
    title: str
    body: Html


def spoken(language: Language, english: str, chinese: str) -> str:
    """The words of the language."""
    return chinese if language == "zh" else english


METRIC_WORDS = {
    "accuracy": "准确率",
    "balanced_accuracy": "平衡准确率",
    "macro_f1": "宏平均 F1",
    "micro_f1": "微平均 F1",
    "auroc": "AUROC",
    "map": "平均精度均值 mAP",
    "exact_match": "完全匹配率",
    "r2": "R²",
    "log_loss": "对数损失",
    "calibration_error": "校准误差",
    "mae": "平均绝对误差",
    "rmse": "均方根误差",
}
"""Metrics in Chinese."""

_ENGLISH = {
    "r2": "R²",
    "auroc": "AUROC",
    "map": "mAP",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mae": "MAE",
    "rmse": "RMSE",
}


def metric_words(language: Language, metric: str) -> str:
    """A metric's name in words."""
    english = _ENGLISH.get(metric, metric.replace("_", " "))
    return spoken(language, english, METRIC_WORDS.get(metric, english))
