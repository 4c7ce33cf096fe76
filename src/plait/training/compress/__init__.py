"""Smaller models that answer nearly as well: narrower layers, pruned or taught, or both."""

from plait.training.compress.compress import WAYS, compress

__all__ = ["WAYS", "compress"]
