"""Streams that talk through a few bottleneck tokens only."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.model.blocks import TransformerBlock, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.streams import StreamTokens, join, presence
from plait.model.tokens import Fused, Tokens


class Bottleneck(Fusion):
    """A transformer a stream; in the later layers all streams share ``count`` bottleneck tokens.

    ``[x_m; b_m] = Block_m([x_m; b])`` and then ``b = mean over present m of b_m`` (Nagrani et al. 2021,
    MBT, section 3.2, fusion via attention bottlenecks). What a stream learns of another has to pass
    through b, so it is condensed first. ``before`` layers without bottleneck come first (the paper's
    mid-fusion). Each stream has a class token, and z is their mean over the present streams (the paper
    averages their logits). Missing streams leave both means; a learned vector answers where all are
    missing.

    Cost: with T_m tokens in stream m, a layer is quadratic in ``T_m + count``, summed over the streams,
    so linear in their number.

    Args:
        count: bottleneck tokens.
        before: layers of each stream by itself.
        rounds: layers with the bottleneck. With one, no stream would hear of another.
        heads: of each attention.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        count: int = 4,
        before: int = 1,
        rounds: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, count=count)
        at_least(0, before=before)
        at_least(2, rounds=rounds)

        def layers(number: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(
                    TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in widths
                )
                for _ in range(number)
            )

        self.tokens = StreamTokens(widths, width=width)
        self.leads = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.bottleneck = nn.Parameter(torch.randn(count, width) * 0.02)
        self.before = layers(before)
        self.rounds = layers(rounds)
        self.norm = nn.LayerNorm(width)
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the refined tokens of all streams, in order."""
        streams = self.tokens(tokens)
        present = presence(streams)
        led = [self._lead(stream, lead) for stream, lead in zip(streams, self.leads, strict=True)]
        for layer in self.before:
            led = [
                Tokens(block(values, mask), mask)
                for block, (values, mask) in zip(layer, led, strict=True)  # type: ignore[call-overload]
            ]
        bottleneck = self.bottleneck.expand(present.shape[0], -1, -1)
        for layer in self.rounds:
            assert isinstance(layer, nn.ModuleList)
            led, bottleneck = self._exchange(layer, led, bottleneck, present)
        classes = masked_mean(torch.stack([values[:, 0] for values, _ in led], dim=1), present)
        vector = torch.where(present.any(dim=1, keepdim=True), self.norm(classes), self.nothing)
        return Fused(vector, sequence=join([Tokens(v[:, 1:], mask[:, 1:]) for v, mask in led]))

    @staticmethod
    def _lead(stream: Tokens, lead: Tensor) -> Tokens:
        """The stream after its class token."""
        values = torch.cat([lead.expand(stream.values.shape[0], 1, -1), stream.values], dim=1)
        return Tokens(values, torch.cat([torch.ones_like(stream.mask[:, :1]), stream.mask], dim=1))

    @staticmethod
    def _exchange(
        layer: nn.ModuleList, streams: list[Tokens], bottleneck: Tensor, present: Tensor
    ) -> tuple[list[Tokens], Tensor]:
        """One layer of every stream with the bottleneck, and the mean of what they made of it."""
        count = bottleneck.shape[1]
        real = torch.ones_like(present[:, :1]).expand(-1, count)
        refined, views = [], []
        for block, (values, mask) in zip(layer, streams, strict=True):
            out = block(torch.cat([values, bottleneck], dim=1), torch.cat([mask, real], dim=1))
            refined.append(Tokens(out[:, :-count], mask))
            views.append(out[:, -count:])
        mean = masked_mean(torch.stack(views, dim=1).flatten(2), present)
        return refined, mean.unflatten(1, (count, -1))
