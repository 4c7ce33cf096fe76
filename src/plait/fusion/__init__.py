"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.attention import Attention
from plait.fusion.centralnet import CentralNet
from plait.fusion.channel import Channel
from plait.fusion.concat import Concat
from plait.fusion.early import Early
from plait.fusion.embrace import Embrace
from plait.fusion.film import Film
from plait.fusion.gmu import Gmu
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late
from plait.fusion.mapping import Mapping
from plait.fusion.mmtm import Mmtm
from plait.fusion.nlgate import NlGate
from plait.fusion.pooling import DeepSets, Max, Mean, Sum
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "Attention",
    "CentralNet",
    "Channel",
    "Concat",
    "DeepSets",
    "Early",
    "Embrace",
    "Film",
    "Gmu",
    "Hybrid",
    "Late",
    "Mapping",
    "Max",
    "Mean",
    "Mmtm",
    "NlGate",
    "Sum",
    "Weighted",
    "build_fusion",
]
