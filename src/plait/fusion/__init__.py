"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.attention import Attention
from plait.fusion.bottleneck import Bottleneck
from plait.fusion.coattention import CoAttention
from plait.fusion.concat import Concat
from plait.fusion.experts import Experts
from plait.fusion.graph import Graph
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late
from plait.fusion.mapping import Mapping
from plait.fusion.mult import MulT
from plait.fusion.onestream import OneStream
from plait.fusion.perceiver import Perceiver
from plait.fusion.qformer import QFormer
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "Attention",
    "Bottleneck",
    "CoAttention",
    "Concat",
    "Experts",
    "Graph",
    "Hybrid",
    "Late",
    "Mapping",
    "MulT",
    "OneStream",
    "Perceiver",
    "QFormer",
    "Weighted",
    "build_fusion",
]
