"""Checking what was passed to plait.model.align, in words."""

import numpy as np
from jaxtyping import Float, Shaped

from plait.errors import AlignError, counted


def numbers(
    name: str, values: Shaped[np.ndarray, "..."], dimensions: tuple[int, ...], meaning: str
) -> Float[np.ndarray, "..."]:
    """``values`` as finite float64 of one of some numbers of dimensions.

    Args:
        name: what the caller calls it.
        meaning: its axes, for the message: ``[rows, features]``.

    Raises:
        AlignError: it is no array of numbers, has another number of axes, is empty, or is not finite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise AlignError(f"{name} has dtype {array.dtype}; pass real numbers, {meaning}.")
    if array.ndim not in dimensions:
        raise AlignError(f"{name} has shape {shape(array)}; expected {meaning}.")
    if not array.size:
        raise AlignError(f"{name} has shape {shape(array)} and so holds nothing; pass {meaning}.")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise AlignError(
            f"{name} holds {counted(bad, 'NaN or infinite value')}, the first at {first}. "
            "Leave those rows or steps out, or fill them in, first."
        )
    return array.astype(np.float64)


def table(name: str, values: Shaped[np.ndarray, "..."], fewest: int = 1) -> np.ndarray:
    """``[rows, features]`` with at least so many rows."""
    array = numbers(name, values, (2,), "[rows, features]")
    if len(array) < fewest:
        raise AlignError(f"{name} has {counted(len(array))}; at least {fewest} are needed to fit.")
    return array


def width(name: str, values: np.ndarray, features: int) -> None:
    """The features must be those of the fit."""
    if values.shape[1] != features:
        raise AlignError(
            f"{name} has {values.shape[1]} features; this was fitted to {features}. Pass rows of the "
            "same kind as in fit."
        )


def same_rows(a: np.ndarray, b: np.ndarray) -> None:
    """Two tables must pair row by row."""
    if len(a) != len(b):
        raise AlignError(
            f"a has {len(a)} rows and b has {len(b)}; row i of both must belong to one sample."
        )


def shape(array: np.ndarray) -> str:
    """A shape as ``[3, 4]``."""
    return str(list(array.shape))
