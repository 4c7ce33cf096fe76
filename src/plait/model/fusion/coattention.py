"""Two streams at a time tell each other where to look."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from plait.model.blocks import attendable
from plait.model.fusion.base import Fusion
from plait.model.fusion.parts import perceptron
from plait.model.fusion.streams import StreamTokens
from plait.model.tokens import Fused, Tokens


class CoAttention(Fusion):
    """Parallel co-attention (Lu et al. 2016, section 3.3) of every pair of streams.

    For streams A and B, tokens in rows: ``C = tanh(A W_AB Bᵀ)`` is the affinity of each token with each,
    ``H_A = tanh(A W_A + C B W_B / T_B)``, ``a = softmax(H_A w_A)`` over the tokens, ``â = aᵀ A``; H_B
    and b̂ alike with Cᵀ; ``h = tanh(W (â + b̂) + c)``. With more than two streams ``z = MLP`` of all
    pairs' h side by side, and W_A is the same in all pairs that A is in. The paper, whose streams do not
    vary in length, sums over B where this divides by its number T_B of real tokens; else the tanh is
    saturated by long streams. A stream that is the only one is paired with itself.

    Where B is missing, A attends by itself and b̂ is a learned absent vector.

    Cost: ``T_A · T_B`` summed over the M(M - 1)/2 pairs, one affinity each, no heads and no layers.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.pairs = list(combinations(range(len(widths)), 2)) or [(0, 0)]
        self.tokens = StreamTokens(widths, width=width)
        self.hidden = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in widths)
        self.affinity = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in self.pairs)
        self.score = nn.ModuleList(nn.Linear(width, 2, bias=False) for _ in self.pairs)
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.meet = nn.ModuleList(nn.Linear(width, width) for _ in self.pairs)
        self.mix = perceptron(len(self.pairs) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        streams = self.tokens(tokens)
        # Zero where masked, so that a sum over tokens is one over the real ones.
        hidden = [
            linear(values) * mask.unsqueeze(-1)
            for linear, (values, mask) in zip(self.hidden, streams, strict=True)
        ]
        counts = [mask.sum(dim=1).clamp(min=1)[:, None, None] for _, mask in streams]
        met = []
        for number, (left, right) in enumerate(self.pairs):
            affinity = torch.tanh(
                self.affinity[number](streams[left].values) @ streams[right].values.transpose(1, 2)
            )
            in_one = torch.tanh(hidden[left] + affinity @ hidden[right] / counts[right])
            in_two = torch.tanh(
                hidden[right] + affinity.transpose(1, 2) @ hidden[left] / counts[left]
            )
            score = self.score[number].weight
            assert isinstance(score, Tensor)
            first = self._attended(streams[left], in_one @ score[0], self.absent[left])
            second = self._attended(streams[right], in_two @ score[1], self.absent[right])
            met.append(torch.tanh(self.meet[number](first + second)))
        return Fused(self.mix(torch.cat(met, dim=1)))

    @staticmethod
    def _attended(stream: Tokens, scores: Tensor, absent: Tensor) -> Tensor:
        """The stream's tokens by the softmax of their scores, or its absent vector."""
        values, mask = stream
        shares = scores.masked_fill(~attendable(mask), float("-inf")).softmax(dim=1)
        seen = (shares.unsqueeze(1) @ values).squeeze(1)
        return torch.where(stream.present[:, None], seen, absent)
