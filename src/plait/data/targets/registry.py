"""The visible dictionary of kinds of target, and the choice of one for a column.

`plait.register` and entry points of ``plait.targets`` add to it.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from plait.data.modalities.base import is_missing
from plait.data.registry import Registry, subclass_of
from plait.data.targets.cells import Cells
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.data.targets.numbers import Numbers
from plait.data.targets.target import Target
from plait.errors import SchemaError, all_of, unknown

_OWN: dict[str, type[Target]] = {
    "binary": Classes,
    "multiclass": Classes,
    "multilabel": Labels,
    "regression": Numbers,
}

KINDS: Registry[type[Target]] = Registry(
    "kind of target", _OWN, group="plait.targets", problem=subclass_of(Target)
)
"""Name → kind. The last is asked first whether a column's cells are of its kind; classes, which
anything may be, come last."""

_ANSWERS = (bool, int, float, str, Decimal, list, tuple, np.generic, np.ndarray)


def propose_target(
    name: str,
    cells: Iterable[object],
    *,
    kind: str | None = None,
    separator: str | None = None,
    named: bool = True,
) -> Target:
    """Choose the kind of a target and learn its classes or its scale.

    Args:
        name: of the column.
        cells: of the training rows only.
        kind: if it is known already.
        separator: between the labels of a cell; naming one makes the target multi-label.
        named: whether it was the user who named ``kind``, and not an earlier proposal.

    Raises:
        SchemaError: when there is nothing to learn, or the cells do not fit ``kind``.
    """
    if kind is not None and kind not in KINDS:
        raise SchemaError(f"target '{name}': {unknown('kind', kind, KINDS)}")
    separable = [known for known in KINDS if KINDS[known].separable]
    if separator is not None and kind not in (None, *separable):
        raise SchemaError(
            f"target '{name}': a separator ({separator!r}) makes it {' or '.join(separable)}, but its "
            f"kind is {kind}. Leave one of the two out."
        )
    there = _present(name, cells)
    if kind is None and separator is not None:
        kind = separable[0]
    if kind is not None:
        evidence = None if named else KINDS[kind].evidence(there)
        why = "as requested" if named else evidence or "as in the whole table"
        return KINDS[kind].learn(there, kind=kind, separator=separator, why=why)
    for known in reversed(list(KINDS)):
        reason = KINDS[known].evidence(there)
        if reason is not None:
            return KINDS[known].learn(there, kind=known, separator=None, why=reason)
    raise SchemaError(f"the target '{name}' is of no known kind ({', '.join(KINDS)}).")


def read_target(data: Mapping[str, Any]) -> Target:
    """What `plait.data.targets.target.Target.to_json` gave.

    Raises:
        UnregisteredError: there is no such kind here.
    """
    return KINDS.recorded(data["kind"]).from_json(data)


def kinds_of(heads: Iterable[str]) -> list[str]:
    """The kinds that some heads answer."""
    asked = set(heads)
    return [kind for kind, target in KINDS.items() if target.head in asked]


def _present(name: str, cells: Iterable[object]) -> Cells:
    """The cells that are there, all of which could be answers."""
    every = list(cells)
    present = [cell for cell in every if not is_missing(cell)]
    if not present:
        raise SchemaError(
            f"the target '{name}' is missing in {all_of(len(every))}: nothing to learn. "
            "Name the column that holds the answers."
        )
    odd = next((cell for cell in present if not isinstance(cell, _ANSWERS)), None)
    if odd is not None:
        raise SchemaError(
            f"the target '{name}' holds {type(odd).__name__} cells. A target holds class names, lists "
            "of labels, or numbers; turn dates and files into one of those first."
        )
    return Cells(name, present)
