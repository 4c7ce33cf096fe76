"""Translation between the streams' vectors, in two halves: an encoder and a decoder a stream."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.fusion.parts import perceptron


class Translators(nn.Module):
    """``v̂_{n→m} = D_m(E_n(v_n))``: every stream into every other by ``2 · streams`` perceptrons.

    A translator for each ordered pair would take ``streams · (streams − 1)``; what all those out of one
    stream share is its encoder, what all those into one share is its decoder. Translations into
    stream m lie at ``[:, m]``, one from each of the others in their order.
    """

    def __init__(self, *, streams: int, width: int, dropout: float) -> None:
        super().__init__()
        self.others = [[n for n in range(streams) if n != m] for m in range(streams)]
        self.encoders = nn.ModuleList(perceptron(width, width, dropout) for _ in range(streams))
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(streams)
        )

    def encode(
        self, vectors: Float[Tensor, "batch streams *some width"]
    ) -> Float[Tensor, "batch streams *some width"]:
        """Each stream's codes ``E_n(v_n)``."""
        return torch.stack(
            [encoder(vectors[:, n]) for n, encoder in enumerate(self.encoders)], dim=1
        )

    def decode(
        self, codes: Float[Tensor, "batch streams width"]
    ) -> Float[Tensor, "batch streams others width"]:
        """Every stream as each of the others tells it, ``D_m(e_n)``."""
        made = [decoder(codes[:, self.others[m]]) for m, decoder in enumerate(self.decoders)]
        return torch.stack(made, dim=1)

    def back(
        self, codes: Float[Tensor, "batch streams others width"]
    ) -> Float[Tensor, "batch streams others width"]:
        """The codes of what was made from stream n, again in its own words: ``D_n(E_m(v̂_{n→m}))``."""
        flat = codes.flatten(1, 2)
        width = len(self.others) - 1
        home = []
        for n, decoder in enumerate(self.decoders):
            mine = [m * width + self.others[m].index(n) for m in self.others[n]]
            home.append(decoder(flat[:, mine]))
        return torch.stack(home, dim=1)

    def sources(
        self, present: Bool[Tensor, "batch streams"]
    ) -> Bool[Tensor, "batch streams others"]:
        """Which translations have a source."""
        return torch.stack([present[:, others] for others in self.others], dim=1)

    def mean(
        self,
        made: Float[Tensor, "batch streams others width"],
        present: Bool[Tensor, "batch streams"],
    ) -> Float[Tensor, "batch streams width"]:
        """Each stream's mean translation from the others that are there; zeros where there is none."""
        usable = self.sources(present).unsqueeze(-1)
        return torch.where(usable, made, 0.0).sum(dim=2) / usable.sum(dim=2).clamp(min=1)
