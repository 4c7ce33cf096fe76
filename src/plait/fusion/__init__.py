"""Many token streams to one. `FUSIONS` lists the methods; each is a plain module on your own tensors."""

from plait.fusion.actionmae import ActionMae
from plait.fusion.attention import Attention
from plait.fusion.concat import Concat
from plait.fusion.contrastive import Contrastive
from plait.fusion.dcca import Dcca
from plait.fusion.gan import Gan
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late
from plait.fusion.mapping import Mapping
from plait.fusion.mctn import Mctn
from plait.fusion.misa import Misa
from plait.fusion.mmvae import Mmvae
from plait.fusion.mopoe import Mopoe
from plait.fusion.mvae import Mvae
from plait.fusion.registry import FUSIONS, build_fusion
from plait.fusion.shaspec import ShaSpec
from plait.fusion.weighted import Weighted

__all__ = [
    "FUSIONS",
    "ActionMae",
    "Attention",
    "Concat",
    "Contrastive",
    "Dcca",
    "Gan",
    "Hybrid",
    "Late",
    "Mapping",
    "Mctn",
    "Misa",
    "Mmvae",
    "Mopoe",
    "Mvae",
    "ShaSpec",
    "Weighted",
    "build_fusion",
]
