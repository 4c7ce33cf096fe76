"""The model: encoders → fusion → heads. It composes, nothing else."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.encoders.base import Encoder
from plait.fusion.base import Fusion, StreamVectors
from plait.heads.base import Head
from plait.tokens import ColumnBatch, Fused, Tokens

AUXILIARY = "auxiliary/"
"""Before the name of a loss that belongs to no target."""


class Model(nn.Module):
    """Encoders, a fusion and heads, all injected.

    Args:
        streams: stream name → the columns its encoder reads, in order.
        encoders: stream name → encoder; two streams may share one.
        fusion: fuses the streams.
        heads: target name → head.
        modality_dropout: chance that a present stream is hidden from a training row; a row always
            keeps at least one of its streams (Neverova et al. 2016, ModDrop).
        alone: weight of an auxiliary loss for which each stream answers by itself (Wang et al. 2020,
            Gradient-Blending, with fixed weights), so that no encoder is left untrained because
            another is quicker to learn.
    """

    def __init__(
        self,
        *,
        streams: Mapping[str, Sequence[str]],
        encoders: Mapping[str, Encoder],
        fusion: Fusion,
        heads: Mapping[str, Head],
        modality_dropout: float = 0.0,
        alone: float = 0.0,
    ) -> None:
        super().__init__()
        self.streams = {name: tuple(columns) for name, columns in streams.items()}
        self.targets = list(heads)
        # Names are the user's and may hold dots; torch's module names may not.
        self.encoders = nn.ModuleList(encoders[name] for name in self.streams)
        self.fusion = fusion
        self.heads = nn.ModuleList(heads.values())
        self.modality_dropout = modality_dropout
        self.alone = alone if len(self.streams) > 1 and not fusion.voting else 0.0
        self.emphasis: Tensor | None = None
        """Factors of each stream's own loss, then of the fused answer's, while training; None: 1."""
        self.voices = StreamVectors(fusion.widths, width=fusion.width) if self.alone else None

    def encode(self, batch: Mapping[str, ColumnBatch]) -> dict[str, Tokens]:
        """Each stream's tokens."""
        return {
            name: encoder(*(batch[column] for column in columns))
            for (name, columns), encoder in zip(self.streams.items(), self.encoders, strict=True)
        }

    def fuse(self, tokens: dict[str, Tokens], keep: Sequence[str] | None = None) -> Fused:
        """Fuse the tokens; ``keep`` names the streams that may be seen (None: all)."""
        if keep is not None:
            tokens = {
                name: stream
                if name in keep
                else Tokens(stream.values, torch.zeros_like(stream.mask))
                for name, stream in tokens.items()
            }
        elif self.training and self.modality_dropout:
            tokens = self._drop(tokens)
        return self.fusion(tokens)

    def answer(self, fused: Fused) -> dict[str, Float[Tensor, "batch outputs"]]:
        """Each target's logits."""
        return {name: head(fused) for name, head in zip(self.targets, self.heads, strict=True)}

    def forward(
        self, batch: Mapping[str, ColumnBatch]
    ) -> dict[str, Float[Tensor, "batch outputs"]]:
        """Prepared columns to logits."""
        return self.answer(self.fuse(self.encode(batch)))

    def row_losses(
        self, batch: Mapping[str, ColumnBatch], targets: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each target's loss a row, zero where that target is missing.

        What a fusion adds (``Fused.losses``) comes under its name after `AUXILIARY`.
        """
        tokens = self.encode(batch)
        fused = self.fuse(tokens)
        losses = {}
        for name, head in zip(self.targets, self.heads, strict=True):
            losses[name] = head.row_loss(fused, targets[name], self.emphasis)  # type: ignore[operator]
            if self.voices is not None:
                vectors, present = self.voices(tokens)
                losses[name] = (
                    losses[name]
                    + self.alone
                    * head.votes_loss(  # type: ignore[operator]
                        Tokens(vectors, present),
                        targets[name],
                        emphasis=None if self.emphasis is None else self.emphasis[:-1],
                    )
                )
        for name, loss in (fused.losses or {}).items():
            losses[AUXILIARY + name] = loss
        return losses

    def _drop(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        present = torch.stack([stream.present for stream in tokens.values()], dim=1)
        shown = _keep_one(
            torch.rand(present.shape, device=present.device), present, self.modality_dropout
        )
        return {
            name: Tokens(stream.values, stream.mask & shown[:, index, None])
            for index, (name, stream) in enumerate(tokens.items())
        }


def _keep_one(
    chance: Float[Tensor, "batch streams"], present: Bool[Tensor, "batch streams"], rate: float
) -> Bool[Tensor, "batch streams"]:
    """Which streams stay: each with chance ``1 - rate``, and always the row's luckiest present one."""
    luckiest = torch.where(present, chance, -1.0).argmax(dim=1, keepdim=True)
    return (chance >= rate).scatter(1, luckiest, True)
