"""From a blueprint to a model with fresh weights, part by part from seeds of their own."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

from plait.config import Config
from plait.data.features import Features
from plait.data.targets.target import Target
from plait.devices import channels_last
from plait.errors import ConfigError
from plait.model.backbones import encoder_of
from plait.model.blueprint import Blueprint
from plait.model.decoders.base import Decoder
from plait.model.decoders.registry import build_decoder
from plait.model.encoders.aligned import Resampled, straighten
from plait.model.encoders.base import Encoder
from plait.model.encoders.registry import (
    ENCODERS,
    TABULAR,
    build_encoder,
    build_tabular,
    encoders_of,
    sized,
)
from plait.model.fusion.registry import FUSIONS, build_fusion
from plait.model.heads.base import Head
from plait.model.heads.registry import build_head
from plait.model.model import Model
from plait.model.pretrained.base import Backbone


def check_recorded(plan: Blueprint, features: Features) -> None:
    """Look up the fusion and the encoders that a saved model was made with.

    Raises:
        UnregisteredError: naming the first that is not registered here.
    """
    FUSIONS.recorded(plan.fusion)
    for stream, columns in plan.streams.items():
        if stream != TABULAR and stream not in plan.pretrained:
            modality = features.modalities[columns[0]]
            if modality not in ENCODERS:  # of a package, whose encoders may be too
                ENCODERS[modality] = encoders_of(modality, {})
            ENCODERS[modality].recorded(plan.encoders[stream])


def build(
    plan: Blueprint,
    features: Features,
    targets: list[Target],
    *,
    config: Config | None = None,
    encoded: Mapping[str, np.ndarray] | None = None,
    backbones: Mapping[str, Backbone] | None = None,
) -> Model:
    """The model of a blueprint, with fresh weights but for what is pretrained.

    Every part starts from a seed of its own, so that encoders and heads start alike whatever the fusion.

    Args:
        config: the losses' options and the seed; None for a model that only answers, whose weights come
            from torch's global generator as it stands.
        encoded: goals of the training rows, for class weights.
        backbones: column → the pretrained encoder to tune, where it is at hand.

    Raises:
        CheckpointError: a pretrained encoder that is to be tuned is not there any more.
        ConfigError: an option does not fit the fusion, or the model does not fit into memory.
    """
    try:
        return _built(plan, features, targets, config, encoded, backbones or {})
    except (MemoryError, RuntimeError) as error:
        # torch says it in a RuntimeError, by its allocator or when the bytes exceed what it can count.
        message = str(error).lower()
        if not isinstance(error, MemoryError) and not any(
            w in message for w in ("memory", "overflow")
        ):
            raise
        sizes = [f"width={plan.width}", f"preset={plan.preset}"]
        sizes += [f"fusion_options {key}={value}" for key, value in plan.fusion_options.items()]
        raise ConfigError(
            [
                f"the model with fusion '{plan.fusion}' does not fit into this machine's memory. What "
                f"sizes it: {', '.join(sizes)}. Choose smaller ones."
            ]
        ) from None


def _built(
    plan: Blueprint,
    features: Features,
    targets: list[Target],
    config: Config | None,
    encoded: Mapping[str, np.ndarray] | None,
    backbones: Mapping[str, Backbone],
) -> Model:
    encoders: dict[str, Encoder] = {}
    for stream in plan.streams:
        owner = plan.shared[stream]
        if owner in encoders:
            # The same module, not a copy: its weights are trained on both streams.
            encoders[stream] = encoders[owner]
            continue
        _reseed(config, "encoder", owner)
        encoders[stream] = _encoder(plan, stream, features, backbones, config is None)
    _reseed(config, "fusion")
    fusion = build_fusion(
        plan.fusion,
        dict.fromkeys(plan.streams, plan.width),
        width=plan.width,
        dropout=plan.dropout,
        options=plan.fusion_options,
    )
    heads = {target.name: _head(plan, target, fusion.stacks, config, encoded) for target in targets}
    _reseed(config, "voices")  # which the model makes itself
    model = Model(
        streams=plan.streams,
        encoders=encoders,
        fusion=fusion,
        heads=heads,
        modality_dropout=plan.modality_dropout,
        unimodal_loss=plan.unimodal_loss,
        decoders=_decoders(plan, features),
        reconstruct=plan.reconstruct,
    )
    # Measured at half the time for convolutions on a processor (lab notes).
    channels_last(model.encoders)
    return model


def _head(
    plan: Blueprint,
    target: Target,
    votes: int,
    config: Config | None,
    encoded: Mapping[str, np.ndarray] | None,
) -> Head:
    _reseed(config, "head", target.name)
    return build_head(
        target.head,
        width=plan.width,
        outputs=target.outputs,
        dropout=plan.dropout,
        votes=votes,
        **target.loss_options(config, None if encoded is None else encoded[target.name]),
    )


def _reseed(config: Config | None, *part: str) -> None:
    """Start a part from a seed that hangs on the run's seed and the part's name alone."""
    if config is not None:
        # A digest, since hash() of a text differs from one process to the next.
        name = "/".join([str(config.seed), *part])
        torch.manual_seed(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest()))


def _encoder(
    plan: Blueprint,
    stream: str,
    features: Features,
    backbones: Mapping[str, Backbone],
    empty: bool,
) -> Encoder:
    """A stream's encoder, with what is to be aligned before and after it."""
    width, preset, dropout = plan.width, plan.preset, plan.dropout
    columns = plan.streams[stream]
    if stream == TABULAR:
        parts = [(features.modalities[name], features.states[name]) for name in columns]
        encoder: Encoder = build_tabular(
            parts, width=width, preset=preset, dropout=dropout, scale=plan.scale
        )
    elif stream in plan.pretrained:
        column = columns[0]
        encoder = encoder_of(
            plan.records[stream],
            backbones.get(column),
            features.states[column],
            width=width,
            dropout=dropout,
            empty=empty,
        )
    else:
        modality, state = features.modalities[columns[0]], features.states[columns[0]]
        encoder = build_encoder(
            modality,
            plan.encoders[stream],
            state,
            width=width,
            preset=preset,
            dropout=dropout,
            scale=plan.scale,
        )
        if stream in plan.align:
            encoder = straighten(modality, plan.align[stream], encoder, state["channels"])
    return (
        encoder
        if plan.tokens_per_stream is None
        else Resampled(encoder, count=plan.tokens_per_stream)
    )


def _decoders(plan: Blueprint, features: Features) -> dict[str, Decoder]:
    return {
        name: build_decoder(
            features.modalities[name],
            features.states[name],
            typical,
            width=plan.width,
            size=sized(plan.preset, plan.width, plan.scale),
            dropout=plan.dropout,
        )
        for name, typical in plan.decoders.items()
    }
