"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.model.fusion.actionmae import ActionMae
from plait.model.fusion.attention import Attention
from plait.model.fusion.bottleneck import Bottleneck
from plait.model.fusion.centralnet import CentralNet
from plait.model.fusion.channel import Channel
from plait.model.fusion.coattention import CoAttention
from plait.model.fusion.concat import Concat
from plait.model.fusion.confident import Dempster, Qmf
from plait.model.fusion.contrastive import Contrastive
from plait.model.fusion.dcca import Dcca
from plait.model.fusion.early import Early
from plait.model.fusion.embrace import Embrace
from plait.model.fusion.experts import Experts
from plait.model.fusion.film import Film
from plait.model.fusion.gan import Gan
from plait.model.fusion.gmu import Gmu
from plait.model.fusion.graph import Graph
from plait.model.fusion.hadamard import Mfb, Mlb
from plait.model.fusion.hybrid import Hybrid
from plait.model.fusion.late import Late, Product
from plait.model.fusion.mapping import Mapping
from plait.model.fusion.mcb import Mcb
from plait.model.fusion.mctn import Mctn
from plait.model.fusion.misa import Misa
from plait.model.fusion.mmtm import Mmtm
from plait.model.fusion.mmvae import Mmvae
from plait.model.fusion.mopoe import Mopoe
from plait.model.fusion.mult import MulT
from plait.model.fusion.multiplicative import Multiplicative
from plait.model.fusion.mvae import Mvae
from plait.model.fusion.nlgate import NlGate
from plait.model.fusion.onestream import OneStream
from plait.model.fusion.perceiver import Perceiver
from plait.model.fusion.pooling import DeepSets, Max, Mean, Sum
from plait.model.fusion.qformer import QFormer
from plait.model.fusion.registry import FUSIONS, build_fusion
from plait.model.fusion.shaspec import ShaSpec
from plait.model.fusion.tensor import LowRank, TensorFusion
from plait.model.fusion.tucker import Block, Mutan
from plait.model.fusion.weighted import Weighted

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
