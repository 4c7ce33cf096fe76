"""Every fusion's formula in plain float64 numpy, a row at a time, written from the paper.

Each family's module has a ``FORMULAS`` dict: fusion → ``formula(weights, tokens, row) -> vector``.
"""

from formulas import basic, first

FORMULAS = {**first.FORMULAS, **basic.FORMULAS}
from formulas import bilinear, first

FORMULAS = {**first.FORMULAS, **bilinear.FORMULAS}
from formulas import attention, first

FORMULAS = {**first.FORMULAS, **attention.FORMULAS}
from formulas import first, generative

FORMULAS = {**first.FORMULAS, **generative.FORMULAS}
from formulas import first, late

FORMULAS = {**first.FORMULAS, **late.FORMULAS}
