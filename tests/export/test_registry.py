"""Every fusion with every head, and every encoder, as an ONNX graph that answers as torch does.

The exporter takes some three seconds a graph and little for each part of it, so that most fusions share one.
"""

from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch

from plait.errors import ExportError
from plait.export.app import ELSE_ENCODER, ELSE_FUSION, fusion_example
from plait.export.convert import to_onnx
from plait.export.parts import EncoderPart, FusionPart
from plait.model.encoders.registry import ENCODERS, TABULAR, build_encoder, build_tabular
from plait.model.fusion import FUSIONS, build_fusion
from plait.model.fusion.registry import fusion_options
from plait.model.heads import build_head
from plait.runtime.contained import is_contained
from plait.runtime.graphs import ENCODER_OUTPUTS, encoder_inputs, fusion_inputs

WIDTHS = {"image": 8, "a.b/c": 8, "table": 8}
WIDTH = 8
PAIRWISE = ("coattention", "mult", "nlgate")
OUTPUTS = {"classify": 3, "labels": 2, "regress": 1}
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


class Several(torch.nn.Module):
    """Parts that read the same cells, as one: an export takes three seconds, however little it holds."""

    def __init__(self, parts):
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, *cells):
        return tuple(output for part in self.parts for output in part(*cells))


def part_of(name, widths):
    # A second layer has no operation that the first has not, and takes the exporter as long again.
    least = 2 if name == "bottleneck" else 1
    once = dict.fromkeys({"rounds", "layers"} & fusion_options(name).keys(), least)
    fusion = build_fusion(name, widths, width=WIDTH, dropout=0.1, options=once)
    asked = [name for name in OUTPUTS if name in (fusion.heads or OUTPUTS)]
    size = {"width": WIDTH, "dropout": 0.1, "votes": fusion.stacks}
    return FusionPart(fusion, [build_head(name, outputs=OUTPUTS[name], **size) for name in asked])


def agrees(part, widths, what):
    """Exported, it answers as torch does, for any batch, tokens and missing streams."""
    inputs = fusion_inputs(len(widths))
    outputs = [f"out_{index}" for index in range(len(part(*batch(widths, 1, [1] * 3, [True] * 3))))]
    data = to_onnx(
        part,
        fusion_example(list(widths.values())),
        [2] * (2 * len(widths)),
        inputs=inputs,
        outputs=outputs,
        what=what,
        instead=ELSE_FUSION,
    )
    assert is_contained(data)
    graph = session(data)
    sizes = [(1, (1, 1, 1)), (1, (5, 1, 2)), (4, (3, 6, 1)), (2, (2, 2, 2))]
    for (rows, counts), there in product(sizes, product([True, False], repeat=len(widths))):
        cells = batch(widths, rows, counts, there)
        got = graph.run(outputs, {k: v.numpy() for k, v in zip(inputs, cells, strict=True)})
        for output, scores, want in zip(outputs, got, part(*cells), strict=True):
            assert np.isfinite(scores).all(), output
            expected = want.detach().numpy()
            largest = max(1.0, np.abs(expected).max())  # of a fused vector, which has no bounds
            np.testing.assert_allclose(scores, expected, atol=1e-4 * largest, err_msg=output)


@pytest.mark.parametrize("name", QUICK)
def test_fusions_of_three_streams(name, unwatched):
    widths = dict(list(WIDTHS.items())[:2]) if name in PAIRWISE else WIDTHS
    agrees(shaken(part_of(name, widths)), widths, f"the fusion '{name}'")


GROUPS = [list(FUSIONS)[start : start + 8] for start in range(0, len(FUSIONS), 8)]


@pytest.mark.slow
@pytest.mark.parametrize("names", GROUPS, ids=" ".join)
def test_every_fusion_with_heads(names, unwatched):
    """Two streams, where `QUICK` has three."""
    widths = dict(list(WIDTHS.items())[:2])
    parts = Several([part_of(name, widths) for name in names])
    agrees(shaken(parts), widths, " ".join(names))


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
RECURRENT = ("gru", "lstm")
MODALITIES = [*ENCODERS, TABULAR]
REFUSED = [
    (modality, name) for modality in ENCODERS for name in ENCODERS[modality] if name in RECURRENT
]


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


def encoder_part(modality, name):
    size = {"width": WIDTH, "preset": "fast", "dropout": 0.1}
    if modality == TABULAR:
        return EncoderPart(build_tabular(TABLE, **size)).eval()
    return EncoderPart(build_encoder(modality, name, STATES[modality], **size)).eval()


def exported_encoder(part, modality, what, outputs):
    example = cells_of(modality, 3, 24)
    return to_onnx(
        part,
        example,
        [mask.ndim for mask in example[1::2] for _ in range(2)],
        inputs=encoder_inputs(len(example) // 2),
        outputs=outputs,
        what=what,
        instead=ELSE_ENCODER,
    )


@pytest.mark.parametrize(("modality", "name"), REFUSED, ids=[f"{m}-{name}" for m, name in REFUSED])
def test_recurrent_encoders_are_refused(modality, name, unwatched):
    with pytest.raises(
        ExportError,
        match=f"the encoder '{name}' cannot be exported to ONNX: the exporter unrolls a recurrent layer "
        r"for a fixed number of steps, and cells differ in length. Fit with another encoder for it "
        r"\(`plait encoders` lists them\), or predict with the bundle. Nothing was exported.",
    ):
        exported_encoder(
            encoder_part(modality, name), modality, f"the encoder '{name}'", ENCODER_OUTPUTS
        )


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODALITIES)
def test_encoders(modality, unwatched):
    """All encoders of a modality as one graph."""
    names = [name for name in ENCODERS.get(modality, ("tokens",)) if name not in RECURRENT]
    parts = Several([encoder_part(modality, name) for name in names]).eval()
    outputs = [f"{name} {output}" for name in names for output in ENCODER_OUTPUTS]
    graph = session(exported_encoder(parts, modality, modality, outputs))
    for rows, steps in [(1, 1), (1, 30), (4, 9), (2, 50), (3, 2)]:
        cells = cells_of(modality, rows, steps)
        inputs = encoder_inputs(len(cells) // 2)
        got = graph.run(outputs, {k: v.numpy() for k, v in zip(inputs, cells, strict=True)})
        for name, values, mask, part in zip(names, got[::2], got[1::2], parts.parts, strict=True):
            want, real = part(*cells)
            np.testing.assert_array_equal(mask, real.numpy(), err_msg=name)
            real = real.unsqueeze(-1).numpy()
            np.testing.assert_allclose(
                values * real, want.detach().numpy() * real, atol=1e-4, err_msg=name
            )
