"""What every pretrained backbone of images and texts keeps."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints_image_text import CORPUS, IMAGES, TEXTS
from PIL import Image

from plait.data.media import Media
from plait.data.modalities.base import Settings, State
from plait.data.modalities.registry import MODALITIES
from plait.model.pretrained.base import Backbone
from plait.model.pretrained.registry import FAMILIES
from plait.model.tokens import ColumnBatch, Tokens

KINDS = [("image", kind) for kind in IMAGES] + [("text", kind) for kind in TEXTS]


def cells(modality: str) -> list[object]:
    if modality == "text":
        return [*CORPUS[:3], None, "a", "one two " * 40]
    random = np.random.default_rng(0)
    made: list[object] = []
    for number in range(4):
        file = BytesIO()
        pixels = random.integers(0, 256, (30 + number, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        made.append(file.getvalue())
    return [*made[:3], None, made[3]]


class Made:
    """A backbone and a batch for it."""

    def __init__(self, modality: str, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.family = FAMILIES[modality]
        self.described = json.loads((folder / "config.json").read_text())
        self.state: State = self.family.state(folder)
        self.backbone = self.make().eval()
        prepared = MODALITIES[modality].prepare(cells(modality), self.state, settings)
        assert not prepared.problems
        present = torch.from_numpy(prepared.present)
        if prepared.lengths is None:
            self.batch = ColumnBatch(torch.from_numpy(prepared.values), present)
            return
        steps = int(prepared.lengths.max())
        values = torch.zeros(len(present), steps, dtype=torch.int32)
        mask = torch.arange(steps) < torch.from_numpy(prepared.lengths)[:, None]
        values[mask] = torch.from_numpy(prepared.values)
        self.batch = ColumnBatch(values, mask)

    def make(self, folder: Path | str | None = "own") -> Backbone:
        return self.family.make(
            self.described, self.state, self.folder if isinstance(folder, str) else folder
        )


@pytest.fixture(scope="module", params=KINDS, ids=lambda pair: "-".join(pair))
def built(request: pytest.FixtureRequest, checkpoint: Callable[[str, str], Path]) -> Made:
    modality, kind = request.param
    folder = checkpoint(modality, kind)
    return Made(modality, folder, Settings(Media(folder), "fast", 1))


@pytest.fixture
def made(built: Made) -> Made:
    """One backbone for all tests, each of which finds it as it was."""
    built.backbone.eval()
    built.backbone.zero_grad()
    return built


def real(tokens: Tokens) -> torch.Tensor:
    return tokens.values[tokens.mask]


def used(backbone: Backbone, batch: ColumnBatch) -> dict[str, bool]:
    """Whether each of the model's weights gets a gradient."""
    backbone.zero_grad()
    tokens = backbone(batch)
    real(tokens).square().sum().backward()
    return {name: weight.grad is not None for name, weight in backbone.named_parameters()}


def test_form(made: Made) -> None:
    tokens = made.backbone(made.batch)
    rows = len(made.batch.values)
    assert tokens.values.shape[0] == rows and tokens.values.shape[2] == made.backbone.hidden
    assert tokens.values.dtype == torch.float32 and tokens.values.isfinite().all()
    assert tokens.mask.shape == tokens.values.shape[:2]
    assert tokens.present.tolist() == made.batch.present.tolist()
    assert not tokens.present[3] and tokens.present.sum() == rows - 1
    # Real tokens come first, so that a row can be stored as its first tokens.
    lengths = tokens.mask.sum(dim=1, keepdim=True)
    assert torch.equal(tokens.mask, torch.arange(tokens.mask.shape[1]) < lengths)


def test_rows_do_not_see_each_other(made: Made) -> None:
    whole = made.backbone(made.batch)
    for row in range(len(made.batch.values)):
        alone = made.backbone(
            ColumnBatch(made.batch.values[row : row + 1], made.batch.mask[row : row + 1])
        )
        torch.testing.assert_close(
            real(alone), whole.values[row][whole.mask[row]], atol=1e-5, rtol=1e-4
        )


def test_more_padding_changes_nothing(made: Made) -> None:
    values, mask = made.batch
    if mask.ndim == 1:
        assert made.family is FAMILIES["image"]  # one size: there is no padding
        return
    room = made.state["max_tokens"] - mask.shape[1]
    wide = torch.nn.functional.pad
    narrow = ColumnBatch(values[:3, :6], mask[:3, :6])
    padded = ColumnBatch(
        wide(values[:3, :6], (0, 6 + min(room, 0))), wide(mask[:3, :6], (0, 6 + min(room, 0)))
    )
    torch.testing.assert_close(
        real(made.backbone(narrow)), real(made.backbone(padded)), atol=1e-5, rtol=1e-4
    )


def test_nothing_but_missing_rows(made: Made) -> None:
    values, mask = made.batch
    blank = ColumnBatch(torch.zeros_like(values), torch.zeros_like(mask))
    tokens = made.backbone(blank)
    assert tokens.values.isfinite().all() and not tokens.mask.any()
    made.backbone.train()
    made.backbone(blank).values.sum().backward()
    assert all(
        weight.grad is None or weight.grad.isfinite().all() for weight in made.backbone.parameters()
    )


def test_blocks_hold_every_used_weight_once(made: Made) -> None:
    got = used(made.backbone, made.batch)
    assert all(got.values()), [name for name, seen in got.items() if not seen]
    blocks = made.backbone.blocks()
    assert len(blocks) >= 2
    held = [id(weight) for block in blocks for weight in block.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(weight) for weight in made.backbone.parameters()}
    # The same parts each time, and none of them a part of the backbone: they are not saved twice.
    again = [id(weight) for block in made.backbone.blocks() for weight in block.parameters()]
    assert again == held


def test_blocks_run_in_their_order(made: Made) -> None:
    ran: list[int] = []
    blocks = made.backbone.blocks()
    hooks = []
    for number, block in enumerate(blocks):
        parts = [
            part
            for part in block.modules()
            if next(part.parameters(recurse=False), None) is not None
        ]
        ends = [part for part in parts if not isinstance(part, torch.nn.ParameterList)]
        hooks += [
            part.register_forward_hook(lambda *_, number=number: ran.append(number))
            for part in ends[:1]
        ]
    made.backbone(made.batch)
    for hook in hooks:
        hook.remove()
    assert list(dict.fromkeys(ran)) == list(range(len(blocks)))


def test_deterministic(made: Made) -> None:
    first, second = made.backbone(made.batch), made.backbone(made.batch)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.values, made.make().eval()(made.batch).values)


def test_making_one_draws_no_numbers(made: Made) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    made.make(None)
    made.make()
    assert torch.equal(torch.rand(3), expected)


def test_fresh_weights_are_filled_from_a_bundle(made: Made, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file(made.backbone.state_dict(), tmp_path / "weights.safetensors")
    fresh = made.make(None).eval()
    assert not torch.equal(real(fresh(made.batch)), real(made.backbone(made.batch)))
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(fresh(made.batch).values, made.backbone(made.batch).values)


def test_state_survives_json(made: Made) -> None:
    again = json.loads(json.dumps(made.state, allow_nan=False))
    assert again == made.state and made.family.state(made.folder) == made.state


def test_quiet(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    made.family.state(made.folder)
    made.make()(made.batch)
    assert capfd.readouterr() == ("", "")


def test_attention_is_sdpa_where_there_is_one(made: Made) -> None:
    model: Any = made.backbone.model
    expected = "sdpa" if model._supports_sdpa else "eager"
    assert model.config._attn_implementation == expected
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
