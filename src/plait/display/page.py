"""The frame of every page plait writes: one file, no script, nothing loaded from elsewhere.

The policy (CSP) forbids script, requests, frames and forms; pictures and sounds are in the file. The
switch between light and dark is a set of radio buttons and CSS; where a browser does not know
``:has()``, the page follows the system.
"""

from collections.abc import Sequence

from plait.display.markup import Child, Html, join, tag
from plait.display.section import Language, Section, spoken
from plait.display.style import STYLE

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def document(
    title: str,
    lead: Child,
    sections: Sequence[Section],
    *,
    language: Language = "en",
    footer: Child = None,
) -> str:
    """The whole page.

    Args:
        title: of the page; plain text.
        lead: a line below it.
        sections: its parts, in order; each is reached from the list of parts.
        footer: the last line.
    """
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("link", rel="icon", href="data:,"),
            tag("title", title),
            tag("style", Html(STYLE)),
        ],
        Html("\n"),
    )
    inner = tag(
        "div",
        tag(
            "header",
            tag("div", tag("h1", title), tag("p", lead)),
            _colour_switch(language),
            class_="top",
        ),
        _parts(sections, language),
        tag("main", *(_part(section) for section in sections), id="parts"),
        tag("footer", footer) if footer else None,
        class_="frame",
    )
    skip = tag(
        "a", spoken(language, "Skip to the report", "跳到正文"), href="#parts", class_="skip"
    )
    tongue = {"en": "en", "zh": "zh-Hans"}[language]
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', skip, inner), lang=tongue)}\n"


def _part(section: Section) -> Html:
    heading = tag("h2", section.title, id=f"{section.key}-title")
    return tag(
        "section",
        heading,
        section.body,
        id=section.key,
        class_="part",
        aria_labelledby=f"{section.key}-title",
    )


def _parts(sections: Sequence[Section], language: Language) -> Html:
    """The list of parts."""
    items = [tag("li", tag("a", section.title, href=f"#{section.key}")) for section in sections]
    label = spoken(language, "Parts of this page", "本页目录")
    return tag("nav", tag("ol", *items), class_="parts", aria_label=label)


def _colour_switch(language: Language) -> Html:
    """The switch between light and dark."""
    looks = (
        ("auto", spoken(language, "Auto", "自动")),
        ("light", spoken(language, "Light", "浅色")),
        ("dark", spoken(language, "Dark", "深色")),
    )
    buttons = [
        tag(
            "label",
            tag("input", type="radio", name="look", id=f"look-{key}", checked=key == "auto"),
            tag("span", label),
        )
        for key, label in looks
    ]
    legend = tag("legend", spoken(language, "Colours", "配色"))
    return tag("fieldset", legend, *buttons, class_="look")
