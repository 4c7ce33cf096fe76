"""Every fusion's formula in plain float64 numpy, a row at a time, written from the paper.

Each family's module has a ``FORMULAS`` dict: fusion → ``formula(weights, tokens, row) -> vector``.
"""

from formulas import attention, basic, bilinear, first, generative, late

FORMULAS = {
    **attention.FORMULAS,
    **basic.FORMULAS,
    **bilinear.FORMULAS,
    **first.FORMULAS,
    **generative.FORMULAS,
    **late.FORMULAS,
}
