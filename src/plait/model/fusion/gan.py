"""Fusion that translates missing streams from the others, trained against discriminators."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.pooled import PooledVectors, shared_mean
from plait.model.fusion.translation import Translators
from plait.model.tokens import Fused, Tokens


class Gan(Fusion):
    """``z = MLP([ṽ_1; ...; ṽ_M])``; ṽ_m is v_m, or its mean translation from the present streams.

    Adversarial completion of missing modalities (Cai et al. 2018, KDD, "Deep adversarial learning for
    multi-modality missing data completion"), between pooled vectors. Generators ``v̂_{n→m} =
    D_m(E_n(v_n))`` run between every ordered pair of streams (see `Translators`); a discriminator C_m a
    stream tells true vectors from made ones. Without any stream learned vectors stand in.

    Losses, each a row's mean over its pairs: ``translation``, ``‖v̂_{n→m} − v_m‖² / width`` where both
    are there; ``adversarial``, ``softplus(−C_m(v_m)) + softplus(C_m(v̂_{n→m}))`` (the minimax game of
    Goodfellow et al. 2014), which needs no pair. C_m lowers it; a gradient-reversal layer (Ganin &
    Lempitsky 2015) before C_m makes the generators raise it in the same backward pass, so one
    optimiser trains both. Targets v_m are held fixed.

    Cost: ``streams · (streams − 1)`` decodings.

    Args:
        translation: weight of that loss.
        adversarial: weight of that loss.
        reversal: the reversed gradient's factor λ.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        translation: float = 0.5,
        adversarial: float = 0.1,
        reversal: float = 0.3,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(0, translation=translation)
        at_least(0, adversarial=adversarial)
        at_least(0, reversal=reversal)
        self.translation = translation
        self.adversarial = adversarial
        self.reversal = reversal
        self.vectors = PooledVectors(widths, width=width)
        self.translators = Translators(streams=len(widths), width=width, dropout=dropout)
        self.discriminators = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))
            for _ in widths
        )
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.mix = perceptron(len(widths) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        made = self.translators.decode(self.translators.encode(vectors))
        imputed = self._told(made, present)
        fused = Fused(self.mix(torch.where(present.unsqueeze(-1), vectors, imputed).flatten(1)))
        if not self.training:
            return fused
        # The target is held: else vectors would shrink towards what is easy to translate.
        distance = (made - vectors.detach().unsqueeze(2)).square().mean(dim=-1)
        both = self.translators.sources(present) & present.unsqueeze(2)
        losses = {
            "translation": self.translation * shared_mean(distance, both),
            "adversarial": self.adversarial * self._game(vectors, made, present),
        }
        return fused._replace(losses=losses)

    def impute(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "batch width"]]:
        """Each stream's vector as the *other* present streams tell it, the mean of ``v̂_{n→m}``.

        At the level of representations: what it estimates is ``self.vectors(tokens)``. Where no other
        stream is there, it is the learned absent vector. Use it in eval mode.
        """
        vectors, present = self.vectors(tokens)
        made = self.translators.decode(self.translators.encode(vectors))
        imputed = self._told(made, present)
        return {name: imputed[:, index] for index, name in enumerate(self.streams)}

    def _told(self, made: Tensor, present: Tensor) -> Float[Tensor, "batch streams width"]:
        informed = self.translators.sources(present).any(dim=2).unsqueeze(-1)
        return torch.where(informed, self.translators.mean(made, present), self.absent)

    def _game(self, vectors: Tensor, made: Tensor, present: Tensor) -> Float[Tensor, " batch"]:
        """What the discriminators lower and, behind the reversal, the generators raise."""
        true = [judge(vectors.detach()[:, m]) for m, judge in enumerate(self.discriminators)]
        turned = reverse(made, self.reversal)
        false = [judge(turned[:, m]).squeeze(-1) for m, judge in enumerate(self.discriminators)]
        return shared_mean(functional.softplus(-torch.cat(true, dim=1)), present) + shared_mean(
            functional.softplus(torch.stack(false, dim=1)), self.translators.sources(present)
        )


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def reverse(values: Float[Tensor, "*any"], factor: float) -> Float[Tensor, "*any"]:
    """The same values, with ``−factor`` times their gradient (Ganin & Lempitsky 2015)."""
    return _Reverse.apply(values, factor)  # type: ignore[no-untyped-call]
