"""Learned queries that ask every stream."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import Attention, FeedForward, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.streams import StreamTokens, presence
from plait.model.tokens import Fused, Tokens


class QFormer(Fusion):
    """``count`` learned queries attend to each other and then to every stream, in blocks.

    ``q = q + SA(q)``, ``q = q + mean over present m of CA_m(q, X_m)``, ``q = q + FF(q)``, each on
    normalised input; ``z = LN(mean of q)``. The querying transformer of Li et al. 2023, BLIP-2, section
    3.1, which asks one image: here every stream has a cross-attention of its own, and the answers of the
    present ones are averaged, so that no stream comes before another. The paper puts cross-attention
    into every other block; here it is in each. Where all streams are missing the queries answer alone.

    Cost: with T tokens in all M streams, a block is linear in T, with ``count`` queries a stream, and
    quadratic in ``count``. ``sequence`` holds the queries, for a decoder to read.

    Args:
        count: queries.
        rounds: blocks.
        heads: of each attention.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        count: int = 8,
        rounds: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, count=count, rounds=rounds)
        self.tokens = StreamTokens(widths, width=width)
        self.queries = nn.Parameter(torch.randn(count, width) * 0.02)
        self.rounds = nn.ModuleList(
            QueryBlock(streams=len(widths), width=width, heads=heads, dropout=dropout)
            for _ in range(rounds)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        streams = self.tokens(tokens)
        present = presence(streams)
        queries = self.queries.expand(present.shape[0], -1, -1)
        for block in self.rounds:
            queries = block(queries, streams, present)
        real = torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device)
        return Fused(self.norm(queries.mean(dim=1)), sequence=Tokens(queries, real))


class QueryBlock(nn.Module):
    """Self-attention of the queries, cross-attention to each stream, feed-forward; with residuals."""

    def __init__(self, *, streams: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width=width, heads=heads, dropout=dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.cross = nn.ModuleList(
            Attention(width=width, heads=heads, dropout=dropout) for _ in range(streams)
        )
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width=width, dropout=dropout)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        streams: list[Tokens],
        present: Bool[Tensor, "batch streams"],
    ) -> Float[Tensor, "batch queries width"]:
        """Refine the queries by each other and by the present streams."""
        normed = self.self_norm(queries)
        queries = queries + self.self_attention(normed, normed)
        normed = self.cross_norm(queries)
        heard = [
            cross(normed, values, mask)
            for cross, (values, mask) in zip(self.cross, streams, strict=True)
        ]
        mean = masked_mean(torch.stack(heard, dim=1).flatten(2), present)
        queries = queries + mean.view_as(queries)
        return queries + self.feed(self.feed_norm(queries))
