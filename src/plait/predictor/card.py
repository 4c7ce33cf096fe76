"""The model card: the README.md of a bundle, written from what the fit knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from plait.data.features import Features
from plait.data.targets.target import Target
from plait.display.notebook import block, grid
from plait.errors import counted
from plait.insight.fitted import Fitted
from plait.model.blueprint import Blueprint


def model_card(
    targets: Sequence[Target], features: Features, plan: Blueprint, metrics: Mapping[str, Any]
) -> str:
    """Markdown: what the model answers, from what, how well, measured on what, and its limits.

    Args:
        metrics: `plait.answers.evaluation.Evaluation.to_json` of the validation rows; may be empty.
    """
    named = ", ".join(f"{_cell(t.name)} ({t.kind})" for t in targets)
    parts = [
        f"# A plait model for {named}",
        "Load it with `plait.load(folder)`, or predict a table with `plait predict folder table.csv`.",
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
            f"Pretrained encoder of {_cell(stream)}: {_cell(record.summary)}."
            for stream, record in plan.records.items()
        ),
        "## Metrics",
        _figures(metrics),
        *_found(metrics.get("figures", {})),
        "## Limits",
        "The validation rows were used to choose the best epoch, so the metrics above are slightly "
        "optimistic. Measure on unseen rows with `plait evaluate folder test.csv`.",
    ]
    classes = [
        f"Classes of {_cell(t.name)}: " + ", ".join(map(_cell, t.classes[:50]))
        for t in targets
        if t.classes
    ]
    return "\n\n".join([*parts, *classes]) + "\n"


def model_html(fitted: Fitted) -> str:
    """What the model answers, from what, how well, for a notebook."""
    plan = fitted.blueprint
    described = fitted.features.describe()
    inputs = [[name, kind, described[name]] for name, kind in fitted.features.modalities.items()]
    parts = [grid(["input", "modality", "prepared as"], inputs, 200)]
    for name, result in fitted.metrics.get("targets", {}).items():
        head = [f"{name}, validation", *result["metrics"]]
        rows = [["all streams", *result["metrics"].values()]]
        rows += [
            [f"without {stream}", *metrics.values()]
            for stream, metrics in result["without"].items()
        ]
        parts.append(grid(head, rows))
    names = ", ".join(f"{target.name} ({target.kind})" for target in fitted.targets)
    size = f"fusion {plan.fusion}, width {plan.width}, streams {', '.join(plan.streams)}"
    return block(f"plait model for {names}", *parts, notes=[size])


def _figures(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "None were measured."
    lines = [f"On {counted(metrics['rows'])} of {_cell(metrics['source'])}."]
    for name, result in metrics["targets"].items():
        rows = [["all", *map(_number, result["metrics"].values())]]
        for kind in ("alone", "without"):
            rows += [
                [f"{kind} {_cell(stream)}", *map(_number, figures.values())]
                for stream, figures in result[kind].items()
            ]
        lines.append(_table([_cell(name), *result["metrics"]], rows))
    return "\n\n".join(lines)


def _found(figures: Mapping[str, Any]) -> list[str]:
    """What each stream adds, calibration and the worst slices, as `plait.insight.diagnose.brief` found
    them.
    """
    parts = []
    for name, of_target in figures.items():
        lines = [
            *_added(of_target.get("contributions")),
            *_calibrated(of_target),
            _worst(of_target),
        ]
        parts += [f"### {_cell(name)}", "\n".join(f"* {line}" for line in lines)]
    return ["## Contributions, calibration and weak slices", *parts] if parts else []


def _added(shares: Mapping[str, Any] | None) -> list[str]:
    if shares is None:
        return []
    ranked = sorted(shares["values"].items(), key=lambda item: -(item[1] or 0.0))
    each = ", ".join(f"{_cell(name)} {_signed(value)}" for name, value in ranked)
    return [
        f"Contributions to {shares['metric']}, which is {_number(shares['fused'])} with all streams and "
        f"{_number(shares['empty'])} with none (Shapley values): {each}."
    ]


def _calibrated(figures: Mapping[str, Any]) -> list[str]:
    lines = [f"Calibration: {_cell(figures['calibration'])}."] if "calibration" in figures else []
    error = figures.get("reliability", {}).get("error")
    if error is not None:
        lines.append(f"Expected calibration error: {_number(error)}.")
    return lines


def _worst(figures: Mapping[str, Any]) -> str:
    if not figures["slices"]:
        return (
            f"Of {figures['slices_looked_at']} slices of single columns, none does significantly worse "
            "than the other rows."
        )
    worst = "; ".join(
        f"{_cell(_slice(slice_))}: error {_number(slice_['error'])} on {slice_['rows']} rows, "
        f"{_number(slice_['rest'])} elsewhere"
        for slice_ in figures["slices"]
    )
    return f"Slices with more errors, of {figures['slices_looked_at']}: {worst}."


def _slice(slice_: Mapping[str, Any]) -> str:
    if slice_["how"] == "missing":
        return f"{slice_['column']} missing"
    if slice_["how"] == "range":
        return f"{slice_['column']} from {_number(slice_['low'])} to {_number(slice_['high'])}"
    return f"{slice_['column']} = {slice_['value']}"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+z.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:z.4g}"


def _cell(text: str) -> str:
    """Text of the user's that must not become markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
