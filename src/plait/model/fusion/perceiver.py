"""A few latent vectors that read all tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.model.blocks import TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.streams import CrossBlock, StreamTokens, join, stream_shares
from plait.model.tokens import Fused, Tokens


class Perceiver(Fusion):
    """``count`` learned latents attend to all tokens of all streams, then to each other, in rounds.

    ``l = Cross_r(l, [X_1; ...; X_M])``, then ``l = Self_r(l)``, for each round r; ``z = LN(mean of l)``
    (Jaegle et al. 2021, Perceiver, section 3). With ``shared``, later rounds reuse the weights, except
    those of the first cross-attention, which stay its own as in the paper. Missing streams are masked
    out; where all are missing the latents see each other alone.

    Cost: with T tokens in all streams together, a round is linear in T and quadratic in ``count``.
    ``weights`` are the latents' last attention to each stream's tokens. ``sequence`` holds the latents.

    Args:
        count: latents.
        rounds: times the latents read the tokens.
        depth: self-attention blocks after each reading.
        heads: of each attention.
        shared: one set of weights for all rounds.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        count: int = 16,
        rounds: int = 2,
        depth: int = 1,
        heads: int = 4,
        shared: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, count=count, rounds=rounds, depth=depth)
        self.tokens = StreamTokens(widths, width=width)
        self.latents = nn.Parameter(torch.randn(count, width) * 0.02)
        self.cross = nn.ModuleList(
            CrossBlock(width=width, heads=heads, dropout=dropout)
            for _ in range(min(rounds, 2) if shared else rounds)
        )
        self.between = nn.ModuleList(
            nn.ModuleList(
                TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
            )
            for _ in range(1 if shared else rounds)
        )
        self.rounds = rounds
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        streams = self.tokens(tokens)
        seen = join(streams)
        latents = self.latents.expand(seen.values.shape[0], -1, -1)
        for number in range(self.rounds - 1):
            latents = self._think(number, self._reader(number)(latents, seen))
        latents, shares = self._reader(self.rounds - 1).read(latents, seen)
        latents = self._think(self.rounds - 1, latents)
        everything = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        return Fused(
            self.norm(latents.mean(dim=1)),
            sequence=Tokens(latents, everything),
            weights=stream_shares(shares, streams),
        )

    def _reader(self, number: int) -> CrossBlock:
        """The cross-attention of a round; shared ones serve all rounds after the first."""
        cross = self.cross[min(number, len(self.cross) - 1)]
        assert isinstance(cross, CrossBlock)
        return cross

    def _think(self, number: int, latents: Tensor) -> Tensor:
        """A round's self-attention among the latents."""
        between = self.between[min(number, len(self.between) - 1)]
        assert isinstance(between, nn.ModuleList)
        for block in between:
            latents = block(latents)
        return latents
