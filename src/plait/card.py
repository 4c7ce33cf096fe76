"""The model card: the README.md of a bundle, written from what the fit knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from plait.blueprint import Blueprint
from plait.features import Features
from plait.table.target import Target


def model_card(
    targets: Sequence[Target], features: Features, plan: Blueprint, metrics: Mapping[str, Any]
) -> str:
    """Markdown: what the model answers, from what, how well, measured on what, and its limits.

    Args:
        metrics: `plait.evaluate.Evaluation.to_json` of the validation rows; may be empty.
    """
    named = ", ".join(f"{_cell(t.name)} ({t.kind})" for t in targets)
    parts = [
        f"# A plait model for {named}",
        "Load it with `plait.load(folder)`, or answer a table with `plait predict folder table.csv`.",
        "## Inputs",
        _table(
            ["column", "modality", "prepared as"],
            [
                [_cell(name), features.modalities[name], _cell(text)]
                for name, text in features.describe().items()
            ],
        ),
        "Any input may be missing in any row; an unreadable one counts as missing and is reported.",
        f"Streams: {', '.join(map(_cell, plan.streams))}. Fusion: {plan.fusion}.",
        *(
            f"Pretrained encoder of {_cell(stream)}: {_cell(record.told)}."
            for stream, record in plan.records.items()
        ),
        "## Figures",
        _figures(metrics),
        "## Limits",
        "The validation rows chose the best epoch, so the figures above are a little kind. Measure on "
        "rows the model has never seen with `plait evaluate folder test.csv`.",
    ]
    classes = [
        f"Classes of {_cell(t.name)}: " + ", ".join(map(_cell, t.classes[:50]))
        for t in targets
        if t.classes
    ]
    return "\n\n".join([*parts, *classes]) + "\n"


def _figures(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "None were measured."
    lines = [f"On {metrics['rows']} rows of {_cell(metrics['source'])}."]
    for name, result in metrics["targets"].items():
        rows = [["all", *map(_number, result["metrics"].values())]]
        for kind in ("alone", "without"):
            rows += [
                [f"{kind} {_cell(stream)}", *map(_number, figures.values())]
                for stream, figures in result[kind].items()
            ]
        lines.append(_table([_cell(name), *result["metrics"]], rows))
    return "\n\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _cell(text: str) -> str:
    """Text of the user's that must not become markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
