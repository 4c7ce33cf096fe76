"""The directive ``option-table``: every option of a fit, read from plait itself at build time."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from plait.config import option_lines

WIDTHS = (22, 14, 64)


class OptionTable(SphinxDirective):
    """A table of name, default and meaning; each name is a target that other pages can link to."""

    def run(self) -> list[nodes.Node]:
        table = nodes.table(classes=["option-table"])
        group = nodes.tgroup(cols=len(WIDTHS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        titles = [nodes.paragraph(text=title) for title in ("Option", "Default", "Meaning")]
        group += nodes.thead("", _row(*titles))
        body = nodes.tbody()
        for name, default, description in option_lines():
            row = _row(
                nodes.paragraph("", "", nodes.literal(text=name)),
                nodes.paragraph("", "", nodes.literal(text=default)),
                nodes.paragraph("", "", *self.parse_inline(description.replace("`", "``"))[0]),
            )
            row["ids"].append(f"option-{name.replace('_', '-')}")
            body += row
        group += body
        table += group
        return [table]


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("option-table", OptionTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
