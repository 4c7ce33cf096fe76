"""Streams that learn at different paces, balanced while training, whatever the fusion.

A stream that is quick to learn makes the joint loss small and leaves the others' encoders untrained.
Three methods act against that, on the encoders' gradients or on the losses' weights; all of them look at
what each stream can answer by itself: its vote, for fusions that vote, else its voice (`Model.voices`).
"""

from plait.training.balance.base import Balance
from plait.training.balance.rates import encoder_rates, stream_rates
from plait.training.balance.registry import build_balance
from plait.training.balance.shares import watched

__all__ = [
    "Balance",
    "build_balance",
    "encoder_rates",
    "stream_rates",
    "watched",
]
