"""From a fitted model to a folder that answers without torch: graphs, a numeric check, and the files."""

from plait.export.app import Exported, export

__all__ = ["Exported", "export"]
