"""The contract every fusion keeps, and the pooling that vector-level fusions share."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.data.targets.target import Target
from plait.model.blocks import AttentionPool
from plait.model.tokens import Fused, Tokens, check_stream


class Fusion(nn.Module):
    """Token streams by name in, one fused vector (and perhaps a sequence) out.

    The streams' order is that of ``widths``, whatever the order of the dict passed to ``forward``. Any
    stream may be missing for any sample; a sample without any stream gets a finite answer.

    Args:
        widths: numbers in a token of each stream.
        width: numbers in the fused vector.
    """

    voting: ClassVar[bool] = False
    """True when ``votes`` are given, which train every stream to answer by itself."""

    heads: ClassVar[tuple[str, ...] | None] = None
    """The only heads (`plait.model.heads.registry`) that can read what it gives; None: any."""

    stacks: int = 0
    """How many votes a head must be built to stack; 0 where votes are combined by another rule."""

    def __init__(self, widths: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        if not widths:
            raise ValueError("a fusion needs at least one stream in widths, got none")
        self.widths = dict(widths)
        self.width = width

    def __call__(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; see `forward`."""
        _check_streams(tokens, self.widths)
        fused: Fused = super().__call__(tokens)
        return fused

    @classmethod
    def answers(cls, target: Target) -> bool:
        """Whether it can answer a target."""
        return cls.heads is None or target.head in cls.heads

    @property
    def streams(self) -> list[str]:
        """The streams' names, in the order of every ``streams`` axis."""
        return list(self.widths)

    def trusts(self) -> list[nn.Parameter]:
        """Logs of the trust in votes, which held-out rows fit after training; most fusions have none."""
        return []

    @abstractmethod
    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""


def _check_streams(tokens: Any, widths: Mapping[str, int]) -> None:
    """Say in words what a fusion cannot take, before torch does in its own."""
    if not isinstance(tokens, Mapping):
        raise TypeError(
            f"a fusion takes a dict of Tokens by stream ({', '.join(map(repr, widths))}), got a "
            f"{type(tokens).__name__}."
        )
    lacking = [name for name in widths if name not in tokens]
    if lacking:
        given = ", ".join(map(repr, tokens)) or "none"
        raise ValueError(
            f"tokens lack {', '.join(map(repr, lacking))}; got {given}. "
            "A stream that is missing is passed with a mask that is False throughout."
        )
    for name, width in widths.items():
        check_stream(f"tokens[{name!r}]", tokens[name], width)
    rows = {name: tokens[name].mask.shape[0] for name in widths}
    first = next(iter(rows))
    for name, count in rows.items():
        if count != rows[first]:
            raise ValueError(
                f"tokens[{first!r}] has {rows[first]} rows and tokens[{name!r}] has {count}; row i of "
                "every stream must belong to one sample."
            )


class StreamVectors(nn.Module):
    """One vector a stream, by attention pooling and a linear map; a learned one where it is absent."""

    def __init__(self, widths: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        self.names = list(widths)
        self.pool = nn.ModuleList(AttentionPool(width=size) for size in widths.values())
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)

    def forward(
        self, tokens: dict[str, Tokens]
    ) -> tuple[Float[Tensor, "batch streams width"], Bool[Tensor, "batch streams"]]:
        """Vectors and presence, both in the order of ``widths``."""
        vectors = [
            project(pool(tokens[name]).squeeze(1))
            for name, pool, project in zip(self.names, self.pool, self.project, strict=True)
        ]
        present = torch.stack([tokens[name].present for name in self.names], dim=1)
        return torch.where(present.unsqueeze(-1), torch.stack(vectors, dim=1), self.absent), present
