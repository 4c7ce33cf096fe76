"""A settled backbone through onnxruntime, which runs convolutions on a processor twice as fast.

Half the time of an EfficientNet in torch goes to memory; onnxruntime keeps its blocks in the cache
(docs/lab-notes.md). It is a second way to the same tokens, to 1e-4 of them, and never the only one.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from plait.onnx_session import SessionError, load_onnxruntime, open_session


class OnnxBackbone:
    """A module as an onnxruntime session of one thread, which any number of threads may call.

    Args:
        session: with one input and one output.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, values: Tensor) -> Tensor:
        """What the module gives for a batch in main memory."""
        (tokens,) = self._session.run(None, {self._input: values.numpy()})
        return torch.from_numpy(tokens)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxBackbone":
        # A session cannot be copied, and none is needed: it holds no state between runs.
        return self


def onnx_backbone(part: nn.Module, example: Tensor) -> OnnxBackbone | None:
    """The module as a session; None where onnxruntime is not installed, or does not take it.

    Args:
        part: one tensor to one tensor, for any length of the first axis, settled, in ``eval`` mode: its
            weights are copied.
        example: a batch of two.

    Cost: half a second, and the module's weights once more.
    """
    try:
        load_onnxruntime()
        return OnnxBackbone(open_session(_exported(part, example), 1))
    # It only saves time: whatever fails, torch gives the same tokens.
    except (RuntimeError, ImportError, TypeError, SessionError):
        return None


def _exported(part: nn.Module, example: Tensor) -> bytes:
    """The module as an ONNX file, by torch's older exporter, which takes a tenth of the time."""
    axes = {0: "batch"}
    with TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "part.onnx"
        torch.onnx.export(
            part,
            (example,),
            path,
            dynamo=False,
            input_names=["values"],
            output_names=["tokens"],
            dynamic_axes={"values": axes, "tokens": axes},
        )
        return path.read_bytes()
