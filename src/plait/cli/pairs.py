"""The meaning of ``--set NAME=VALUE`` and similar options on the command line."""

import ast
import json
from collections.abc import Sequence
from typing import Any

from plait.errors import ConfigError

EXAMPLES = {
    "--encoder": ", for example --encoder text=pip:all-minilm-l6-v2",
    "--tune": ", for example --tune text=lora",
    "--column": ", for example --column photo=image",
}


def pairs_of(given: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """The ``name=value`` arguments of some options, each as a dict."""
    wrong = [
        f"{option} {text}: write it as NAME=VALUE{EXAMPLES.get(option, '')}."
        for option, texts in given.items()
        for text in texts
        if "=" not in text
    ]
    if wrong:
        raise ConfigError(wrong)
    return {option: dict(text.split("=", 1) for text in texts) for option, texts in given.items()}


FLAGS = ("source", "target", "out", "root", "progress", "preset", "seed", "device")
"""Options that ``--set`` refuses, since each has a flag of its own."""


def others(pairs: dict[str, str], flags: Sequence[str]) -> dict[str, Any]:
    """The options given with ``--set``.

    Raises:
        ConfigError: one of them has a flag of its own, or looks like JSON and is not valid.
    """
    doubled = [name for name in pairs if name in flags]
    if doubled:
        raise ConfigError([f"--set {name}: this option has a flag of its own." for name in doubled])
    values = {name: value_of(text) for name, text in pairs.items()}
    odd = [
        f"--set {name}: {value} is not valid JSON. Put names and texts in double quotes, and the whole "
        f"argument in single quotes for the shell: --set '{name}={_example(value)}'"
        for name, value in values.items()
        if isinstance(value, str) and value.startswith(("{", "["))
    ]
    if odd:
        raise ConfigError(odd)
    return values


def _example(text: str) -> str:
    """The text as JSON if it is Python, else an example of JSON."""
    try:
        return json.dumps(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError):
        return '{"name": 1}' if text.startswith("{") else '["name"]'


def value_of(text: str) -> Any:
    """The value of ``--set NAME=VALUE``: parsed if it is JSON, None, else plain text."""
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def model_options(
    column: Sequence[str],
    kind: Sequence[str],
    encoder: Sequence[str],
    tune: Sequence[str],
    set_: Sequence[str],
    flags: Sequence[str],
) -> dict[str, Any]:
    """The options given by the ``NAME=VALUE`` arguments of a fit.

    Args:
        flags: options that ``--set`` refuses.

    Raises:
        ConfigError: one is not of that form, or has a flag of its own.
    """
    given = {"--column": column, "--kind": kind, "--encoder": encoder, "--tune": tune}
    pairs = pairs_of({name: list(texts) for name, texts in {**given, "--set": set_}.items()})
    return {
        "columns": pairs["--column"],
        "target_kinds": pairs["--kind"],
        "encoders": pairs["--encoder"],
        "tune": pairs["--tune"],
        **others(pairs["--set"], flags),
    }
