"""Streams as the nodes of a graph that pass messages."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import attendable, masked_mean
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.tokens import Fused, Tokens


class Graph(Fusion):
    """Graph attention over the complete graph of the present streams, for ``rounds`` rounds.

    ``α_ij = softmax_j(LeakyReLU(a · [W h_i; W h_j]) + e_ij)``, ``h_i = h_i + ELU(Σ_j α_ij W h_j)``, j
    over the present streams and i itself; several heads side by side (Veličković et al. 2018, GAT, eq.
    1-5, with the skip connection of their inductive model). The paper shares a over all edges; here
    the streams are the same in every row, so each edge also has a learned weight e_ij. Nodes start as
    the streams' pooled vectors; ``z = MLP(mean of h over the present streams)``.

    Missing streams neither send nor count. Where all are missing, their absent vectors talk instead.

    Cost: each round is linear in the M nodes and quadratic only in single numbers, M² an attention
    head. ``weights`` are what the present streams took from each in the last round, on average.

    Args:
        rounds: of messages.
        heads: attention heads.
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
        self.vectors = StreamVectors(widths, width=width)
        self.rounds = nn.ModuleList(
            GraphRound(nodes=len(widths), width=width, heads=heads, dropout=dropout)
            for _ in range(rounds)
        )
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the nodes, one a stream."""
        nodes, present = self.vectors(tokens)
        real = attendable(present)
        for block in self.rounds[:-1]:
            nodes, _ = block(nodes, real)
        nodes, shares = self.rounds[-1](nodes, real)
        weights = masked_mean(shares, real) * present
        vector = self.out(masked_mean(nodes, real))
        return Fused(vector, sequence=Tokens(nodes, present), weights=weights)


class GraphRound(nn.Module):
    """One round of messages: multi-head graph attention with a skip connection."""

    def __init__(self, *, nodes: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.project = nn.Linear(width, width, bias=False)
        self.receive = nn.Parameter(torch.randn(heads, width // heads) * 0.1)
        self.send = nn.Parameter(torch.randn(heads, width // heads) * 0.1)
        self.edges = nn.Parameter(torch.zeros(heads, nodes, nodes))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, nodes: Float[Tensor, "batch nodes width"], real: Bool[Tensor, "batch nodes"]
    ) -> tuple[Float[Tensor, "batch nodes width"], Float[Tensor, "batch nodes nodes"]]:
        """The nodes after their messages, and node i's attention to node j averaged over heads."""
        values = self.project(nodes).unflatten(-1, self.send.shape).transpose(1, 2)
        receive = values @ self.receive.unsqueeze(-1)
        send = (values @ self.send.unsqueeze(-1)).transpose(2, 3)
        scores = functional.leaky_relu(receive + send, 0.2) + self.edges
        shares = scores.masked_fill(~real[:, None, None], float("-inf")).softmax(dim=-1)
        messages = (self.dropout(shares) @ values).transpose(1, 2).flatten(2)
        return nodes + functional.elu(messages), shares.mean(dim=1)
