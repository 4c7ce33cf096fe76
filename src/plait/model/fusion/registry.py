"""The visible dictionary of fusion methods; `plait.register` and entry points add to it."""

import inspect
from collections.abc import Mapping as Map
from typing import Any

from plait.data.registry import Registry, call_problem, subclass_of
from plait.errors import ConfigError, suggest, unknown
from plait.model.fusion.actionmae import ActionMae
from plait.model.fusion.attention import Attention
from plait.model.fusion.base import Fusion
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
from plait.model.fusion.shaspec import ShaSpec
from plait.model.fusion.tensor import LowRank, TensorFusion
from plait.model.fusion.tucker import Block, Mutan
from plait.model.fusion.weighted import Weighted

_OWN: dict[str, type[Fusion]] = {
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


def _problem(part: Any) -> str:
    """Its own options need defaults: a fit passes only those that the user names."""
    return subclass_of(Fusion)(part) or call_problem(
        part, "(widths, width=, dropout=)", {}, width=0, dropout=0.0
    )


FUSIONS: Registry[type[Fusion]] = Registry("fusion", _OWN, group="plait.fusions", problem=_problem)
"""Word → method. Other packages add theirs as entry points of ``plait.fusions``."""


def check_fusion(name: str) -> None:
    """Raise ConfigError when there is no fusion of that name."""
    if name not in FUSIONS:
        raise ConfigError([f"fusion: {unknown('fusion', name, FUSIONS)}"])


Option = bool | int | float | str
"""The value of a fusion's own option."""


MAX_OPTION, MAX_LAYERS = 65_536, 256
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
        elif isinstance(value, int) and value > (
            most := MAX_LAYERS if key in LAYERS else MAX_OPTION
        ):
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
