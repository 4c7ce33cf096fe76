"""Every stream reads every other: directional cross-modal transformers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.model.blocks import AttentionPool, TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.streams import CrossBlock, StreamTokens, join
from plait.model.tokens import Fused, Tokens


class MulT(Fusion):
    """For each ordered pair of streams, the target's tokens attend to the source's, ``rounds`` times.

    ``Y = X_a``, then ``Y = Y + CA(LN Y, LN X_b)``, ``Y = Y + FF(LN Y)`` in each round, gives
    ``Y_{b→a}``; ``H_a = Block_a(W_a [Y_{b→a} for all b ≠ a])``; ``z = MLP([h_1; ...; h_M])`` with h_a
    pooled from H_a (Tsai et al. 2019, MulT, section 3). Tokens need not be aligned. As in the authors'
    code, what is added back is the plain input, not the normalised one of the paper. Two changes: W_a
    brings the sources back to one width before self-attention, so that it does not grow with their
    number; and h_a is pooled by learned attention, not taken from the last position, which in ragged
    streams is padding. A stream that is the only one reads itself.

    A missing source adds its attention's learned output bias alone; a missing target shows a learned
    absent vector.

    Cost: ``rounds · T_a · T_b`` summed over the M(M - 1) ordered pairs, with that many transformers:
    the dearest of the attention methods.

    Args:
        rounds: cross-modal blocks of each pair.
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
        count = len(widths)
        self.sources = [[b for b in range(count) if b != a] or [a] for a in range(count)]
        self.tokens = StreamTokens(widths, width=width)
        self.cross = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList(
                    CrossBlock(width=width, heads=heads, dropout=dropout) for _ in range(rounds)
                )
                for _ in sources
            )
            for sources in self.sources
        )
        self.narrow = nn.ModuleList(
            nn.Linear(len(sources) * width, width) for sources in self.sources
        )
        self.refine = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in widths
        )
        self.pool = nn.ModuleList(AttentionPool(width=width) for _ in widths)
        self.absent = nn.Parameter(torch.randn(count, width) * 0.02)
        self.mix = perceptron(count * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds H_1 to H_M, in order."""
        streams = self.tokens(tokens)
        refined = [self._reinforce(streams, target) for target in range(len(streams))]
        vectors = [
            torch.where(stream.present[:, None], pool(stream).squeeze(1), absent)
            for stream, pool, absent in zip(refined, self.pool, self.absent, strict=True)
        ]
        return Fused(self.mix(torch.cat(vectors, dim=1)), sequence=join(refined))

    def _reinforce(self, streams: list[Tokens], target: int) -> Tokens:
        """The target's tokens after reading each source, side by side, then one width again."""
        crossings = self.cross[target]
        assert isinstance(crossings, nn.ModuleList)
        values, mask = streams[target]
        read: list[Tensor] = []
        for blocks, source in zip(crossings, self.sources[target], strict=True):
            assert isinstance(blocks, nn.ModuleList)
            mixed = values
            for block in blocks:
                mixed = block(mixed, streams[source])
            read.append(mixed)
        return Tokens(self.refine[target](self.narrow[target](torch.cat(read, dim=2)), mask), mask)
