"""Fusion by attention between the streams' tokens, in rounds."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.model.blocks import AttentionPool, TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.tokens import Fused, Tokens


class Attention(Fusion):
    """A fused token and a few tokens of every stream attend to each other for ``rounds`` rounds.

    Each stream is first summed up in ``count`` tokens by learned attention. Each round then measures
    similarity between all tokens (``softmax(Q Kᵀ / sqrt(d))``), combines them by it, and since the fused
    token is among the keys, feeds the fused result back to refine each stream's tokens in the next
    round (joint attention as in Vaswani et al. 2017; as a fusion, Kim et al. 2021, ViLT). Each stream
    adds a learned vector that tells its tokens apart; a missing one shows a learned absent token.

    Cost: linear in the streams' own tokens, quadratic in ``count`` times the streams.
    ``weights`` are the fused token's last attention, summed a stream.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        rounds: int = 2,
        heads: int = 4,
        count: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        self.count = count
        self.pool = nn.ModuleList(
            AttentionPool(width=size, count=count) for size in widths.values()
        )
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )
        self.identity = nn.Parameter(torch.randn(len(widths), 1, width) * 0.02)
        self.absent = nn.Parameter(torch.randn(len(widths), 1, width) * 0.02)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.rounds = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(rounds)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the refined tokens of all streams, in order."""
        values, real = self._line_up(tokens)
        for block in self.rounds[:-1]:
            values = block(values)
        last = self.rounds[-1]
        assert isinstance(last, TransformerBlock)
        normed = last.attention_norm(values)
        everything = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        shares = last.attention.weights(normed[:, :1], normed, everything).squeeze(1)[:, 1:]
        values = self.norm(last(values))
        sequence = Tokens(values[:, 1:], real)
        return Fused(values[:, 0], sequence=sequence, weights=self._by_stream(shares * real))

    def _line_up(self, tokens: dict[str, Tokens]) -> tuple[Tensor, Tensor]:
        """The fused token, then ``count`` tokens of each stream; and which of the latter are real.

        A missing stream's tokens are its absent token, so "missing" can be attended to.
        """
        values, real = [], []
        for index, (name, pool, project) in enumerate(
            zip(self.streams, self.pool, self.project, strict=True)
        ):
            present = tokens[name].present
            summary = project(pool(tokens[name])) + self.identity[index]
            values.append(torch.where(present[:, None, None], summary, self.absent[index]))
            real.append(present.unsqueeze(1).expand(-1, self.count))
        query = self.query.expand(values[0].shape[0], 1, -1)
        return torch.cat([query, *values], dim=1), torch.cat(real, dim=1)

    def _by_stream(self, shares: Tensor) -> Tensor:
        totals = shares.unflatten(1, (-1, self.count)).sum(dim=2)
        return totals / totals.sum(dim=1, keepdim=True).clamp(min=1e-9)
