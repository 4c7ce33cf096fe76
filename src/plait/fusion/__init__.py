"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.actionmae import ActionMae
from plait.fusion.attention import Attention
from plait.fusion.bottleneck import Bottleneck
from plait.fusion.centralnet import CentralNet
from plait.fusion.channel import Channel
from plait.fusion.coattention import CoAttention
from plait.fusion.concat import Concat
from plait.fusion.confident import Dempster, Qmf
from plait.fusion.contrastive import Contrastive
from plait.fusion.dcca import Dcca
from plait.fusion.early import Early
from plait.fusion.embrace import Embrace
from plait.fusion.experts import Experts
from plait.fusion.film import Film
from plait.fusion.gan import Gan
from plait.fusion.gmu import Gmu
from plait.fusion.graph import Graph
from plait.fusion.hadamard import Mfb, Mlb
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late, Product
from plait.fusion.mapping import Mapping
from plait.fusion.mcb import Mcb
from plait.fusion.mctn import Mctn
from plait.fusion.misa import Misa
from plait.fusion.mmtm import Mmtm
from plait.fusion.mmvae import Mmvae
from plait.fusion.mopoe import Mopoe
from plait.fusion.mult import MulT
from plait.fusion.multiplicative import Multiplicative
from plait.fusion.mvae import Mvae
from plait.fusion.nlgate import NlGate
from plait.fusion.onestream import OneStream
from plait.fusion.perceiver import Perceiver
from plait.fusion.pooling import DeepSets, Max, Mean, Sum
from plait.fusion.qformer import QFormer
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.shaspec import ShaSpec
from plait.fusion.tensor import LowRank, TensorFusion
from plait.fusion.tucker import Block, Mutan
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "ActionMae",
    "Attention",
    "Block",
    "Bottleneck",
    "CentralNet",
    "Channel",
    "CoAttention",
    "Concat",
    "Contrastive",
    "Dcca",
    "DeepSets",
    "Dempster",
    "Early",
    "Embrace",
    "Experts",
    "Film",
    "Gan",
    "Gmu",
    "Graph",
    "Hybrid",
    "Late",
    "LowRank",
    "Mapping",
    "Max",
    "Mcb",
    "Mctn",
    "Mean",
    "Mfb",
    "Misa",
    "Mlb",
    "Mmtm",
    "Mmvae",
    "Mopoe",
    "MulT",
    "Multiplicative",
    "Mutan",
    "Mvae",
    "NlGate",
    "OneStream",
    "Perceiver",
    "Product",
    "QFormer",
    "Qmf",
    "ShaSpec",
    "Sum",
    "TensorFusion",
    "Weighted",
    "build_fusion",
]
