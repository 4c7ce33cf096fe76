"""What token-level fusions share: streams at one width, attention across them, shares a stream."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import Attention, FeedForward
from plait.model.tokens import Tokens


class StreamTokens(nn.Module):
    """Every stream's tokens at one width, by a normalisation and a linear map of its own.

    The map's bias is the stream's modality embedding: one learned vector added to all of its tokens.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        self.names = list(widths)
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )

    def forward(self, tokens: dict[str, Tokens]) -> list[Tokens]:
        """The streams in the order of ``widths``."""
        return [
            Tokens(project(tokens[name].values), tokens[name].mask)
            for name, project in zip(self.names, self.project, strict=True)
        ]


def join(streams: list[Tokens]) -> Tokens:
    """All streams' tokens as one sequence."""
    values, masks = zip(*streams, strict=True)
    return Tokens(torch.cat(values, dim=1), torch.cat(masks, dim=1))


def presence(streams: list[Tokens]) -> Bool[Tensor, "batch streams"]:
    """Which streams each row has."""
    return torch.stack([stream.present for stream in streams], dim=1)


def stream_shares(
    shares: Float[Tensor, "batch tokens"], streams: list[Tokens]
) -> Float[Tensor, "batch streams"]:
    """Shares of the joined tokens summed a stream; all zero for a row without any real token."""
    parts = shares.split([stream.mask.shape[1] for stream in streams], dim=1)
    totals = [(part * mask).sum(dim=1) for part, (_, mask) in zip(parts, streams, strict=True)]
    return torch.stack(totals, dim=1)


class CrossBlock(nn.Module):
    """Pre-norm attention from one sequence to another and feed-forward, with residuals."""

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.key_norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width=width, dropout=dropout)

    def forward(
        self, values: Float[Tensor, "batch queries width"], seen: Tokens
    ) -> Float[Tensor, "batch queries width"]:
        """Refine ``values`` by what they see."""
        attended = self.attention(self.query_norm(values), self.key_norm(seen.values), seen.mask)
        return self._feed(values + attended)

    def read(
        self, values: Float[Tensor, "batch queries width"], seen: Tokens
    ) -> tuple[Float[Tensor, "batch queries width"], Float[Tensor, "batch keys"]]:
        """As `forward`, and each seen token's share of the attention, over heads and queries."""
        queries, keys = self.query_norm(values), self.key_norm(seen.values)
        shares = self.attention.weights(queries, keys, seen.mask).mean(dim=1)
        return self._feed(values + self.attention(queries, keys, seen.mask)), shares

    def _feed(self, values: Tensor) -> Tensor:
        return values + self.feed(self.feed_norm(values))
