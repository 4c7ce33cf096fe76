"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.attention import Attention
from plait.fusion.concat import Concat
from plait.fusion.confident import Dempster, Qmf
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late, Product
from plait.fusion.mapping import Mapping
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "Attention",
    "Concat",
    "Dempster",
    "Hybrid",
    "Late",
    "Mapping",
    "Product",
    "Qmf",
    "Weighted",
    "build_fusion",
]
