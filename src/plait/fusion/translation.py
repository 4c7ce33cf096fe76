"""Translation between the streams' vectors, in two halves: an encoder and a decoder a stream."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Translators(nn.Module):
    """``v̂_{n→m} = D_m(E_n(v_n))``: every stream into every other by ``2 · streams`` perceptrons.

    A translator for each ordered pair would take ``streams · (streams − 1)``; what all those out of one
    stream share is its encoder, what all those into one share is its decoder.
    """

    def __init__(self, *, streams: int, width: int, dropout: float) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(streams)
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(streams)
        )

    def encode(
        self, vectors: Float[Tensor, "batch *some streams width"]
    ) -> Float[Tensor, "batch *some streams width"]:
        """Each stream's code ``E_n(v_n)``."""
        codes = [encoder(vectors[..., n, :]) for n, encoder in enumerate(self.encoders)]
        return torch.stack(codes, dim=-2)

    def decode(
        self, codes: Float[Tensor, "batch sources width"]
    ) -> Float[Tensor, "batch sources streams width"]:
        """Every code in every stream's words, ``D_m(e_n)`` at ``[:, n, m]``."""
        return torch.stack([decoder(codes) for decoder in self.decoders], dim=2)

    def back(
        self, codes: Float[Tensor, "batch streams targets width"]
    ) -> Float[Tensor, "batch streams targets width"]:
        """The codes at ``[:, n]`` in stream n's own words, ``D_n(e)``."""
        said = [decoder(codes[:, n]) for n, decoder in enumerate(self.decoders)]
        return torch.stack(said, dim=1)


def from_others(
    made: Float[Tensor, "batch sources targets width"], present: Bool[Tensor, "batch sources"]
) -> Float[Tensor, "batch targets width"]:
    """Each target's mean translation from the other present streams; zeros where there is none."""
    usable = ways(present).unsqueeze(-1)
    return torch.where(usable, made, 0.0).sum(dim=1) / usable.sum(dim=1).clamp(min=1)


def ways(present: Bool[Tensor, "batch streams"]) -> Bool[Tensor, "batch streams streams"]:
    """From which stream into which other a row can be translated, at ``[:, source, target]``."""
    others = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return present.unsqueeze(2) & others


def both_present(present: Bool[Tensor, "batch streams"]) -> Bool[Tensor, "batch streams streams"]:
    """Those of the `ways` whose target is there as well."""
    return ways(present) & present.unsqueeze(1)
