"""Pretrained models inside plait's model: their tokens brought to its width, frozen or tuned."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import BATCH_NORMS
from plait.model.encoders.base import Encoder
from plait.model.pretrained.base import Backbone
from plait.model.tokens import ColumnBatch, Tokens


class Adapter(Encoder):
    """A pretrained model's own tokens, read from the store, to tokens of the model's width.

    ``y = dropout(W x + b)``, where x are tokens that `standardised` has seen, since checkpoints differ
    in scale by orders of magnitude. What is learnt is linear, so little data is enough; what is more is
    the fusion's business. Nothing is done to x itself, whose width is many times that of y: that is
    most of what a step costs when encoders are frozen.

    Args:
        hidden: numbers in a token of the pretrained model.
    """

    def __init__(self, *, hidden: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Map ``[batch, steps, hidden]``, ragged."""
        (column,) = columns
        return self.bring(Tokens(column.values.to(self.linear.weight.dtype), column.mask))

    def bring(self, tokens: Tokens) -> Tokens:
        """Map tokens that a pretrained model gave; padding becomes zeros."""
        values: Float[Tensor, "batch tokens width"]
        values = self.dropout(self.linear(tokens.values))
        return Tokens(values.masked_fill(~tokens.mask.unsqueeze(-1), 0.0), tokens.mask)


class Tuned(Encoder):
    """A pretrained model that is trained on, whole or in part, and an `Adapter` after it.

    Args:
        backbone: its weights that must stay have ``requires_grad`` False.
        kind: how it is tuned, ``full``, ``last`` or ``peft``: says how quickly it learns.
        unfreeze: let its blocks join one an epoch, the last first (Howard & Ruder 2018, ULMFiT).
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        width: int,
        kind: str = "full",
        dropout: float = 0.0,
        unfreeze: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.kind = kind
        self.backbone = backbone
        self.adapter = Adapter(hidden=backbone.hidden, width=width, dropout=dropout)
        self.waiting: list[list[nn.Parameter]] = _trainable(backbone.blocks()) if unfreeze else []
        self._fixed = [
            f"backbone.{name}"
            for name, weight in backbone.named_parameters()
            if not weight.requires_grad
        ]

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode one batch of prepared cells."""
        (column,) = columns
        values, mask = self.backbone(column)
        return self.adapter.bring(Tokens(standardised(values), mask))

    def fixed(self) -> list[str]:
        """The checkpoint's weights that were not to be trained."""
        return self._fixed

    def start_epoch(self, epoch: int) -> None:
        """Let the blocks learn whose turn it is: none in epoch 0, then the last one, and so on."""
        for depth, weights in enumerate(reversed(self.waiting)):
            for weight in weights:
                weight.requires_grad_(depth < epoch)
                if depth >= epoch:
                    weight.grad = None

    def train(self, mode: bool = True) -> "Tuned":
        """Training mode; batch norms whose weights stay keep their statistics too."""
        super().train(mode)
        for module in self.backbone.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, BATCH_NORMS) and not any(weight.requires_grad for weight in own):
                module.eval()
        return self


def _trainable(blocks: Sequence[nn.Module]) -> list[list[nn.Parameter]]:
    """The weights of each block that are to be trained."""
    return [[w for w in block.parameters() if w.requires_grad] for block in blocks]


def standardised(
    values: Float[Tensor, "batch tokens hidden"],
) -> Float[Tensor, "batch tokens hidden"]:
    """Each token with mean 0 and variance 1 over its numbers: a layer norm that learns nothing."""
    return functional.layer_norm(values, values.shape[-1:])
