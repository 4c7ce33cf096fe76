"""A fair, repeatable sample of a column's cells, for `fit`."""

from collections.abc import Iterable
from random import Random

from plait.data.modalities.base import is_missing


def sample(cells: Iterable[object], size: int) -> list[object]:
    """Up to ``size`` cells that are not missing, chosen evenly and always the same, in their order.

    Algorithm R (Vitter 1985, "Random sampling with a reservoir"), with a fixed seed: one pass, memory
    for ``size`` cells, every cell with the same chance.
    """
    random = Random(0)
    kept: list[tuple[int, object]] = []
    seen = 0
    for cell in cells:
        if is_missing(cell):
            continue
        if len(kept) < size:
            kept.append((seen, cell))
        else:
            slot = random.randrange(seen + 1)
            if slot < size:
                kept[slot] = (seen, cell)
        seen += 1
    return [cell for _, cell in sorted(kept, key=lambda pair: pair[0])]
