"""The visible dictionary of fusion methods."""

from collections.abc import Mapping as Map

from plait.errors import ConfigError, unknown
from plait.fusion.attention import Attention
from plait.fusion.base import Fusion
from plait.fusion.concat import Concat
from plait.fusion.hybrid import Hybrid
from plait.fusion.late import Late
from plait.fusion.mapping import Mapping
from plait.fusion.weighted import Weighted

FUSIONS: dict[str, type[Fusion]] = {
    "attention": Attention,
    "concat": Concat,
    "weighted": Weighted,
    "mapping": Mapping,
    "late": Late,
    "hybrid": Hybrid,
}


def check_fusion(name: str) -> None:
    """Raise ConfigError when there is no fusion of that name."""
    if name not in FUSIONS:
        raise ConfigError([f"fusion: {unknown('fusion', name, FUSIONS)}"])


def build_fusion(name: str, widths: Map[str, int], *, width: int, dropout: float) -> Fusion:
    """The fusion ``name`` over streams of the given widths."""
    check_fusion(name)
    return FUSIONS[name](widths, width=width, dropout=dropout)  # type: ignore[call-arg]
