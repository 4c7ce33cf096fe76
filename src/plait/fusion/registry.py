"""The visible dictionary of fusion methods."""

import inspect
from collections.abc import Mapping as Map

from plait.errors import ConfigError, suggest, unknown
from plait.fusion.actionmae import ActionMae
from plait.fusion.attention import Attention
from plait.fusion.base import Fusion
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
from plait.fusion.shaspec import ShaSpec
from plait.fusion.tensor import LowRank, TensorFusion
from plait.fusion.tucker import Block, Mutan
from plait.fusion.weighted import Weighted

FUSIONS: dict[str, type[Fusion]] = {
    # The textbook's.
    "concat": Concat,
    "weighted": Weighted,
    "mapping": Mapping,
    "attention": Attention,
    "late": Late,
    "hybrid": Hybrid,
    # Basic.
    "early": Early,
    "sum": Sum,
    "mean": Mean,
    "max": Max,
    "deepsets": DeepSets,
    "gmu": Gmu,
    "embrace": Embrace,
    "centralnet": CentralNet,
    "mmtm": Mmtm,
    # Bilinear.
    "tensor": TensorFusion,
    "lowrank": LowRank,
    "multiplicative": Multiplicative,
    "mcb": Mcb,
    "mlb": Mlb,
    "mfb": Mfb,
    "mutan": Mutan,
    "block": Block,
    # Conditioning.
    "film": Film,
    "nlgate": NlGate,
    "channel": Channel,
    # Attention.
    "coattention": CoAttention,
    "mult": MulT,
    "onestream": OneStream,
    "bottleneck": Bottleneck,
    "perceiver": Perceiver,
    "qformer": QFormer,
    # Experts and graphs.
    "experts": Experts,
    "graph": Graph,
    # Late.
    "product": Product,
    "dempster": Dempster,
    "qmf": Qmf,
    # Generative.
    "mvae": Mvae,
    "mmvae": Mmvae,
    "mopoe": Mopoe,
    "gan": Gan,
    "mctn": Mctn,
    # Aligned.
    "dcca": Dcca,
    "contrastive": Contrastive,
    "misa": Misa,
    # Missing streams.
    "shaspec": ShaSpec,
    "actionmae": ActionMae,
}


def check_fusion(name: str) -> None:
    """Raise ConfigError when there is no fusion of that name."""
    if name not in FUSIONS:
        raise ConfigError([f"fusion: {unknown('fusion', name, FUSIONS)}"])


Option = bool | int | float | str
"""The value of a fusion's own option."""


LARGEST, DEEPEST = 65_536, 256
"""What a whole number among them may be at most; the second one for those in `LAYERS`."""

LAYERS = ("rounds", "layers", "before", "depth")
"""Options that say how many layers are built one after the other."""


def fusion_options(name: str) -> dict[str, Option]:
    """A fusion's own options and their defaults: the keywords of its constructor."""
    parameters = inspect.signature(FUSIONS[name]).parameters.values()
    common = ("width", "dropout")
    return {
        p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY and p.name not in common
    }


def option_problems(name: str, options: Map[str, Option]) -> list[str]:
    """What is wrong with the options asked of a fusion."""
    known = fusion_options(name)
    problems = []
    for key, value in options.items():
        if key not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            problems.append(
                f"fusion_options: {name} has no option '{key}'.{suggest(key, list(known))} ({has})"
            )
        elif not _fits(value, known[key]):
            kind = type(known[key]).__name__
            problems.append(f"fusion_options: {key} of {name} must be {kind}, got {value!r}")
        elif isinstance(value, int) and value > (most := DEEPEST if key in LAYERS else LARGEST):
            problems.append(f"fusion_options: {key} of {name} must be at most {most}, got {value}")
    return problems


def _fits(value: Option, default: Option) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def build_fusion(
    name: str,
    widths: Map[str, int],
    *,
    width: int,
    dropout: float,
    options: Map[str, Option] | None = None,
) -> Fusion:
    """The fusion ``name`` over streams of the given widths.

    Args:
        options: of this method only; see `fusion_options`.

    Raises:
        ConfigError: there is no such fusion, or an option does not fit it.
    """
    check_fusion(name)
    problems = option_problems(name, options or {})
    if problems:
        raise ConfigError(problems)
    try:
        return FUSIONS[name](widths, width=width, dropout=dropout, **(options or {}))  # type: ignore[call-arg]
    except ValueError as error:  # an option out of its bounds
        raise ConfigError([f"fusion_options: {name}: {error}"]) from None
