"""The directive ``api-table``: the public names of a module with a line each, read from plait itself.

With ``:members:`` the public methods of each class follow it.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

WIDTHS = (34, 66)


class ApiTable(SphinxDirective):
    """``{api-table} plait.align`` lists ``plait.align.__all__``; further arguments name some of them."""

    required_arguments = 1
    optional_arguments = 100
    option_spec: ClassVar[dict[str, Any]] = {"members": directives.flag}

    def run(self) -> list[nodes.Node]:
        module = import_module(self.arguments[0])
        table = nodes.table(classes=["api-table"])
        group = nodes.tgroup(cols=len(WIDTHS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        body = nodes.tbody()
        for name in self.arguments[1:] or module.__all__:
            for label, said in self._lines(name, getattr(module, name)):
                text = self.parse_inline(said.replace("``", "`").replace("`", "``"))[0]
                cells = (
                    nodes.paragraph("", "", nodes.literal(text=label)),
                    nodes.paragraph("", "", *text),
                )
                body += nodes.row("", *(nodes.entry("", cell) for cell in cells))
        group += body
        table += group
        return [table]

    def _lines(self, name: str, thing: Any) -> Iterator[tuple[str, str]]:
        yield name, _first_line(thing)
        if "members" in self.options and inspect.isclass(thing):
            bases = [base for base in thing.__mro__ if base.__module__.startswith("plait.")]
            members = dict.fromkeys(member for base in reversed(bases) for member in vars(base))
            for member in members:
                if not member.startswith("_") and callable(getattr(thing, member)):
                    yield f"{name}.{member}", _first_line(getattr(thing, member))


def _first_line(thing: Any) -> str:
    """What its docstring says in one sentence; a dictionary of parts says how many it holds."""
    if isinstance(thing, dict):
        return f"A dictionary of {len(thing)} names."
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    if not line:
        raise ValueError(f"{thing!r} is public and has no docstring")
    return line


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("api-table", ApiTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
