"""The parts of a model as modules of plain tensors: what each ONNX graph computes."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from plait.model.align.streams import part_means
from plait.model.encoders.base import Encoder
from plait.model.encoders.pretrained import standardised
from plait.model.frozen import FrozenEncoder
from plait.model.fusion.base import Fusion
from plait.model.heads.base import Head
from plait.model.tokens import ColumnBatch, Tokens


class EncoderPart(nn.Module):
    """Values and mask of each column of a stream to tokens and their mask.

    Args:
        frozen: the pretrained encoder that runs before ``encoder``; None: there is none.
    """

    def __init__(self, encoder: Encoder, frozen: FrozenEncoder | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = frozen.backbone if frozen else None
        self.most = frozen.most if frozen else 0

    def forward(
        self, *cells: Shaped[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch tokens width"], Bool[Tensor, "batch tokens"]]:
        """Encode one batch."""
        columns = [ColumnBatch(*cells[start : start + 2]) for start in range(0, len(cells), 2)]
        if self.backbone is not None:
            columns = [self._frozen(self.backbone(columns[0]))]
        values, mask = self.encoder(*columns)
        return values, mask

    def _frozen(self, tokens: Tokens) -> ColumnBatch:
        """The tokens as the store of a fit would hold them: capped, standardised, in half precision."""
        tokens = capped_always(tokens, self.most)
        # Through half precision and back: training saw what the token store holds.
        half = standardised(tokens.values.float()).to(torch.float16)
        good = (half.isfinite().all(dim=-1) | ~tokens.mask).all(dim=1, keepdim=True)
        # A cell with tokens that are not finite counts as missing, as in `plait.model.frozen`.
        mask = tokens.mask & good
        return ColumnBatch(half.float().masked_fill(~mask.unsqueeze(-1), 0.0), mask)


def capped_always(tokens: Tokens, most: int) -> Tokens:
    """`plait.model.frozen.capped` without looking at the values, which no graph can.

    Where the number of tokens is known when the graph is made and small enough, nothing is done. Else
    there are ``most`` of them, those that a shorter sample does not have being masked; the runtime cuts
    off what no row of a batch has.
    """
    count: object = tokens.mask.shape[1]  # no int while an axis is dynamic
    if isinstance(count, int) and count <= most:
        return tokens
    rows, _, hidden = tokens.values.shape
    # Padded, then cut: a length that is not known when tracing has no max() or branch.
    values = torch.cat([tokens.values, tokens.values.new_zeros(rows, most, hidden)], dim=1)[
        :, :most
    ]
    mask = torch.cat([tokens.mask, tokens.mask.new_zeros(rows, most)], dim=1)[:, :most]
    long = tokens.mask.sum(dim=1) > most
    means = part_means(tokens.values, tokens.mask, most)
    values = torch.where(long[:, None, None], means, values)
    return Tokens(values, mask | long[:, None])


class FusionPart(nn.Module):
    """Tokens and mask of each stream to the scores of each target, and the fused vector last."""

    def __init__(self, fusion: Fusion, heads: Sequence[Head]) -> None:
        super().__init__()
        self.fusion = fusion
        self.heads = nn.ModuleList(heads)

    def forward(
        self, *parts: Shaped[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch outputs"], ...]:
        """Answer one batch."""
        tokens = {
            name: Tokens(parts[2 * index], parts[2 * index + 1])
            for index, name in enumerate(self.fusion.streams)
        }
        fused = self.fusion(tokens)
        scores = [head.scores(head(fused)) for head in self.heads]  # type: ignore[operator]
        return (*scores, fused.vector)
