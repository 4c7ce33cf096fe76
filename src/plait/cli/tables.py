"""Results as tables for people, on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from plait.display.markup import tidy
from plait.errors import counted

LABELS = {
    "balanced_accuracy": "balanced",
    "calibration_error": "calibration",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "auroc": "AUROC",
    "log_loss": "log loss",
    "map": "mAP",
    "exact_match": "exact",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
}


REBUILT = {
    "mse": "squared error",
    "psnr": "PSNR, dB",
    "mae": "MAE",
    "days_off": "error, days",
    "steps_off": "error, steps",
    "nats": "nats per subword",
}
"""Display names of the metrics of a reconstructed column; others keep their own."""


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """A plain table; the first ``left`` columns are text, the rest numbers."""
    table = Table(box=None, pad_edge=False, show_header=any(head))
    for number, name in enumerate(head):
        table.add_column(
            escape(tidy(name)), justify="left" if number < left else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(tidy(cell)) for cell in row))
    return table


def _print(console: Console, title: str, table: Table) -> None:
    """A table below its title, which may be wider than it."""
    console.print(Text(title, style="bold"))
    console.print(table)


def show_entries(console: Console, title: str, entries: Mapping[str, Sequence[str]]) -> None:
    """Names, each with lines of text below it."""
    console.print()
    console.print(Text(title, style="bold"))
    for name, lines in entries.items():
        console.print(Text(name), soft_wrap=True)  # one line, to be copied
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def show_schema(
    console: Console, schema: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]
) -> None:
    """Each column's role, modality, quality and reason, then the warnings."""
    kinds = {target["name"]: target for target in targets}
    rows = []
    for column in schema["columns"]:
        quality = column["quality"]
        target = kinds.get(column["name"])
        rows.append(
            [
                column["name"],
                column["role"],
                column["modality"] or (target["kind"] if target else ""),
                f"{quality.get('missing', 0):.0%}",
                f"{quality.get('distinct', 0)}",
                target["reason"] if target else column["reason"],
            ]
        )
    table = grid(
        ["column", "role", "kind", "missing", "distinct", "why"],
        rows,
        left=3,
    )
    table.columns[5].justify = "left"
    _print(console, f"{counted(schema['rows'])}, {counted(len(rows), 'column')}", table)
    for warning in schema["warnings"]:
        console.print(f"[yellow]![/yellow] {escape(tidy(warning))}", highlight=False)


def show_evaluation(console: Console, evaluation: Mapping[str, Any]) -> None:
    """One table per target: all streams with intervals, each alone, each missing."""
    from plait.answers.metrics import distinct  # numpy comes with it; `plait --help` needs none

    for name, result in evaluation["targets"].items():
        metrics = distinct(result["metrics"])  # the terminal is narrow
        head = ["streams", *(LABELS.get(metric, metric) for metric in metrics)]
        rows = [["all", *(_number(result["metrics"][metric]) for metric in metrics)]]
        if result["intervals"]:
            low_high = [result["intervals"].get(metric) for metric in metrics]
            rows.append(["  95 % from", *(_number(pair[0]) if pair else "" for pair in low_high)])
            rows.append(["  to", *(_number(pair[1]) if pair else "" for pair in low_high)])
        for kind, label in (("alone", "only"), ("without", "without")):
            rows += [
                [f"{label} {stream}", *(_number(figures[metric]) for metric in metrics)]
                for stream, figures in result[kind].items()
            ]
        title = f"{name} ({result['kind']}), {counted(result['rows'])} of {evaluation['source']}"
        _print(console, title, grid(head, rows))
    if evaluation.get("reconstruction"):
        show_reconstruction(console, evaluation["reconstruction"], evaluation["source"])
    for note in evaluation["notes"]:
        console.print(f"[yellow]![/yellow] {escape(tidy(note))}", highlight=False)


def show_reconstruction(
    console: Console, columns: Mapping[str, Mapping[str, Any]], source: str
) -> None:
    """How well each column is reconstructed: seen, hidden, and by a constant baseline."""
    rows = [
        [name, REBUILT.get(figure, figure), f"{figures['rows']}"]
        + [_figure(figures[kind].get(figure)) for kind in ("seen", "hidden", "usual")]
        for name, figures in columns.items()
        for figure in figures["seen"]
    ]
    head = ["column", "metric", "rows", "cell seen", "cell hidden", "baseline"]
    _print(console, f"reconstruction of {source}", grid(head, rows, left=2))


def show_answers(console: Console, columns: Mapping[str, Sequence[Any]], most: int = 20) -> None:
    """The first answers: value and confidence, without every class's probability."""
    names = [
        name
        for name in columns
        if not any(name.startswith(f"{other}_p_") for other in columns if other != name)
    ]
    count = len(next(iter(columns.values())))
    rows = [
        [str(row), *(_cell(columns[name][row]) for name in names)]
        for row in range(min(count, most))
    ]
    _print(console, counted(count, "answer"), grid(["row", *names], rows))
    if count > most:
        console.print(f"... and {count - most} more; write them all with -o answers.csv")


def show_facts(console: Console, facts: Mapping[str, Mapping[str, str]]) -> None:
    """Groups of named facts."""
    for title, group in facts.items():
        rows = [[name, value] for name, value in group.items()]
        _print(console, title, grid(["", ""], rows, left=2))
        console.print()


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:z.3g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:z.3f}"


def _cell(value: Any) -> str:
    return f"{value:z.4g}" if isinstance(value, float) else str(value)
