"""All options judged in one place, once per fit: everything that is wrong is reported together."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from plait.config import Config, configure
from plait.data.features import Features
from plait.data.modalities.registry import TABULAR_MODALITIES
from plait.data.targets.registry import KINDS, kinds_of
from plait.data.targets.target import Target
from plait.errors import ConfigError, suggest, unknown
from plait.model.backbones import encoder_name
from plait.model.blueprint import Blueprint, plan_model
from plait.model.encoders.aligned import ALIGNERS
from plait.model.encoders.registry import ENCODERS, NEED_CLASSES
from plait.model.fusion.registry import FUSIONS, option_problems
from plait.model.heads.registry import HEADS
from plait.model.pretrained.best import CHOICES
from plait.model.pretrained.packaged import packaged_names
from plait.model.pretrained.source import is_reference
from plait.model.pretrained.tuning import tuning_problem
from plait.training.balance.rates import stream_rates
from plait.training.dataset import Dataset
from plait.training.job import stream_kinds

NEAREST = ("product", "late", "qmf", "hybrid")
"""Fusions suggested instead of one that cannot answer a target of this kind: those that combine the
streams' own answers, as the ones with such a limit do."""


def check_options(config: Config, data: Dataset | None = None) -> None:
    """Judge every option by the registries, and by the schema and the targets once they are known.

    Args:
        data: None before a table is opened: then only names that no column can explain are judged.

    Raises:
        ConfigError: listing everything that is wrong.
    """
    problems = _registry_problems(config)
    if data is not None:
        modalities, names = data.schema.inputs, [target.name for target in data.targets]
        plan = plan_model(config, Features(modalities, {}))
        problems = [
            *_target_kind_problems(config, names),
            *_encoder_problems(config, data),
            *tune_problems(config, modalities),
            *problems,
            *_align_problems(config, modalities),
            *_class_problems(plan, data.targets[0]),
            *_fusion_problems(plan, data.targets),
            *task_problems(config, names),
            *balance_problems(config, list(plan.streams)),
            *_rate_problems(config, plan, modalities),
        ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def configured(options: Mapping[str, Any]) -> tuple[Config | None, list[str]]:
    """Options before a table is opened: the configuration, or what is wrong with them."""
    problems: list[str] = []
    try:
        config = configure(**options)
        check_options(config)
        return config, []
    except ConfigError as error:
        problems += error.problems
    fusion = options.get("fusion")
    if isinstance(fusion, str) and fusion not in FUSIONS:
        problems.append(f"fusion: {unknown('fusion', fusion, FUSIONS)}")
    return None, list(dict.fromkeys(problems))


def _registry_problems(config: Config) -> list[str]:
    """Names that only the registries know."""
    if config.fusion not in FUSIONS:
        problems = [f"fusion: {unknown('fusion', config.fusion, FUSIONS)}"]
    else:
        problems = option_problems(config.fusion, config.fusion_options)
    problems += [
        f"share: {unknown('modality', name, ENCODERS)}"
        for name in config.share
        if name not in ENCODERS
    ]
    return problems + [
        f"target_kinds: '{name}': {unknown('kind', kind, KINDS)}"
        for name, kind in config.target_kinds.items()
        if kind not in KINDS
    ]


def _target_kind_problems(config: Config, names: Sequence[str]) -> list[str]:
    return [
        f"target_kinds: '{name}' is not a target.{suggest(name, names)}"
        for name in config.target_kinds
        if name not in names
    ]


def _encoder_problems(config: Config, data: Dataset) -> list[str]:
    modalities = data.schema.inputs
    others = {column.name: column for column in data.schema.columns if column.role != "input"}
    problems = []
    for key, name in config.encoders.items():
        modality = modalities.get(key, key)
        if key in others:
            column = others[key]
            mend = f"; to read it: --column {key}=text (or another modality)"
            problems.append(
                f"encoders: '{key}' is not an input, it is {column.role}: {column.reason}"
                + (mend if column.role == "ignored" else "")
            )
        elif modality in TABULAR_MODALITIES:
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
    return problems


def tune_problems(config: Config, modalities: Mapping[str, str]) -> list[str]:
    """What is wrong with ``tune``, in words."""
    problems = []
    for key, how in config.tune.items():
        wrong = tuning_problem(how)
        if wrong:
            problems.append(f"tune: {wrong}")
        columns = [c for c, modality in modalities.items() if key in (c, modality)]
        named = [encoder_name(config, c, modalities[c]) for c in columns]
        if config.preset == "best" and any(modalities[c] in CHOICES for c in columns):
            continue
        if not any(name is not None and is_reference(name) for name in named):
            problems.append(
                f"tune: '{key}' has no pretrained encoder to tune. Name one, for example --encoder "
                f"{key}=hf:owner/name; plait's own encoders are always trained."
            )
    return problems


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


def _class_problems(plan: Blueprint, first: Target) -> list[str]:
    """Encoders that are fitted to classes need a first target that has some."""
    if first.exclusive:
        return []
    return [
        f"encoders: {name} of {stream} is fitted to the classes of the first target, and "
        f"'{first.name}' is {first.kind}. Take pca, or put a target of classes first."
        for stream, name in plan.encoders.items()
        if name in NEED_CLASSES
    ]


def _fusion_problems(plan: Blueprint, targets: Sequence[Target]) -> list[str]:
    """Targets of a kind that the fusion cannot answer."""
    if plan.fusion not in FUSIONS:
        return []
    method = FUSIONS[plan.fusion]
    return [
        f"fusion: '{plan.fusion}' answers {' and '.join(kinds_of(method.heads or HEADS))} targets "
        f"only, and '{target.name}' is {target.kind}. Take another, for instance "
        f"{', '.join(name for name in NEAREST if FUSIONS[name].answers(target))}."
        for target in targets
        if not method.answers(target)
    ]


def task_problems(config: Config, targets: Collection[str]) -> list[str]:
    """What is wrong with the options on several targets, now that the targets are known."""
    problems = [
        f"task_weights: '{name}' is not a target.{suggest(name, targets)} "
        f"The targets: {', '.join(targets)}."
        for name in config.task_weights
        if name not in targets
    ]
    if config.task_weights and config.task_weighting != "fixed":
        problems.append(
            f"task_weights: task_weighting='{config.task_weighting}' learns the weights; "
            "leave task_weights out, or set task_weighting='fixed'."
        )
    return problems


def balance_problems(config: Config, streams: Sequence[str]) -> list[str]:
    """What is wrong with ``balance``, now that the streams and the fusion are known."""
    voting = config.fusion in FUSIONS and FUSIONS[config.fusion].voting
    silent = config.unimodal_loss == 0 and not voting and len(streams) > 1
    if config.balance in ("blending", "ogm-ge") and silent:
        return [
            f"balance='{config.balance}' needs what each stream answers by itself, and with "
            f"unimodal_loss=0 the fusion '{config.fusion}' has no such answers. Set unimodal_loss above "
            "0, or take balance='agm'."
        ]
    return []


def _rate_problems(config: Config, plan: Blueprint, modalities: Mapping[str, str]) -> list[str]:
    kinds = stream_kinds(plan, Features(dict(modalities), {}))
    return stream_rates(config.lr_scale, kinds, plan.shared)[1]


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
