"""One transformer over the tokens of all streams."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.blocks import TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.streams import StreamTokens, join, stream_shares
from plait.model.tokens import Fused, Tokens


class OneStream(Fusion):
    """All tokens of all streams in one sequence after a class token, through one transformer.

    ``x_0 = [c; P_1 X_1 + e_1; ...; P_M X_M + e_M]``, ``x_l = Block_l(x_{l-1})``, ``z = LN(x_L)[0]``,
    with P_m the map of stream m to the common width and e_m its modality embedding. Single-stream
    multimodal transformers: Kiela et al. 2019, MMBT, section 3; Kim et al. 2021, ViLT, section 3.1.
    Missing streams are masked out; where all are missing the class token sees itself alone.

    Cost: with T tokens in all streams together, each round is quadratic in T. For long streams
    `Attention`, `Bottleneck` or `Perceiver` cost less. ``weights`` are the class token's last attention
    to each stream's tokens.

    Args:
        rounds: transformer blocks.
        heads: of each attention.
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
        at_least(1, rounds=rounds)
        self.tokens = StreamTokens(widths, width=width)
        self.lead = nn.Parameter(torch.randn(width) * 0.02)
        self.rounds = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(rounds)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the refined tokens of all streams, in order."""
        streams = self.tokens(tokens)
        values, real = join(streams)
        values = torch.cat([self.lead.expand(values.shape[0], 1, -1), values], dim=1)
        mask = torch.cat([torch.ones_like(real[:, :1]), real], dim=1)
        for block in self.rounds[:-1]:
            values = block(values, mask)
        last = self.rounds[-1]
        assert isinstance(last, TransformerBlock)
        normed = last.attention_norm(values)
        shares = last.attention.weights(normed[:, :1], normed[:, 1:], real).squeeze(1)
        values = values + last.attention(normed, normed, mask)
        values = self.norm(values + last.feed(last.feed_norm(values)))
        return Fused(
            values[:, 0],
            sequence=Tokens(values[:, 1:], real),
            weights=stream_shares(shares, streams),
        )
