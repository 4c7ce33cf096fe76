"""Pretrained image models: ViT, DINOv2, SigLIP, CLIP's image tower, ResNet, ConvNeXt and their kin."""

import inspect
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from plait.data.modalities.base import State
from plait.errors import CheckpointError, error_line
from plait.model.blocks import BATCH_NORMS
from plait.model.pretrained.base import Backbone, Family
from plait.model.pretrained.configure import config_of, tower_of
from plait.model.pretrained.image_settings import image_state
from plait.model.pretrained.tower import build, layers
from plait.model.tokens import ColumnBatch, Tokens


class ImageBackbone(Backbone):
    """An image model of transformers, to its last hidden states.

    ``x = (scale · bytes - mean) / std``; ``tokens = model(x)``. A map ``[hidden, height, width]`` (as
    of ResNet) becomes ``height · width`` tokens, row by row; class and register tokens stay where the
    model has them. Batch normalisation always uses the checkpoint's own statistics, in training too:
    those of a small batch, with missing pictures in it, would be worse (He et al. 2020, sec. 3).

    Args:
        model: takes ``pixel_values``.
        state: as `image_state` gives it.
        hidden: numbers in a token.
        options: passed to the model with every batch.
    """

    def __init__(
        self, *, model: nn.Module, state: State, hidden: int, options: dict[str, Any]
    ) -> None:
        super().__init__()
        self.model = model
        self.hidden = hidden
        self.options = options
        self.factor: Tensor
        self.shift: Tensor
        factor, shift = _affine(state)
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode pictures ``[batch, size, size, 3]`` of bytes. Cost: the model's own."""
        image = column.values.to(torch.float32).permute(0, 3, 1, 2)
        tokens = _tokens(self.model, image * self.factor + self.shift, self.options)
        return Tokens(tokens, column.present[:, None].expand(tokens.shape[:2]))

    def blocks(self) -> list[nn.Module]:
        """Embeddings, then each layer or stage; the last norm is with the last one."""
        return layers(self.model)

    def train(self, mode: bool = True) -> "ImageBackbone":
        """Switch to training, all but batch normalisation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, BATCH_NORMS):
                module.eval()
        return self


def make(described: dict[str, Any], state: State, folder: Path | None) -> ImageBackbone:
    """A checkpoint's image model; see `plait.model.pretrained.base.Family`."""
    cls, config = tower_of(config_of(described), "image")
    channels, size = int(getattr(config, "num_channels", 3)), int(state["size"])
    if channels != 3:
        raise CheckpointError(
            f"the checkpoint is a '{config.model_type}' model for pictures of {channels} channels; "
            "plait gives it three."
        )
    factor, shift = _affine(state)
    blank = torch.zeros(1, 3, size, size) * factor + shift
    options = _options(cls, config, size)
    widths: list[int] = []

    def run(model: nn.Module) -> Float[Tensor, "..."]:
        tokens = _tokens(model, blank, options)
        widths.append(tokens.shape[2])
        return tokens

    try:
        model = build(cls, config, folder, run)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the '{config.model_type}' model cannot read the pictures of {size} x {size} that its own "
            f"preprocessor_config.json makes: {error_line(error)}"
        ) from None
    return ImageBackbone(model=model, state=state, hidden=widths[0], options=options)


def _options(cls: type, config: Any, size: int) -> dict[str, Any]:
    """Positions are stretched where pictures are not of the size that the model was trained with."""
    takes = inspect.signature(cls.forward).parameters  # type: ignore[attr-defined]
    trained = getattr(config, "image_size", size)
    trained = max(trained) if isinstance(trained, list | tuple) else trained
    return (
        # Some models refuse other sizes without it, others do not know the argument.
        {"interpolate_pos_encoding": True}
        if "interpolate_pos_encoding" in takes and trained != size
        else {}
    )


def _affine(state: State) -> tuple[Float[Tensor, "1 3 1 1"], Float[Tensor, "1 3 1 1"]]:
    """What bytes are multiplied by, and what is then added."""
    mean, std = (torch.tensor(state[key], dtype=torch.float64) for key in ("mean", "std"))
    factor, shift = float(state["scale"]) / std, -mean / std
    return factor.float().view(1, 3, 1, 1), shift.float().view(1, 3, 1, 1)


def _tokens(
    model: nn.Module, image: Float[Tensor, "batch 3 height width"], options: dict[str, Any]
) -> Shaped[Tensor, "batch tokens hidden"]:
    output = model(pixel_values=image, return_dict=True, **options)
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None or hidden.ndim not in (3, 4):
        raise CheckpointError(
            f"the model {type(model).__name__} gives no last_hidden_state of tokens, which plait needs."
        )
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


IMAGE = Family(image_state, make)
