"""Every fusion with every head, and every encoder, as an ONNX graph that answers as torch does.

The exporter takes some three seconds a graph, so all but a few are slow tests; where a graph grows with the
pairs of streams, two streams stand for three.
"""

from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch

from plait.encoders.registry import ENCODERS, TABULAR, build_encoder, build_tabular
from plait.errors import ExportError
from plait.export.app import ELSE_ENCODER, ELSE_FUSION, fusion_example
from plait.export.convert import to_onnx
from plait.export.parts import EncoderPart, FusionPart
from plait.fusion import FUSIONS, build_fusion
from plait.heads import build_head
from plait.runtime.contained import is_contained
from plait.runtime.graphs import (
    ENCODER_OUTPUTS,
    VECTOR,
    encoder_inputs,
    fusion_inputs,
    fusion_outputs,
)

WIDTHS = {"image": 8, "a.b/c": 8, "table": 8}
WIDTH = 8
PAIRWISE = ("coattention", "mult", "nlgate")
OUTPUTS = {"multiclass": 3, "multilabel": 2, "regression": 1}
QUICK = ("mcb", "nlgate", "experts")
"""Those whose export needs care: complex numbers, attention without heads, top-k.

The default, and the encoders of every modality, are in the models that the other tests here export.
"""


def shaken(part):
    """No learned vector small or zero by chance, no two gates alike."""
    with torch.no_grad():
        for weight in part.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return part.eval()


def session(data):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def batch(widths, rows, counts, there):
    """Tokens and masks in the order of the fusion's inputs; streams that are not there have one."""
    parts = []
    for width, count, shown in zip(widths.values(), counts, there, strict=False):
        count = count if shown else 1
        parts.append(torch.randn(rows, count, width) * shown)
        parts.append((torch.rand(rows, count) < 0.7) & shown)
    return parts


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FUSIONS],
)
def test_fusions_and_heads(name, unwatched):
    widths = dict(list(WIDTHS.items())[:2]) if name in PAIRWISE else WIDTHS
    fusion = build_fusion(name, widths, width=WIDTH, dropout=0.1)
    kinds = [kind for kind in OUTPUTS if kind in fusion.kinds]
    size = {"width": WIDTH, "dropout": 0.1, "votes": fusion.stacks}
    part = FusionPart(fusion, [build_head(kind, outputs=OUTPUTS[kind], **size) for kind in kinds])
    shaken(part)
    inputs = fusion_inputs(len(widths))
    outputs = [*fusion_outputs(len(kinds)), VECTOR]
    data = to_onnx(
        part,
        fusion_example(list(widths.values())),
        [2] * (2 * len(widths)),
        inputs=inputs,
        outputs=outputs,
        what=f"the fusion '{name}'",
        instead=ELSE_FUSION,
    )
    assert is_contained(data)
    graph = session(data)
    sizes = [(1, (1, 1, 1)), (1, (5, 1, 2)), (4, (3, 6, 1)), (2, (2, 2, 2))]
    for (rows, counts), there in product(sizes, product([True, False], repeat=len(widths))):
        cells = batch(widths, rows, counts, there)
        got = graph.run(outputs, {k: v.numpy() for k, v in zip(inputs, cells, strict=True)})
        for scores, want in zip(got, part(*cells), strict=True):
            assert np.isfinite(scores).all()
            expected = want.detach().numpy()
            largest = max(1.0, np.abs(expected).max())  # of a fused vector, which has no bounds
            np.testing.assert_allclose(scores, expected, atol=1e-4 * largest)


STATES = {
    "image": {"channels": 1, "size": 13},
    "video": {"channels": 1, "size": 13, "frames": 3},
    "audio": {"mels": 12},
    "text": {"vocabulary": 30, "max_tokens": 64},
    "signal": {"leads": 2},
}
TABLE = [
    ("numeric", {}),
    ("categorical", {"values": ["a", "b"]}),
    ("datetime", {"times": True}),
    ("datetime", {"times": False}),
]
CASES = [(modality, name) for modality in ENCODERS for name in ENCODERS[modality]]
CASES.append((TABULAR, "tokens"))
QUICK_ENCODERS = [("text", "gru")]
RECURRENT = ("gru", "lstm")


def cells_of(modality, rows, steps):
    """Values and mask of each column; in more than one row, the second is missing."""
    if modality in ("image", "video"):
        frames = (3,) if modality == "video" else ()
        values = torch.randint(0, 256, (rows, *frames, 13, 13, 1), dtype=torch.uint8)
        pairs = [(values, torch.ones(rows, dtype=torch.bool))]
    elif modality == TABULAR:
        values = [torch.randn(rows, 1), torch.randint(0, 3, (rows,))]
        values += [torch.randn(rows, 9), torch.randn(rows, 7)]
        pairs = [(value, torch.rand(rows) < 0.7) for value in values]
    else:
        lengths = torch.randint(1, steps + 1, (rows,))
        lengths[0] = steps
        mask = torch.arange(steps) < lengths[:, None]
        if modality == "text":
            values = torch.randint(1, 30, mask.shape, dtype=torch.int32)
        else:
            features = {"audio": 12, "signal": 2}[modality]
            kind = torch.float16 if modality == "audio" else torch.float32
            values = torch.randn(rows, steps, features).to(kind)
        pairs = [(values, mask)]
    cells = []
    for values, mask in pairs:
        mask[1:2] = False
        spare = (...,) + (None,) * (values.ndim - mask.ndim)
        cells += [values * mask[spare], mask]
    return cells


@pytest.mark.parametrize(
    "case",
    [c if c in QUICK_ENCODERS else pytest.param(c, marks=pytest.mark.slow) for c in CASES],
    ids="-".join,
)
def test_encoders(case, unwatched):
    modality, name = case
    size = {"width": WIDTH, "preset": "fast", "dropout": 0.1}
    if modality == TABULAR:
        encoder = build_tabular(TABLE, **size)
    else:
        encoder = build_encoder(modality, name, STATES[modality], **size)
    part = EncoderPart(encoder).eval()
    example = cells_of(modality, 3, 24)
    inputs = encoder_inputs(len(example) // 2)
    axes = [mask.ndim for mask in example[1::2] for _ in range(2)]

    def exported():
        return to_onnx(
            part,
            example,
            axes,
            inputs=inputs,
            outputs=ENCODER_OUTPUTS,
            what=f"the encoder '{name}'",
            instead=ELSE_ENCODER,
        )

    if name in RECURRENT:
        with pytest.raises(
            ExportError,
            match=f"the encoder '{name}' cannot be exported to ONNX: the exporter unrolls a recurrent layer "
            r"for one number of steps, and cells have many. Fit with another encoder for it \(`plait "
            r"encoders` lists them\), or answer with the bundle. Nothing was exported.",
        ):
            exported()
        return
    graph = session(exported())
    for rows, steps in [(1, 1), (1, 30), (4, 9), (2, 50), (3, 2)]:
        cells = cells_of(modality, rows, steps)
        values, mask = graph.run(
            ENCODER_OUTPUTS, {k: v.numpy() for k, v in zip(inputs, cells, strict=True)}
        )
        want, real = part(*cells)
        np.testing.assert_array_equal(mask, real.numpy())
        real = real.unsqueeze(-1).numpy()
        np.testing.assert_allclose(values * real, want.detach().numpy() * real, atol=1e-4)
