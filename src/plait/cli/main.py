"""`plait` as a program: runs a command, and turns every error into a message."""

import os
import sys
from importlib import import_module

import typer

from plait.cli.app import INTERRUPTED, app, err, say
from plait.errors import ConfigError, PlaitError, PlaitWarning, error_line, suggest, training_extra

COMMANDS = (
    *("inspect", "encoders", "fusions", "options"),  # look
    *("fit", "demo"),  # fit
    *("evaluate", "report", "predict", "explain", "impute"),  # use
    *("compare", "compress"),  # improve
    *("export", "serve"),  # ship
    *("checks", "cache"),  # this machine
)
"""In the order of work, as the panels of `plait --help`; each is a module that adds one command."""

for _name in COMMANDS:
    import_module(f"plait.cli.{_name}")
# A module that was imported before this one has registered its command too early.
app.registered_commands.sort(key=lambda command: COMMANDS.index(command.callback.__name__))  # type: ignore[union-attr]


def misspelt(arguments: list[str]) -> list[str]:
    """Every option on the command line that the command does not have, with a suggestion."""
    from plait.config import Config

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    command = next((commands[word] for word in arguments if word in commands), None)
    if command is None:
        return []
    known = {name for part in command.params for name in (*part.opts, *part.secondary_opts)}
    known |= {"--help"}
    problems = []
    for word in arguments:
        name = word.split("=", 1)[0]
        if not name.startswith("--") or name == "--" or name in known:
            continue
        field = name[2:].replace("-", "_")
        if field in Config.model_fields and command.name in ("fit", "compare"):
            problems.append(f"{name}: give it as --set {field}=VALUE")
        else:
            problems.append(
                f"{name}: `plait {command.name}` has no such option.{suggest(name, known)}"
            )
    return problems


def _fail(text: str) -> None:
    err.print("[red]error:[/red] ", end="")
    say(err, text)


def main() -> None:
    """Run a command; errors are messages, never stack traces, unless PLAIT_DEBUG is set."""
    import warnings

    warnings.filterwarnings("ignore", category=PlaitWarning)  # the commands print notes themselves
    try:
        problems = misspelt(sys.argv[1:])
        if problems:
            raise ConfigError(problems)
        app(prog_name="plait")
    except PlaitError as error:
        _fail(str(error))
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer has turned the KeyboardInterrupt into this
            say(
                err,
                "\nInterrupted. Run the same command again: with --resume a fit continues from its last "
                "checkpoint; a comparison makes only the missing runs.",
            )
        raise
    except KeyboardInterrupt:
        say(err, "\nInterrupted.")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that may not be written
        if os.environ.get("PLAIT_DEBUG"):
            raise
        _fail(f"{error.filename or 'the system'}: {error_line(error)}.")
        raise SystemExit(1) from None
    except Exception as error:
        if isinstance(error, ImportError) and (missing := training_extra(error)):
            _fail(str(missing))
            raise SystemExit(1) from None
        if os.environ.get("PLAIT_DEBUG"):
            raise
        err.print(
            f"[red]This is a bug in plait:[/red] {type(error).__name__}: ", end="", highlight=False
        )
        err.print(str(error), markup=False, highlight=False)
        err.print("Run it again with PLAIT_DEBUG=1 to get the stack trace, and please report it.")
        raise SystemExit(70) from None
