"""One vector a stream without a stand-in for absence, and means over those that are there."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import AttentionPool
from plait.model.tokens import Tokens


class PooledVectors(nn.Module):
    """One vector a stream, by attention pooling and a linear map, with mean 0 and variance 1 over its
    numbers; zeros where the stream is absent.

    The fixed scale makes a squared error mean the same for every stream, and keeps an objective that
    predicts the vector from being lowered by shrinking it.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        self.names = list(widths)
        self.width = width
        self.pool = nn.ModuleList(AttentionPool(width=size) for size in widths.values())
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )

    def forward(
        self, tokens: dict[str, Tokens]
    ) -> tuple[Float[Tensor, "batch streams width"], Bool[Tensor, "batch streams"]]:
        """Vectors and presence, both in the order of ``widths``."""
        vectors = [
            project(pool(tokens[name]).squeeze(1))
            for name, pool, project in zip(self.names, self.pool, self.project, strict=True)
        ]
        present = torch.stack([tokens[name].present for name in self.names], dim=1)
        scaled = functional.layer_norm(torch.stack(vectors, dim=1), (self.width,))
        return torch.where(present.unsqueeze(-1), scaled, 0.0), present


def in_full(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Half precision as float32, for sums and powers that need the digits; the rest as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def shared_mean(
    values: Float[Tensor, "batch *some"], used: Bool[Tensor, "batch *some"]
) -> Float[Tensor, " batch"]:
    """Each row's mean over the used entries, all axes but the first; zero where none is used."""
    kept = torch.where(used, in_full(values), 0.0)
    return kept.flatten(1).sum(dim=1) / used.flatten(1).sum(dim=1).clamp(min=1)


def stream_pairs(streams: int) -> tuple[list[int], list[int]]:
    """The unordered pairs of streams, as the two lists of their indices."""
    pairs = [(a, b) for a in range(streams) for b in range(a + 1, streams)]
    return [a for a, _ in pairs], [b for _, b in pairs]
