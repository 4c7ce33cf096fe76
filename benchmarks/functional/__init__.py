"""Fusions written by hand, as plain functions: what plait's modules are timed against.

Each family's module has a ``REFERENCES`` dict: fusion → ``function(weights, values, masks) -> vector``,
with the fusion's ``state_dict`` and a list each of the streams' tokens, ``[batch, tokens, width]``, and
masks, ``[batch, tokens]``, in order. Options are the fusion's defaults, without dropout and losses. They
import nothing from plait.
"""

from collections.abc import Callable

from torch import Tensor

from benchmarks.functional import attention, basic, bilinear, first, generative, late

Reference = Callable[[dict[str, Tensor], list[Tensor], list[Tensor]], Tensor]

REFERENCES: dict[str, Reference] = {
    **first.REFERENCES,
    **basic.REFERENCES,
    **bilinear.REFERENCES,
    **attention.REFERENCES,
    **late.REFERENCES,
    **generative.REFERENCES,
}
