"""Fusion by attention between all streams' tokens, in rounds."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.blocks import TransformerBlock
from plait.fusion.base import Fusion
from plait.tokens import Fused, Tokens


class Attention(Fusion):
    """A fused token and every stream's tokens attend to each other for ``rounds`` rounds.

    Each round measures similarity between all tokens (``softmax(Q Kᵀ / sqrt(d))``), combines them by
    it, and since the fused token is among the keys, feeds the fused result back to refine each
    stream's tokens in the next round (joint attention as in Vaswani et al. 2017; as a fusion, Kim et
    al. 2021, ViLT). Each stream adds a learned vector that tells its tokens apart.

    Cost: quadratic in the tokens of all streams together.
    ``weights`` are the fused token's last attention, summed a stream.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        rounds: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )
        self.identity = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.rounds = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(rounds)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the refined tokens of all streams, in order."""
        values, mask = self._line_up(tokens)
        for block in self.rounds[:-1]:
            values = block(values, mask)
        last = self.rounds[-1]
        normed = last.attention_norm(values)
        shares = last.attention.weights(normed[:, :1], normed, mask).squeeze(1)
        values = self.norm(last(values, mask))
        sequence = Tokens(values[:, 1:], mask[:, 1:])
        return Fused(values[:, 0], sequence=sequence, weights=self._by_stream(shares, tokens))

    def _line_up(self, tokens: dict[str, Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """The fused token, then for each stream its absent token and its tokens, in one sequence.

        The absent token is real exactly where the stream is not, so "missing" can be attended to.
        """
        batch = len(next(iter(tokens.values())).values)
        query = self.query.expand(batch, 1, -1)
        values, masks = [query], [torch.ones(batch, 1, dtype=torch.bool, device=query.device)]
        for index, (name, project) in enumerate(zip(self.streams, self.project, strict=True)):
            stream = tokens[name]
            values += [
                self.absent[index].expand(batch, 1, -1),
                project(stream.values) + self.identity[index],
            ]
            masks += [~stream.present.unsqueeze(1), stream.mask]
        return torch.cat(values, dim=1), torch.cat(masks, dim=1)

    def _by_stream(self, shares: torch.Tensor, tokens: dict[str, Tokens]) -> torch.Tensor:
        sizes = [1] + [1 + tokens[name].mask.shape[1] for name in self.streams]
        parts = shares.split(sizes, dim=1)[1:]
        totals = torch.stack([part[:, 1:].sum(dim=1) for part in parts], dim=1)
        return totals / totals.sum(dim=1, keepdim=True).clamp(min=1e-9)
