"""Fusion by codes that can be translated into every other stream and back."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.pooled import PooledVectors, shared_mean
from plait.model.fusion.translation import Translators
from plait.model.tokens import Fused, Tokens


class Mctn(Fusion):
    """``z = MLP([e_1; ...; e_M])``, ``e_n = E_n(v_n)`` a code that D_m can translate into stream m.

    Multimodal cyclic translation (Pham et al. 2019, AAAI, "Found in translation"), between pooled
    vectors. The code of a source is made to hold what the other streams say of the sample, so it
    answers well when they are missing. The paper has one source (the text) and its seq2seq code alone
    predicts; here every stream is a source for every other, over ordered pairs, and the codes of the
    present ones are fused. A missing stream's code is a learned one.

    Losses, each a row's mean over its pairs: ``translation``, ``‖v̂_{n→m} − v_m‖² / width`` with
    ``v̂_{n→m} = D_m(e_n)``, where both are there; ``cycle``, ``‖D_n(E_m(v̂_{n→m})) − v_n‖² /
    width``, back from what was translated, where the source is. Targets are held fixed.

    Cost: in training ``2 · streams · (streams − 1)`` decodings; in use the encoders alone.

    Args:
        translation: weight of that loss.
        cycle: weight of that loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        translation: float = 0.5,
        cycle: float = 0.2,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(0, translation=translation)
        at_least(0, cycle=cycle)
        self.translation = translation
        self.cycle = cycle
        self.vectors = PooledVectors(widths, width=width)
        self.translators = Translators(streams=len(widths), width=width, dropout=dropout)
        self.absent = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.mix = perceptron(len(widths) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        codes = self.translators.encode(vectors)
        shown = torch.where(present.unsqueeze(-1), codes, self.absent)
        fused = Fused(self.mix(shown.flatten(1)))
        if not self.training:
            return fused
        made = self.translators.decode(codes)
        again = self.translators.back(self.translators.encode(made))
        targets = vectors.detach().unsqueeze(2)
        there = (made - targets).square().mean(dim=-1)
        home = (again - targets).square().mean(dim=-1)
        own = present.unsqueeze(2)
        losses = {
            "translation": self.translation
            * shared_mean(there, own & self.translators.sources(present)),
            "cycle": self.cycle * shared_mean(home, own.expand(home.shape)),
        }
        return fused._replace(losses=losses)

    def impute(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "batch width"]]:
        """Each stream's vector as the *other* present streams tell it, the mean of ``D_m(e_n)``.

        At the level of representations: what it estimates is ``self.vectors(tokens)``. Where no other
        stream is there, it is zero, the middle of every vector's numbers. Use it in eval mode.
        """
        vectors, present = self.vectors(tokens)
        made = self.translators.decode(self.translators.encode(vectors))
        imputed = self.translators.mean(made, present)
        return {name: imputed[:, index] for index, name in enumerate(self.streams)}
