"""Every option of a fit, its default, its unit and its bounds, checked all at once.

Names are flat, so that ``plait.fit(lr=0.01)``, ``plait fit --set lr=0.01`` and the bundle's
``config.json`` all use the same words.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from plait.errors import ConfigError, suggest

Preset = Literal["fast", "balanced", "best"]
Role = Literal["input", "target", "group", "ignored"]


class Config(BaseModel):
    """The options of a fit. Build it with `configure`, which explains errors in plain words."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @field_validator("share", "ignore", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """One name, or names with commas between, as the command line gives them."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    # The model.
    preset: Preset = Field(
        "balanced", description="Size of the whole model: fast, balanced or best."
    )
    fusion: str = Field("hybrid", description="Fusion method; `plait fusions` lists them.")
    fusion_options: dict[str, bool | int | float | str] = Field(
        {}, description='Options of the fusion method itself, for example {"rounds": 3}.'
    )
    encoders: dict[str, str] = Field(
        {},
        description="Encoder by column or modality, for example "
        '{"photo": "vit", "text": "hf:owner/name"}; `plait encoders` lists them.',
    )
    share: tuple[str, ...] = Field(
        (), description='Modalities whose columns share one encoder, for example ["text"].'
    )
    align: dict[str, str] = Field(
        {},
        description='Aligner before the encoder of a column or modality, for example {"image": "stn"}.',
    )
    tokens_per_stream: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Tokens per stream: longer and shorter streams are resampled to this number before "
        "fusion; None: no resampling.",
    )
    width: int | None = Field(
        None,
        ge=8,
        le=4096,
        multiple_of=8,
        description="Width of a token, a multiple of 8; None: by preset.",
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout rate in encoders, fusion and heads."
    )
    modality_dropout: float = Field(
        0.25, ge=0, lt=1, description="Probability of hiding a present stream from a training row."
    )

    unimodal_loss: float = Field(
        0.3,
        ge=0,
        le=10,
        description="Weight of the loss of each stream's own prediction, beside the fused one.",
    )

    # Pretrained encoders.
    tune: dict[str, str] = Field(
        {},
        description="How a pretrained encoder is trained, by column or modality: frozen (default), "
        "full, last-2 (its last two blocks), lora, dora, rslora or ia3.",
    )
    tune_lr: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Peak learning rate of tuned weights; None: 5e-5 for full, 1e-4 for last blocks, "
        "5e-4 for lora, dora, rslora and ia3.",
    )
    lora_rank: int = Field(8, ge=1, le=512, description="Rank of the matrices that LoRA trains.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Learning rate of a tuned block as a fraction of that of the block after it.",
    )
    unfreeze: Literal["at-once", "gradual"] = Field(
        "at-once", description="gradual: unfreeze one tuned block per epoch, the last block first."
    )
    gradient_checkpointing: bool = Field(
        False, description="Use less memory in fine-tuning, for about a third more time."
    )
    frozen_tokens: int = Field(
        128,
        ge=1,
        le=8192,
        description="Most tokens kept per cell of a frozen encoder; neighbouring tokens are averaged.",
    )
    views: int = Field(
        1, ge=1, le=32, description="Augmented versions of each cell that a frozen encoder encodes."
    )
    embed_weights: bool = Field(
        False, description="Save pretrained weights in the bundle instead of a reference to them."
    )

    # Several targets, and several streams, while training.
    task_weighting: Literal["fixed", "uncertainty", "gradnorm"] = Field(
        "fixed", description="How the losses of several targets are weighted."
    )
    task_weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description='Weight of a target\'s loss, 1 if not named; for example {"label": 2.0}.'
    )
    gradient_surgery: Literal["none", "pcgrad"] = Field(
        "none",
        description="What is done if the gradients of two targets conflict; pcgrad projects them.",
    )
    balance: Literal["none", "blending", "ogm-ge", "agm"] = Field(
        "none", description="How streams that learn at different speeds are balanced in training."
    )
    lr_scale: dict[str, Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]] = Field(
        {},
        description="Factor of the learning rate of encoders, by stream or modality, for example "
        '{"image": 0.1}.',
    )

    # Decoders.
    pretrain: Literal["none", "reconstruct", "masked"] = Field(
        "none",
        description="Pretraining of encoders, fusion and decoders, without the targets: reconstruct "
        "every cell (reconstruct), or what is masked (masked).",
    )
    pretrain_epochs: int | None = Field(
        None, ge=1, description="Most epochs of pretraining; None: as many as the fit itself."
    )
    reconstruct: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Weight of the reconstruction loss: every cell from the fused vector.",
    )

    # Training.
    epochs: int | None = Field(
        None, ge=1, description="Most passes over the rows; None: by preset."
    )
    batch_size: int = Field(64, ge=1, description="Rows per step (batch size).")
    accumulate: int = Field(
        1, ge=1, description="Gradient accumulation: batches per optimizer step."
    )
    optimizer: Literal["gd", "sgd", "rmsprop", "adam", "adamw"] = Field(
        "adamw", description="Optimizer; gd is gradient descent on the full batch."
    )
    lr: float | None = Field(
        None,
        gt=0,
        le=10,
        allow_inf_nan=False,
        description="Peak learning rate; None: by optimizer.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum, for sgd and rmsprop.")
    weight_decay: float = Field(
        0.05, ge=0, le=10, allow_inf_nan=False, description="Weight decay; decoupled for adamw."
    )
    schedule: Literal["cosine", "linear", "constant", "onecycle"] = Field(
        "cosine", description="How the learning rate falls after the warm-up."
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Fraction of all steps that warm up the learning rate."
    )
    clip: float | None = Field(1.0, gt=0, description="Largest gradient norm; None: no clipping.")
    ema: float | None = Field(
        0.99,
        gt=0,
        lt=1,
        description="Decay per step of the averaged weights (EMA); None: no averaging.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Early stopping: epochs without a better validation score; None: by preset.",
    )
    label_smoothing: float = Field(
        0.05, ge=0, lt=1, description="Label smoothing, for classification."
    )
    class_weights: Literal["auto", "none", "balanced", "sqrt"] = Field(
        "auto",
        description="Weight of rare classes: inverse frequency (balanced) or its square root (sqrt); "
        "auto is sqrt for classes and none for the labels of a multi-label target.",
    )
    regression_loss: Literal["mse", "huber"] = Field("huber", description="Loss for regression.")
    augment: bool = Field(True, description="Augment images, sounds and signals in training.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Precision; auto: bf16 on a GPU that supports it, else fp32."
    )
    device: str = Field("auto", description="Device: auto, cpu, cuda, cuda:1 or mps.")
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads to compute with; None: half the cores."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="The same seed gives the same model.")
    checkpoint_seconds: float = Field(30.0, ge=0, description="Seconds between checkpoints.")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Stop after the first epoch that ends after this many minutes; None: no limit.",
    )

    report: Literal["en", "zh", "off"] = Field(
        "en",
        description="Write report.html beside the model, in English or Chinese, or not at all.",
    )

    # The data.
    columns: dict[str, str] = Field(
        {},
        description="Modality of a column, if the proposed one is wrong, for example "
        '{"photo": "image"}.',
    )
    ignore: tuple[str, ...] = Field((), description="Columns to leave out.")
    group: str | None = Field(
        None, description="Column whose rows with the same value stay on one side of the split."
    )
    target_kinds: dict[str, str] = Field(
        {}, description="Kind of a target, if the proposed one is wrong."
    )
    separator: str | None = Field(
        None, min_length=1, description="Separator between the labels of a multi-label cell."
    )
    validation: float = Field(
        0.15, gt=0, lt=0.9, description="Fraction of the rows held out for validation."
    )
    max_unreadable: float = Field(
        0.2, ge=0, le=1, description="Largest fraction of a column's cells that may be unreadable."
    )
    golden_rows: int = Field(
        8,
        ge=0,
        le=64,
        description="Rows kept in the bundle with their answers, to check later that it still works.",
    )

    # Caps on what is decoded; see plait.data.media.
    max_image_megapixels: float = Field(
        64.0, gt=0, description="Largest image, in megapixels, checked before allocation."
    )
    max_audio_mb: float = Field(25.0, gt=0, description="Largest audio file, in MB.")
    max_audio_seconds: float = Field(600.0, gt=0, description="Longest audio file, in seconds.")
    max_audio_decoded_mib: float = Field(
        256.0, gt=0, description="Largest decoded audio, in MiB, at any sample rate."
    )
    max_video_mb: float = Field(200.0, gt=0, description="Largest video file, in MB.")
    max_video_seconds: float = Field(600.0, gt=0, description="Longest video, in seconds.")
    max_video_megapixels: float = Field(
        16.0, gt=0, description="Largest video frame, in megapixels."
    )
    max_text_mb: float = Field(1.0, gt=0, description="Largest text cell, in MB.")
    max_signal_mb: float = Field(64.0, gt=0, description="Largest signal cell, in MB.")
    max_decode_seconds: float = Field(
        10.0, gt=0, description="Longest time to decode one cell, in seconds."
    )


