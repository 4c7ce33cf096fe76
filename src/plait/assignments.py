"""What ``--set name=value`` and its like mean on the command line."""

import json
from collections.abc import Sequence
from typing import Any

from plait.errors import ConfigError


def pairs_of(given: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """The ``name=value`` arguments of some options, each as a dict."""
    wrong = [
        f"{option} {text}: write it as name=value."
        for option, texts in given.items()
        for text in texts
        if "=" not in text
    ]
    if wrong:
        raise ConfigError(wrong)
    return {option: dict(text.split("=", 1) for text in texts) for option, texts in given.items()}


FLAGS = ("source", "target", "out", "root", "progress", "preset", "seed", "device")
"""What ``--set`` may not set, since it has a flag of its own."""


def others(pairs: dict[str, str], flags: Sequence[str]) -> dict[str, Any]:
    """The options that ``--set`` gives.

    Raises:
        ConfigError: one of them has a flag of its own.
    """
    doubled = [name for name in pairs if name in flags]
    if doubled:
        raise ConfigError([f"--set {name}: it has a flag of its own." for name in doubled])
    return {name: value_of(text) for name, text in pairs.items()}


def value_of(text: str) -> Any:
    """What ``--set name=value`` means: JSON where it is JSON, None, else plain text."""
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
