"""What a notebook shows of an object: a small HTML table, all text escaped, no script, no styles."""

from collections.abc import Iterable, Sequence
from html import escape

ROWS_SHOWN = 20
"""Lines shown of a longer table."""

_CELL = 'style="text-align:left;vertical-align:top;white-space:normal;max-width:36em"'


def grid(head: Sequence[str], rows: Sequence[Sequence[object]], most: int = ROWS_SHOWN) -> str:
    """A table of at most so many lines, and how many more there are."""
    top = "".join(f'<th scope="col" {_CELL}>{_text(name)}</th>' for name in head)
    lines = [
        "<tr>" + "".join(f"<td {_CELL}>{_text(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[:most]
    ]
    more = ""
    if len(rows) > most:
        more = f"<p>and {len(rows) - most:,} more</p>"
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}"


def block(title: str, *parts: str, notes: Iterable[str] = ()) -> str:
    """A heading, HTML made by `grid`, and remarks."""
    items = "".join(f"<li>{_text(note)}</li>" for note in notes)
    listed = f"<ul>{items}</ul>" if items else ""
    return f"<div><p><strong>{_text(title)}</strong></p>{''.join(parts)}{listed}</div>"


def _text(value: object) -> str:
    """A cell as escaped text: few digits, a dash for nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:z.4g}"
    if isinstance(value, list | tuple):
        return escape(", ".join(map(str, value)))
    return escape(" ".join(str(value).split())[:400])