RENAMED = {"alone": "unimodal_loss", "clock": "tokens_per_stream"}
"""Option as 0.1.0 called it → its name now. Saved documents may hold the old one for ever."""


def current_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """A saved document's fields under the names that they have now."""
    return {RENAMED.get(name, name): value for name, value in document.items()}


def configure(**options: Any) -> Config:
    """Check all options at once and return the configuration.

    Raises:
        ConfigError: listing every unknown name (with a suggestion) and every value out of bounds.
    """
    names = list(Config.model_fields)
    problems = [
        f"there is no option '{name}'."
        + (f" It is now called '{RENAMED[name]}'." if name in RENAMED else suggest(name, names))
        for name in options
        if name not in names
    ]
    known = {name: value for name, value in options.items() if name in names}
    try:
        config = Config(**known)
    except ValidationError as error:
        # A value that may be of several types has a finding for each of them.
        problems += dict.fromkeys(_explain(problem, known) for problem in error.errors())
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return config


CAPS = tuple(
    name
    for name in Config.model_fields
    if name.startswith(
        ("max_image", "max_audio", "max_video", "max_text", "max_signal", "max_decode")
    )
)
"""The options that bound what is decoded."""


def within_caps(config: Config, caps: Mapping[str, float]) -> Config:
    """A configuration from a file, its caps no higher than the defaults, or as the caller says.

    Raises:
        ConfigError: ``caps`` names something else, or a value out of bounds.
    """
    odd = [f"{name} is not a cap.{suggest(name, CAPS)}" for name in caps if name not in CAPS]
    if odd:
        raise ConfigError(odd)
    default, asked = configure(), configure(**caps)
    lowered = {name: min(getattr(config, name), getattr(default, name)) for name in CAPS}
    return config.model_copy(update={**lowered, **asked.model_dump(include=set(caps))})


