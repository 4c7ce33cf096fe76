"""Rules that parts keep: each is a function that raises what breaks it."""

from collections.abc import Callable
from typing import Any


def applied(rule: str, check: Callable[..., None], *args: Any) -> None:
    """Check one rule.

    Raises:
        AssertionError: naming the rule.
    """
    try:
        check(*args)
    except Exception as error:  # a part of somebody else's may fail in any way
        raise AssertionError(f"{rule}: {type(error).__name__}: {error}") from error


def require(condition: object, problem: str) -> None:
    """As an assertion, also where Python leaves assertions out."""
    if not condition:
        raise AssertionError(problem)
