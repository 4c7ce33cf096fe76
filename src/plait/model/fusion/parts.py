"""What several fusions are made of: a linear map a stream, token maps of one width, a perceptron."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import attendable
from plait.model.tokens import Tokens


def perceptron(inputs: int, width: int, dropout: float) -> nn.Sequential:
    """Two linear maps with GELU between, ``2·width`` wide inside."""
    return nn.Sequential(
        nn.Linear(inputs, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
    )


class StreamLinear(nn.Module):
    """``y_m = x_m W_m + b_m``: a linear map of its own for every stream, as one batched product."""

    def __init__(self, streams: int, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = max(inputs, 1) ** -0.5  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(streams, inputs, outputs).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(streams, 1, outputs).uniform_(-bound, bound)) if bias else None
        )

    def forward(
        self, values: Float[Tensor, "batch streams inputs"]
    ) -> Float[Tensor, "batch streams outputs"]:
        """Map each stream's vector."""
        turned = values.transpose(0, 1)
        if self.bias is None:
            return torch.bmm(turned, self.weight).transpose(0, 1)
        return torch.baddbmm(self.bias, turned, self.weight).transpose(0, 1)


class StreamMaps(nn.Module):
    """Every stream's tokens at one width, by a norm and a linear map of its own.

    Where a stream is missing all its tokens are one learned absent token and count as real, so that
    whatever is computed from them is the same for any number of them, and never empty.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int) -> None:
        super().__init__()
        self.names = list(widths)
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for size in widths.values()
        )
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)

    def forward(
        self, tokens: dict[str, Tokens]
    ) -> tuple[list[Tokens], Bool[Tensor, "batch streams"]]:
        """The maps in the order of ``widths``, and which streams are truly there."""
        maps = []
        for name, project, absent in zip(self.names, self.project, self.absent, strict=True):
            stream = tokens[name]
            values = torch.where(stream.present[:, None, None], project(stream.values), absent)
            maps.append(Tokens(values, attendable(stream.mask)))
        return maps, torch.stack([tokens[name].present for name in self.names], dim=1)
