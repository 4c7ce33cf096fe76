"""HTML that cannot be forgotten to be escaped: plain text is escaped wherever it enters markup."""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

VOID = frozenset({"img", "input", "br", "hr", "meta", "link", "source"})
"""Elements that hold nothing."""

_STRAY = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
"""Characters that are no text, and those by which a text turns what stands around it the other way."""


class Html(str):
    """Text that is markup already. Make it with `tag` and its kin; never from data."""

    __slots__ = ()


Child = Html | str | int | None


def tidy(text: str) -> str:
    """Text without control characters and overrides of its direction, which show by number."""
    return _STRAY.sub(lambda found: f"\u2329U+{ord(found[0]):04X}\u232a", text)


def safe(child: Child) -> Html:
    """A child as markup: escaped, unless it is markup; nothing for None."""
    if child is None:
        return Html("")
    return child if isinstance(child, Html) else Html(escape(tidy(str(child))))


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """An element: ``tag("p", text, class_="note")``.

    Args:
        name: of the element.
        children: markup, or text, which is escaped.
        attributes: values are escaped. Underscores stand for hyphens, one at the end is dropped; True
            gives the bare name, None and False nothing.
    """
    pairs = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        named = key.rstrip("_").replace("_", "-")
        pairs += f" {named}" if value is True else f' {named}="{escape(tidy(str(value)))}"'
    inner = join(children)
    return Html(f"<{name}{pairs}>" if name in VOID else f"<{name}{pairs}>{inner}</{name}>")


def join(children: Iterable[Child], between: Child = None) -> Html:
    """Several children one after the other."""
    return Html(str(safe(between)).join(map(safe, children)))


def named(text: str) -> Html:
    """A name or a cell from the data, kept from turning the text around it (``<bdi>``)."""
    return tag("bdi", text)


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals and a true minus sign, never ``−0.000``; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:z,.{digits}f}" if abs(value) < 1e5 else f"{value:,.4g}"
    return text.replace("-", "−")


def compact(value: float, digits: int = 4) -> str:
    """A number with so many significant digits and a true minus sign."""
    return f"{value:z.{digits}g}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """The same with its sign; no sign for what rounds to 0."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+,.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:z.{digits}f} %"


def table(
    heads: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    caption: str,
    left: int = 1,
    strong: Iterable[int] = (),
) -> Html:
    """A table that scrolls sideways where there is no room.

    Args:
        caption: what it shows; read out, and shown above.
        left: so many columns are text and begin at the left; the others are figures.
        strong: rows to set in bold.
    """
    bold = set(strong)

    def cell(place: int, child: Child) -> Html:
        side = "text" if place < left else None
        if place == 0:
            return tag("th", child, scope="row", class_=side)
        return tag("td", child, class_=side)

    head = join(
        tag("th", child, scope="col", class_="text" if place < left else None)
        for place, child in enumerate(heads)
    )
    body = join(
        tag(
            "tr",
            *(cell(place, child) for place, child in enumerate(line)),
            class_="strong" if at in bold else None,
        )
        for at, line in enumerate(rows)
    )
    inner = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), aria_label=caption)
    # Focusable, so that it can be scrolled by keyboard (WCAG 2.1.1).
    scrolled = tag("div", inner, class_="scroll", tabindex=0, role="group", aria_label=caption)
    return join([tag("p", caption, class_="caption"), scrolled])


def figure(svg: str, caption: Child = None, *, wide: bool = False) -> Html:
    """A plot of `plait.display.plots`, with words below; ``wide`` takes the whole row."""
    drawn = Html(tidy(svg))
    legend = tag("figcaption", caption) if caption else None
    return tag("figure", drawn, legend, class_="wide" if wide else None)


def plots(*figures: Html) -> Html:
    """Figures side by side where there is room."""
    return tag("div", *figures, class_="plots")


def tiles(facts: Iterable[tuple[Child, Child, Child]]) -> Html:
    """Key figures: a label, the figure, a line below."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", label), tag("dd", tag("strong", value), tag("small", below)))
            for label, value, below in facts
        ),
        class_="tiles",
    )


def facts(pairs: Iterable[tuple[Child, Child]]) -> Html:
    """Names and what they stand for, a line each."""
    return tag("dl", *(join([tag("dt", a), tag("dd", b)]) for a, b in pairs), class_="facts")


def bullets(lines: Iterable[Child]) -> Html:
    """A list; nothing where there is no line."""
    items = [tag("li", line) for line in lines]
    return tag("ul", *items) if items else Html("")


def note(*children: Child, bad: bool = False) -> Html:
    """A remark set apart; ``bad`` for what should make a reader stop."""
    return tag("p", *children, class_="note bad" if bad else "note")


def details(summary: Child, *children: Child, open_: bool = False) -> Html:
    """A part that a reader opens."""
    return tag("details", tag("summary", summary), *children, open=open_)


def cards(items: Iterable[Html]) -> Html:
    """Examples side by side."""
    return tag("div", *(tag("article", item, class_="card") for item in items), class_="cards")


def levels(
    values: Sequence[tuple[Child, float | None, str]], *, whole: float | None = None
) -> Html:
    """Bars from a common zero, a line each: a name, a value, the value in words.

    Values below zero go to the left in the colour of what speaks against. None has no bar.

    Args:
        whole: the value that would fill its side; None: the largest shown.
    """
    known = [value for _, value, _ in values if value is not None and math.isfinite(value)]
    if whole is not None:
        known += [math.copysign(whole, value) for value in known]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0

    def track(value: float | None) -> Html:
        if value is None or not math.isfinite(value) or not known:
            return tag("span", class_="track")
        start, end = sorted((0.0, value))
        style = f"left:{100 * (start - low) / span:.1f}%;width:{100 * (end - start) / span:.1f}%"
        return tag(
            "span", tag("i", style=style, class_="less" if value < 0 else None), class_="track"
        )

    lines = [
        join([tag("span", name), track(value), tag("span", label)]) for name, value, label in values
    ]
    return tag("div", *lines, class_="bars")
