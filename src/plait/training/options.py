"""Options judged against the registries, the table and the plan of a fit."""

from collections.abc import Mapping

from plait.config import Config
from plait.data.features import Features
from plait.data.modalities.registry import TABULAR_MODALITIES
from plait.data.targets.target import Target
from plait.errors import ConfigError, suggest, unknown
from plait.model.backbones import encoder_name, tune_problems
from plait.model.blueprint import Blueprint
from plait.model.encoders.aligned import ALIGNERS
from plait.model.encoders.registry import (
    ENCODERS,
    TABULAR,
)
from plait.model.fusion.registry import FUSIONS, option_problems
from plait.model.pretrained.packaged import packaged_names
from plait.model.pretrained.source import is_reference
from plait.training.balance import balance_problems, stream_rates
from plait.training.multitask import task_problems

NEAREST = ("product", "late", "qmf", "hybrid")
"""Fusions that are told to whoever asked for one that cannot answer such a target."""


def check_choices(config: Config, modalities: Mapping[str, str]) -> None:
    """Check names that only the registries know.

    Raises:
        ConfigError: listing every unknown fusion, encoder, column or modality.
    """
    problems = []
    if config.fusion not in FUSIONS:
        problems.append(f"fusion: {unknown('fusion', config.fusion, FUSIONS)}")
    else:
        problems += option_problems(config.fusion, config.fusion_options)
    for key, name in config.encoders.items():
        modality = modalities.get(key, key)
        if modality in TABULAR_MODALITIES:
            problems.append(
                f"encoders: {key} is {modality}; tabular columns have one encoder only."
            )
        elif modality not in ENCODERS:
            known = [*modalities, *ENCODERS]
            problems.append(
                f"encoders: there is no column or modality '{key}'.{suggest(key, known)}"
            )
        elif name not in ENCODERS[modality] and not is_reference(name):
            known = [*ENCODERS[modality], *packaged_names(modality)]
            problems.append(f"encoders: {unknown(f'{modality} encoder', name, known)}")
    problems += tune_problems(config, modalities) if modalities else []
    for name in config.share:
        if name not in ENCODERS:
            problems.append(f"share: {unknown('modality', name, ENCODERS)}")
    problems += _align_problems(config, modalities)
    if problems:
        raise ConfigError(problems)


def _align_problems(config: Config, modalities: Mapping[str, str]) -> list[str]:
    problems = []
    for key, name in config.align.items():
        modality = modalities.get(key, key)
        if modality not in [*modalities.values(), *ENCODERS, *TABULAR_MODALITIES]:
            known = [*modalities, *ALIGNERS]
            problems.append(f"align: there is no column or modality '{key}'.{suggest(key, known)}")
        elif modality not in ALIGNERS:
            can = ", ".join(f"{kind} ({', '.join(ALIGNERS[kind])})" for kind in ALIGNERS)
            what = key if key == modality else f"{key} is {modality}, which"
            problems.append(f"align: {what} has no aligner; these have: {can}.")
        elif name not in ALIGNERS[modality]:
            problems.append(f"align: {unknown(f'{modality} aligner', name, ALIGNERS[modality])}")
        elif any(
            is_reference(encoder_name(config, column, modalities[column]) or "")
            for column in modalities
            if key in (column, modalities[column])
        ):
            problems.append(
                f"align: {key} has a pretrained encoder, which wants its cells as they are; leave "
                "align out, or take one of plait's own encoders."
            )
        elif key != modality and modality in config.share:
            problems.append(
                f"align: {key} shares its encoder with all {modality} columns; write {modality} instead."
            )
    return problems


def check_fit(config: Config, plan: Blueprint, features: Features, targets: list[Target]) -> Config:
    """Check options that depend on what the table holds, before any cell is prepared.

    Returns:
        The options to train with: ``lr_scale`` by stream alone.

    Raises:
        ConfigError: listing every target the fusion cannot answer, and every unknown target or stream.
    """
    method = FUSIONS[plan.fusion]
    others = [name for name, other in FUSIONS.items() if set(method.kinds) < set(other.kinds)]
    problems = [
        f"fusion: '{plan.fusion}' answers {' and '.join(method.kinds)} targets only, and "
        f"'{target.name}' is {target.kind}. Take another, for instance "
        f"{', '.join(name for name in NEAREST if name in others)}."
        for target in targets
        if target.kind not in method.kinds
    ]
    problems += task_problems(config, [target.name for target in targets])
    problems += balance_problems(config, list(plan.streams), voting=method.voting)
    kinds = {
        stream: TABULAR if stream == TABULAR else features.modalities[columns[0]]
        for stream, columns in plan.streams.items()
    }
    rates, odd = stream_rates(config.lr_scale, kinds, plan.shared)
    if problems + odd:
        raise ConfigError(problems + odd)
    return config.model_copy(update={"lr_scale": rates})


def without_effect(config: Config, plan: Blueprint, features: Features, targets: int) -> list[str]:
    """Options that were set and change nothing, each with the reason."""
    kinds = list(features.modalities.values())
    lines = []
    if targets == 1:
        lines += [
            f"{name}={value} has no effect: there is one target"
            for name, value, default in (
                ("task_weighting", config.task_weighting, "fixed"),
                ("gradient_surgery", config.gradient_surgery, "none"),
            )
            if value != default
        ]
    if config.balance != "none" and len(plan.streams) == 1:
        lines.append(f"balance={config.balance} has no effect: there is one stream")
    if config.pretrain_epochs is not None and config.pretrain == "none":
        lines.append("pretrain_epochs has no effect: pretrain is none")
    frozen = [record.frozen for record in plan.records.values()]
    for name in ("tune_lr", "lora_rank", "layer_decay", "unfreeze", "gradient_checkpointing"):
        if False not in frozen and getattr(config, name) != Config.model_fields[name].default:
            lines.append(f"{name} has no effect: no pretrained encoder is tuned")
    for name in ("views", "frozen_tokens"):
        if True not in frozen and getattr(config, name) != Config.model_fields[name].default:
            lines.append(f"{name} has no effect: no pretrained encoder is frozen")
    for option, named in (("encoders", config.encoders), ("align", config.align)):
        lines += [
            f"{option}: {key} has no effect: no column is {key}"
            for key in named
            if key not in features.modalities and key not in kinds
        ]
    for name in config.share:
        count = kinds.count(name)
        if count < 2:
            many = "one column is" if count else "no column is"
            lines.append(f"share: {name} has no effect: {many} {name}")
    return lines