def _explain(problem: Any, given: dict[str, Any]) -> str:
    """One pydantic error as a sentence: what was passed and what was expected."""
    name = str(problem["loc"][0])
    key = problem["loc"][1] if len(problem["loc"]) > 1 else None
    message = str(problem["msg"])
    message = message[0].lower() + message[1:]
    if name == "fusion_options" and key is not None:
        message = "input should be a number, a text, true or false"
    if isinstance(problem["input"], float) and math.isnan(problem["input"]):
        message = "input should be a number, not NaN"
    hint = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        choices = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        hint = suggest(problem["input"], choices)
    about = Config.model_fields[name].description
    value = repr(problem["input"])
    # A key of its own: an entry of a dict, and not the place in a list.
    shown = f"{name}: '{key}'={value}" if isinstance(key, str) else f"{name}={value}"
    return f"{shown}: {message}.{hint} ({about})"


def choices(name: str) -> list[str]:
    """What an option with a fixed set of values may be; empty for every other."""
    kind = Config.model_fields[name].annotation
    return list(get_args(kind)) if get_origin(kind) is Literal else []


def option_lines() -> list[tuple[str, str, str]]:
    """Name, default and description of every option, for ``--help`` and the docs."""
    return [
        (name, repr(field.get_default(call_default_factory=True)), field.description or "")
        for name, field in Config.model_fields.items()
    ]
