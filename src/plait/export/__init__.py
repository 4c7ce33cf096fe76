"""From a fitted model to a folder that answers without torch: graphs, a numeric check, and the files."""

from plait.export.app import Exported, export
from plait.export.int8 import Cost, cost, quantise

__all__ = ["Cost", "Exported", "cost", "export", "quantise"]
