"""`plait options`: every option of a fit, with its default and what it does."""

from typing import Annotated

import typer

from plait.cli.app import AsJson, app, out, print_json
from plait.errors import ConfigError, unknown


@app.command(rich_help_panel="Look")
def options(
    names: Annotated[list[str], typer.Argument(help="Options to show. Default: all.")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """List every option of a fit, with its default; give one as --set NAME=VALUE.

    Example: [bold]plait options dropout lr[/bold]
    """
    from plait.cli.tables import show_entries
    from plait.config import choices, configure, option_lines

    lines = {name: (default, about) for name, default, about in option_lines()}
    if wrong := [unknown("option", name, lines) for name in names if name not in lines]:
        raise ConfigError(wrong)
    chosen = {name: lines[name] for name in names or lines}
    if as_json:
        defaults = configure().model_dump(mode="json")
        print_json(
            {
                name: {"default": defaults[name], "choices": choices(name), "about": about}
                for name, (_, about) in chosen.items()
            }
        )
        return
    entries = {
        f"{name} = {default}": [about, *_choices(choices(name))]
        for name, (default, about) in chosen.items()
    }
    show_entries(out, "Options of a fit, with their defaults", entries)


def _choices(values: list[str]) -> list[str]:
    return [f"Choices: {', '.join(values)}."] if values else []
