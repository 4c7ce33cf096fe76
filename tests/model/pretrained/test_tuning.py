"""What learns of a pretrained model: exactly what was asked, at its own rate, in its own time."""

import json

import pytest
import torch
from checkpoints_image_text import save_image, save_text
from torch import nn

from plait.config import configure
from plait.model.encoders.base import Encoder, learnt_state, load_learnt
from plait.model.encoders.pretrained import Adapter, Tuned, standardised
from plait.model.pretrained.base import Backbone
from plait.model.pretrained.contents import check_folder
from plait.model.pretrained.registry import family_of
from plait.model.pretrained.tuning import (
    PEFT,
    block_rates,
    fit_problems,
    kind,
    tune,
    tuning_problem,
)
from plait.model.tokens import ColumnBatch, Tokens
from plait.training.optim import build_optimizer

IDS = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]], dtype=torch.int32)
REAL = torch.tensor([[True] * 4, [True, True, False, False]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {"text": save_text(root / "bert", "bert"), "image": save_image(root / "vit", "vit")}


def opened(folders, modality) -> Backbone:
    folder = folders[modality]
    config = check_folder(folder, "it")
    family = family_of(modality, config, "it")
    return family.make(config, family.state(folder), folder)


def batch(modality) -> ColumnBatch:
    if modality == "text":
        return ColumnBatch(IDS, REAL)
    torch.manual_seed(3)
    return ColumnBatch(
        torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8), torch.ones(2, dtype=torch.bool)
    )


def step(encoder: Tuned, column: ColumnBatch, config) -> list[str]:
    """One step of training; the names of the weights that moved."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = build_optimizer(encoder, config)
    encoder.train()
    encoder(column).values.square().mean().backward()
    optimizer.step()
    return [
        name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])
    ]


@pytest.mark.parametrize("how", ["frozen", "full", "last-1", "last-12", *PEFT])
def test_ways_of_tuning(how):
    assert tuning_problem(how) is None


@pytest.mark.parametrize(
    ("how", "meant"),
    [
        ("", ""),
        ("last", " Did you mean 'last-2'?"),
        ("last-0", " Did you mean 'last-2'?"),
        ("loro", " Did you mean 'lora'?"),
        ("last--1", " Did you mean 'last-2'?"),
        ("FULL", " Did you mean 'full'?"),
    ],
)
def test_other_words_are_told_what_there_is(how, meant):
    assert tuning_problem(how) == (
        f"'{how}' is not a way to tune a pretrained encoder.{meant} Take frozen, full, last-2 (the last two "
        "blocks) or one of lora, dora, rslora, ia3."
    )


@pytest.mark.parametrize("modality", ["text", "image"])
@pytest.mark.parametrize("how", ["full", "last-1", *PEFT])
def test_what_was_asked_moves_and_nothing_else(folders, how, modality):
    torch.manual_seed(0)
    backbone = opened(folders, modality)
    own = set(backbone.state_dict())
    assert fit_problems(backbone, how, False) == []
    tune(backbone, how, rank=2)
    encoder = Tuned(backbone, width=8, kind=kind(how))
    config = configure(tune_lr=0.01)
    moved = step(encoder, batch(modality), config)
    if how in (
        "lora",
        "dora",
        "rslora",
    ):  # one of LoRA's matrices begins at zero, so the other moves later
        moved += step(encoder, batch(modality), config)
    inside = {name.removeprefix("backbone.") for name in moved if name.startswith("backbone.")}
    fixed = {name.removeprefix("backbone.") for name in encoder.fixed()}
    assert not inside & fixed
    assert "adapter.linear.weight" in moved
    match kind(how):
        case "full":
            assert fixed == set() and inside == {name for name, _ in backbone.named_parameters()}
        case "last":
            assert inside and fixed
            last = {id(weight) for weight in backbone.blocks()[-1].parameters()}
            assert inside == {n for n, w in backbone.named_parameters() if id(w) in last}
        case "peft":
            assert inside and not inside & own
            assert len(fixed) == len(
                [
                    n
                    for n, _ in backbone.named_parameters()
                    if ".base_layer." in n or ("lora" not in n and "ia3" not in n)
                ]
            )


def test_lora_starts_as_the_checkpoint(folders):
    before = opened(folders, "text")(ColumnBatch(IDS, REAL))
    for how in ("lora", "ia3"):
        backbone = opened(folders, "text")
        tune(backbone, how, rank=4)
        torch.testing.assert_close(backbone.eval()(ColumnBatch(IDS, REAL)).values, before.values)


def test_more_blocks_than_there_are(folders):
    backbone = opened(folders, "text")
    assert fit_problems(backbone, "last-9", False) == [
        "tune: last-9 asks for more blocks than the 3 there are."
    ]


class Plain(Backbone):
    hidden = 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, column):
        return Tokens(column.values * self.weight, column.mask)

    def blocks(self):
        return [self]


def test_what_cannot_be_adapted_or_computed_again():
    assert fit_problems(Plain(), "lora", True) == [
        "tune: this encoder has no layer that lora can adapt; take last-2 or full.",
        "gradient_checkpointing: this encoder cannot compute its activations again; leave it out.",
    ]


def test_gradient_checkpointing_gives_the_same_gradients(folders):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = opened(folders, "text")
        assert fit_problems(backbone, "full", checkpointing) == []
        tune(backbone, "full", rank=1, checkpointing=checkpointing)
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        encoder = Tuned(backbone, width=8).train()
        encoder(ColumnBatch(IDS, REAL)).values.square().sum().backward()
        found.append({name: weight.grad for name, weight in encoder.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_rates_fall_from_the_last_block_to_the_first(folders):
    backbone = opened(folders, "text")
    tune(backbone, "full", rank=1)
    rates = block_rates(backbone, 0.5)
    blocks = backbone.blocks()
    for depth, block in enumerate(reversed(blocks)):
        assert {rates[id(weight)] for weight in block.parameters()} == {0.5**depth}
    encoder = Tuned(backbone, width=8, kind="full")
    groups = build_optimizer(
        encoder, configure(lr=0.01, tune_lr=0.001, layer_decay=0.5)
    ).param_groups
    seen = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert seen[id(encoder.adapter.linear.weight)] == 0.01
    for depth, block in enumerate(reversed(blocks)):
        for weight in block.parameters():
            assert seen[id(weight)] == pytest.approx(0.001 * 0.5**depth)


@pytest.mark.parametrize(("how", "rate"), [("full", 5e-5), ("last-1", 1e-4), ("lora", 5e-4)])
def test_the_rate_of_each_way(folders, how, rate):
    backbone = opened(folders, "text")
    tune(backbone, how, rank=2)
    encoder = Tuned(backbone, width=8, kind=kind(how))
    groups = build_optimizer(encoder, configure()).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    for weight in backbone.parameters():
        assert rates.get(id(weight), rate) == pytest.approx(rate)
        assert (id(weight) in rates) == weight.requires_grad


def test_blocks_join_one_an_epoch(folders):
    backbone = opened(folders, "text")
    tune(backbone, "full", rank=1)
    encoder = Tuned(backbone, width=8, unfreeze=True)
    column = ColumnBatch(IDS, REAL)
    for epoch in range(len(backbone.blocks()) + 2):
        encoder.start_epoch(epoch)
        encoder(column).values.sum().backward()
        learning = [
            any(w.grad is not None for w in block.parameters()) for block in backbone.blocks()
        ]
        count = min(epoch, len(learning))
        assert learning == [False] * (len(learning) - count) + [True] * count
        assert encoder.adapter.linear.weight.grad is not None
    assert encoder.fixed() == []  # they learn in the end, so they are part of what is saved


def test_an_encoder_of_plaits_own_needs_no_telling():
    adapter = Adapter(hidden=4, width=8)
    adapter.start_epoch(3)
    assert adapter.fixed() == []


def test_batch_norms_that_stay_keep_their_statistics(tmp_path):
    folder = save_image(tmp_path, "resnet")
    backbone = opened({"image": folder}, "image")
    tune(backbone, "lora", rank=2)
    encoder = Tuned(backbone, width=8, kind="peft")
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    encoder.train()
    encoder(batch("image"))
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())


class Pair(nn.Module):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.parts = nn.ModuleList([encoder, encoder])
        self.extra = nn.Linear(2, 2)


def test_what_was_learnt_is_saved_without_the_checkpoint_and_put_back(folders):
    backbone = opened(folders, "text")
    tune(backbone, "lora", rank=2)
    module = Pair(Tuned(backbone, width=8, kind="peft"))
    learnt = learnt_state(module)
    assert all("lora" in name or "adapter" in name or "extra" in name for name in learnt)
    assert any(name.startswith("parts.1.") for name in learnt)  # both names of a shared encoder
    size = sum(value.numel() for value in learnt.values())
    assert size < 0.5 * sum(value.numel() for value in module.state_dict().values())
    kept = {name: value.clone() + 1 for name, value in learnt.items()}
    load_learnt(module, kept)
    for name, value in learnt_state(module).items():
        torch.testing.assert_close(value, kept[name])
    kept.pop("extra.weight")
    with pytest.raises(RuntimeError, match="these weights are missing: extra.weight"):
        load_learnt(module, kept)


def test_the_adapter_is_linear_in_standardised_tokens():
    torch.manual_seed(0)
    values, mask = (
        torch.randn(2, 3, 5) * 100 + 7,
        torch.tensor([[True, True, True], [True, False, False]]),
    )
    adapter = Adapter(hidden=5, width=8).eval()
    tokens = adapter(ColumnBatch(standardised(values).half(), mask))
    mean, spread = values.mean(-1, keepdim=True), values.var(-1, unbiased=False, keepdim=True)
    want = (
        (values - mean) / (spread + 1e-5).sqrt()
    ) @ adapter.linear.weight.T + adapter.linear.bias
    torch.testing.assert_close(tokens.values[mask], want[mask], atol=3e-3, rtol=1e-2)
    assert (tokens.values[~mask] == 0).all()


def test_a_state_is_json(folders):
    for modality, folder in folders.items():
        config = check_folder(folder, "it")
        assert json.loads(json.dumps(config)) == config
        json.dumps(family_of(modality, config, "it").state(folder))
