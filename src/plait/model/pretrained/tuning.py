"""How much of a pretrained model learns: all, the last blocks, or small matrices beside its own."""

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from plait.errors import suggest
from plait.model.pretrained.base import Backbone

FROZEN = "frozen"
PEFT = ("lora", "dora", "rslora", "ia3")
"""Methods of the library peft: LoRA (Hu et al. 2021), DoRA (Liu et al. 2024), rank-stabilised LoRA
(Kalajdzievski 2023), (IA)³ (Liu et al. 2022)."""

RATES = {"full": 5e-5, "last": 1e-4, "peft": 5e-4}
"""Peak learning rate of what is tuned, where the user gives none; for adamw."""


def tuning_problem(how: str) -> str | None:
    """What is wrong with a way of tuning, or None."""
    if how in (FROZEN, "full", *PEFT) or re.fullmatch(r"last-[1-9]\d{0,2}", how):
        return None
    near = suggest(how, (FROZEN, "full", "last-2", *PEFT))
    return (
        f"'{how}' is not a way to tune a pretrained encoder.{near} "
        f"Take frozen, full, last-2 (the last two blocks) or one of {', '.join(PEFT)}."
    )


def kind(how: str) -> str:
    """``full``, ``last`` or ``peft``."""
    return "peft" if how in PEFT else how.split("-")[0]


def fit_problems(backbone: Backbone, how: str, checkpointing: bool) -> list[str]:
    """Why a backbone cannot be tuned as asked, in words; empty when it can."""
    problems = []
    if kind(how) == "last":
        asked, there = int(how.removeprefix("last-")), len(backbone.blocks())
        if asked > there:
            problems.append(f"tune: {how} asks for more blocks than the {there} there are.")
    if kind(how) == "peft" and not _adaptable(backbone, how):
        problems.append(
            f"tune: this encoder has no layer that {how} can adapt; take last-2 or full."
        )
    if checkpointing and _checkpointed(backbone) is None:
        problems.append(
            "gradient_checkpointing: this encoder cannot compute its activations again; leave it out."
        )
    return problems


def tune(backbone: Backbone, how: str, *, rank: int, checkpointing: bool = False) -> None:
    """Let a backbone learn as asked, in place; what must stay has ``requires_grad`` False.

    Args:
        rank: of the small matrices of LoRA and its kin.
        checkpointing: compute activations again in the backward pass (Chen et al. 2016): less memory for
            about a third more time.
    """
    backbone.requires_grad_(kind(how) == "full")
    if kind(how) == "last":
        for block in backbone.blocks()[-int(how.removeprefix("last-")) :]:
            block.requires_grad_(True)
    elif kind(how) == "peft":
        _inject(backbone, how, rank)
    module = _checkpointed(backbone) if checkpointing else None
    if module is not None:
        module.activation_checkpointing_enable({"use_reentrant": False})


def _adaptable(backbone: Backbone, how: str) -> list[str]:
    """Linear layers, and convolutions that mix all channels, which (IA)³ does not take."""
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.groups == 1 and how != "ia3")
    ]


def _inject(backbone: Backbone, how: str, rank: int) -> None:
    """Put small matrices beside the weights of every layer that can have some."""
    from peft import IA3Config, LoraConfig, inject_adapter_in_model

    names = _adaptable(backbone, how)
    config: Any
    if how == "ia3":
        config = IA3Config(target_modules=names, feedforward_modules=[])
    else:
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules=names,
            use_dora=how == "dora",
            use_rslora=how == "rslora",
        )
    inject_adapter_in_model(config, backbone)


def _checkpointed(backbone: Backbone) -> Any:
    """The module that can compute its activations again, or None."""
    for module in backbone.modules():
        if getattr(module, "supports_gradient_checkpointing", False):
            return module
    return None


def block_rates(backbone: Backbone, decay: float) -> dict[int, float]:
    """A learning rate factor for each weight, by ``id``: ``decay ** (blocks above it)``.

    Layer-wise learning-rate decay (Clark et al. 2020, ELECTRA): what is near the input, and general,
    moves least. Weights that belong to no block have 1.
    """
    blocks: Sequence[nn.Module] = backbone.blocks()
    rates: dict[int, float] = {id(weight): 1.0 for weight in backbone.parameters()}
    for depth, block in enumerate(reversed(blocks)):
        rates |= {id(weight): decay**depth for weight in block.parameters()}
    return rates
