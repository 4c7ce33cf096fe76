"""Fusion that hides streams while training and rebuilds their tokens from the others."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.pooled import PooledVectors, shared_mean
from plait.model.tokens import Fused, Tokens


class ActionMae(Fusion):
    """A token a stream; those of missing streams are predicted from the others, then all are mixed.

    ActionMAE (Woo et al. 2023, AAAI, "Towards good practices for missing modality robust action
    recognition"). An encoder block sees the tokens that are there and learned memory tokens; a decoder
    block sees the encoded ones, with a mask token in each gap, and predicts ``v̂_m`` there. The
    completed tokens, true or predicted, pass through a transformer block, and ``z`` is the mean of what
    comes out. Each stream adds a learned vector that tells its token apart. Without any stream the
    memory alone predicts.

    While training each present token is hidden with chance ``drop``, but never a row's last one.
    Loss ``reconstruction``: ``‖v̂_m − v_m‖² / width``, the mean over the row's hidden tokens; as a target
    v_m is held fixed.

    Cost: three transformer blocks over ``streams + memory`` tokens.

    Args:
        memory: how many memory tokens.
        heads: of the attentions.
        drop: chance that a token is hidden while training.
        weight: of the loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        memory: int = 1,
        heads: int = 4,
        drop: float = 0.3,
        weight: float = 0.5,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, memory=memory)
        at_least(1, heads=heads)
        at_least(0, weight=weight)
        if not 0 <= drop < 1:
            raise ValueError(f"drop must be at least 0 and below 1, got {drop}")
        self.drop = drop
        self.weight = weight
        self.vectors = PooledVectors(widths, width=width)
        self.identity = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.memory = nn.Parameter(torch.randn(memory, width) * 0.02)
        self.gap = nn.Parameter(torch.randn(width) * 0.02)
        self.encoder = TransformerBlock(width=width, heads=heads, dropout=dropout)
        self.decoder = TransformerBlock(width=width, heads=heads, dropout=dropout)
        self.predict = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.mixer = TransformerBlock(width=width, heads=heads, dropout=dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``sequence`` holds the mixed tokens, real where the stream was there."""
        vectors, present = self.vectors(tokens)
        seen = present & ~self._hidden(present) if self.training else present
        guess = self._predict(vectors, seen)
        complete = torch.where(seen.unsqueeze(-1), vectors, guess) + self.identity
        mixed = self.norm(self.mixer(complete, torch.ones_like(present)))
        fused = Fused(mixed.mean(dim=1), sequence=Tokens(mixed, present))
        if not self.training:
            return fused
        wrong = (guess - vectors.detach()).square().mean(dim=-1)
        loss = self.weight * shared_mean(wrong, present & ~seen)
        return fused._replace(losses={"reconstruction": loss})

    def impute(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "batch width"]]:
        """Each stream's vector as predicted from the *other* present streams.

        At the level of representations: what it estimates is ``self.vectors(tokens)``. Where no other
        stream is there, the memory alone predicts. Use it in eval mode.
        """
        vectors, present = self.vectors(tokens)
        made = {}
        for index, name in enumerate(self.streams):
            others = torch.arange(len(self.widths), device=present.device) != index
            made[name] = self._predict(vectors, present & others)[:, index]
        return made

    def _hidden(self, present: Bool[Tensor, "batch streams"]) -> Bool[Tensor, "batch streams"]:
        """Which present tokens are hidden: all but the luckiest may be."""
        luck = torch.where(present, torch.rand(present.shape, device=present.device), 2.0)
        hidden = present & (luck < self.drop)
        last = torch.where(present, luck, -1.0).argmax(dim=1, keepdim=True)
        return hidden.scatter(1, last, False)

    def _predict(
        self,
        vectors: Float[Tensor, "batch streams width"],
        seen: Bool[Tensor, "batch streams"],
    ) -> Float[Tensor, "batch streams width"]:
        """Every stream's token as the decoder says it; it reads the seen ones."""
        count = len(self.memory)
        memory = self.memory.expand(vectors.shape[0], -1, -1)
        line = torch.cat([memory, vectors + self.identity], dim=1)
        mask = torch.cat([torch.ones_like(seen[:, :1]).expand(-1, count), seen], dim=1)
        encoded = self.encoder(line, mask)
        gaps = torch.where(seen.unsqueeze(-1), encoded[:, count:], self.gap) + self.identity
        line = torch.cat([encoded[:, :count], gaps], dim=1)
        return self.predict(self.decoder(line, torch.ones_like(mask))[:, count:])
