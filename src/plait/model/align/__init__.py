"""Bringing streams together before they are fused: in time, in space, and between feature spaces.

Usable alone, on your own arrays: ``import plait.model.align``. Names are imported at first use, so
that the feature maps, which are plain numpy, come without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.model.align.feature import CCA, LinearMap, Procrustes
    from plait.model.align.reduce import LDA, PCA
    from plait.model.align.soft_dtw import SoftDTW
    from plait.model.align.spatial import (
        SpatialTransformer,
        phase_correlation,
        register_affine,
        warp,
    )
    from plait.model.align.streams import Clock, CrossAlign, resample_tokens
    from plait.model.align.temporal import ctc_align, dtw, resample

__all__ = [
    "CCA",
    "LDA",
    "PCA",
    "Clock",
    "CrossAlign",
    "LinearMap",
    "Procrustes",
    "SoftDTW",
    "SpatialTransformer",
    "ctc_align",
    "dtw",
    "phase_correlation",
    "register_affine",
    "resample",
    "resample_tokens",
    "warp",
]

_HOMES = {
    **dict.fromkeys(["CCA", "LinearMap", "Procrustes"], "feature"),
    **dict.fromkeys(["LDA", "PCA"], "reduce"),
    "SoftDTW": "soft_dtw",
    **dict.fromkeys(
        ["SpatialTransformer", "phase_correlation", "register_affine", "warp"], "spatial"
    ),
    **dict.fromkeys(["Clock", "CrossAlign", "resample_tokens"], "streams"),
    **dict.fromkeys(["ctc_align", "dtw", "resample"], "temporal"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"plait.model.align.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'plait.model.align' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
