"""The architecture of a smaller model: the same parts, all of them narrower."""

from dataclasses import replace

from plait.data.features import Features
from plait.data.targets.target import Target
from plait.errors import CompressError
from plait.model.assemble import build
from plait.model.blueprint import Blueprint
from plait.model.model import Model

STEP = 4
"""Widths are a multiple of this: that of the heads of every attention."""


def learnt(model: Model) -> int:
    """How many numbers a model holds; those of an encoder that runs once a cell are not in it."""
    return sum(weight.numel() for weight in model.parameters())


def narrower(
    plan: Blueprint, features: Features, targets: list[Target], most: float
) -> tuple[Blueprint, Model]:
    """The widest narrower blueprint with at most ``most`` numbers to learn, and its model, fresh.

    Width, channels and heads shrink by one factor, so the numbers shrink by about its square.

    Raises:
        CompressError: even the narrowest is larger.
    """
    least = 0
    for width in range(plan.width - STEP, 0, -STEP):
        scale = plan.scale * width / plan.width
        smaller = replace(plan, width=width, scale=scale)
        model = build(smaller, features, targets)
        least = learnt(model)
        if least <= most:
            return smaller, model
    raise CompressError(
        f"the narrowest model of this kind has {least:,} weights, and {int(most):,} were asked for. Ask "
        "for a larger share, or leave streams out."
    )


def without(plan: Blueprint, streams: list[str]) -> Blueprint:
    """The blueprint with only some of its streams."""
    kept = {name: columns for name, columns in plan.streams.items() if name in streams}

    def part(named: dict) -> dict:  # type: ignore[type-arg]
        return {name: value for name, value in named.items() if name in kept}

    shared = {name: owner if owner in kept else name for name, owner in part(plan.shared).items()}
    columns = {column for group in kept.values() for column in group}
    return replace(
        plan,
        streams=kept,
        encoders=part(plan.encoders),
        shared=shared,
        align=part(plan.align),
        pretrained=part(plan.pretrained),
        decoders={name: value for name, value in plan.decoders.items() if name in columns},
        modality_dropout=plan.modality_dropout if len(kept) > 1 else 0.0,
    )
