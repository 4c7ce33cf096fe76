"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.attention import Attention
from plait.fusion.concat import Concat
from plait.fusion.hadamard import MFB, MLB
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late
from plait.fusion.mapping import Mapping
from plait.fusion.mcb import MCB
from plait.fusion.multiplicative import Multiplicative
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.tensor import LowRank, TensorFusion
from plait.fusion.tucker import Block, Mutan
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "MCB",
    "MFB",
    "MLB",
    "Attention",
    "Block",
    "Concat",
    "Hybrid",
    "Late",
    "LowRank",
    "Mapping",
    "Multiplicative",
    "Mutan",
    "TensorFusion",
    "Weighted",
    "build_fusion",
]
