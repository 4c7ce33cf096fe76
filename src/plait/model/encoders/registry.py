"""Which encoders there are, by modality and name, and how a preset sizes them.

`plait.register` with ``modality=`` and entry points, such as ``plait.encoders.image``, add to them.
"""

from collections.abc import Callable
from typing import Any

from plait.data.registry import Registry, call_problem, function
from plait.errors import ConfigError, unknown
from plait.model.encoders.audio import LogMelCNN
from plait.model.encoders.base import Encoder
from plait.model.encoders.image import PlainCNN, ResidualCNN, ViT
from plait.model.encoders.projected import Projected
from plait.model.encoders.recurrent import Recurrent
from plait.model.encoders.signal import SignalCNN, SignalPatches
from plait.model.encoders.tabular import Feature, TabularTokens
from plait.model.encoders.text import TextTransformer
from plait.model.encoders.video import FactorisedCNN, FrameCNN

State = dict[str, Any]
Size = dict[str, int]

SIZES: dict[str, Size] = {
    "fast": {"width": 64, "depth": 1, "base": 12},
    "balanced": {"width": 64, "depth": 1, "base": 16},
    "best": {"width": 128, "depth": 3, "base": 32},
}
"""What a preset means: token width, transformer blocks, channels of the first convolution.

Small on purpose: the tables have hundreds to thousands of rows, and a row is answered on one core
(docs/lab-notes.md, "One thread or two for the from-scratch encoders?").
"""

HEADS = 4
"""Of each attention in an encoder: 16 numbers a head at width 64, the least that is usual."""

TABULAR = "tabular"
"""The stream that all numeric, categorical and datetime columns form together."""

Build = Callable[[State, int, Size, float], Encoder]


def _image(kind: type[ResidualCNN]) -> Build:
    return lambda state, width, size, dropout: kind(
        channels=state["channels"],
        size=state["size"],
        width=width,
        base=3 * size["base"] // 2,
        dropout=dropout,
    )


def _vit(state: State, width: int, size: Size, dropout: float) -> Encoder:
    return ViT(
        channels=state["channels"],
        size=state["size"],
        width=width,
        depth=2 * size["depth"],
        heads=size["heads"],
        dropout=dropout,
    )


def _video(kind: type[FrameCNN] | type[FactorisedCNN]) -> Build:
    return lambda state, width, size, dropout: kind(
        frames=state["frames"],
        channels=state["channels"],
        size=state["size"],
        width=width,
        depth=size["depth"],
        base=size["base"],
        dropout=dropout,
    )


def _log_mel_cnn(state: State, width: int, size: Size, dropout: float) -> Encoder:
    return LogMelCNN(mels=state["mels"], width=width, base=size["base"], dropout=dropout)


def _text_transformer(state: State, width: int, size: Size, dropout: float) -> Encoder:
    return TextTransformer(
        vocabulary=state["vocabulary"],
        max_tokens=state["max_tokens"],
        width=width,
        depth=size["depth"],
        heads=size["heads"],
        dropout=dropout,
    )


def _recurrent(
    kind: str, inputs: str, *, stride: int, ids: bool = False, normalise: bool = False
) -> Build:
    """A GRU or an LSTM.

    Args:
        inputs: what the state calls the width of a step.
        stride: steps that are read as one.
    """
    return lambda state, width, size, dropout: Recurrent(
        inputs=state[inputs],
        width=width,
        kind="lstm" if kind == "lstm" else "gru",
        ids=ids,
        stride=stride,
        normalise=normalise,
        dropout=dropout,
    )


def _signal_cnn(state: State, width: int, size: Size, dropout: float) -> Encoder:
    return SignalCNN(leads=state["leads"], width=width, base=size["base"], dropout=dropout)


def _signal_patches(state: State, width: int, size: Size, dropout: float) -> Encoder:
    return SignalPatches(
        leads=state["leads"],
        width=width,
        depth=size["depth"],
        heads=size["heads"],
        dropout=dropout,
    )


def _projected(
    kind: str, channels: str, *, segments: int = 32, sized: bool = False, standardise: bool = False
) -> Build:
    """A PCA or an LDA.

    Args:
        channels: what the state calls the width of a step, or of a pixel.
        segments: of time, where a cell has some. A mel spectrogram has many bands, and needs few; a
            signal has few leads, and its form is in its time.
        sized: whether cells are squares of the state's ``size``.
    """
    return lambda state, width, size, dropout: Projected(
        kind=kind,
        channels=state[channels],
        size=state["size"] if sized else None,
        segments=segments,
        standardise=standardise,
        width=width,
        dropout=dropout,
    )


_OWN: dict[str, dict[str, Build]] = {
    "image": {
        "resnet": _image(ResidualCNN),
        "cnn": _image(PlainCNN),
        "vit": _vit,
        "pca": _projected("pca", "channels", sized=True),
        "lda": _projected("lda", "channels", sized=True),
    },
    "video": {"cnn": _video(FrameCNN), "r2plus1d": _video(FactorisedCNN)},
    "audio": {
        "cnn": _log_mel_cnn,
        "gru": _recurrent("gru", "mels", stride=2, normalise=True),
        "lstm": _recurrent("lstm", "mels", stride=2, normalise=True),
        "pca": _projected("pca", "mels", segments=8, standardise=True),
        "lda": _projected("lda", "mels", segments=8, standardise=True),
    },
    "text": {
        "transformer": _text_transformer,
        "gru": _recurrent("gru", "vocabulary", stride=1, ids=True),
        "lstm": _recurrent("lstm", "vocabulary", stride=1, ids=True),
    },
    "signal": {
        "cnn": _signal_cnn,
        "patch": _signal_patches,
        "gru": _recurrent("gru", "leads", stride=8),
        "lstm": _recurrent("lstm", "leads", stride=8),
        "pca": _projected("pca", "leads"),
        "lda": _projected("lda", "leads"),
    },
}


def _problem(part: Any) -> str:
    call = "(state, width, size, dropout)"
    return function(part) or call_problem(part, call, {}, 0, {}, 0.0)


def encoders_of(modality: str, own: dict[str, Build]) -> Registry[Build]:
    """The encoders of a modality: plait's and those that packages offer."""
    group = f"plait.encoders.{modality}"
    return Registry(f"{modality} encoder", own, group=group, problem=_problem)


ENCODERS = {modality: encoders_of(modality, own) for modality, own in _OWN.items()}
"""Modality → name → builder. The first name of a modality is its default."""

FEATURES: dict[str, Callable[[State], Feature]] = {
    "numeric": lambda state: Feature("numbers", 1),
    "categorical": lambda state: Feature("category", len(state["values"]) + 1),
    "datetime": lambda state: Feature("numbers", 9 if state["times"] else 7),
}
"""Tabular modality → what the tabular encoder is given of a column."""

NEED_CLASSES = frozenset({"lda"})
"""Encoders that are fitted to the classes of the first target."""


def default_encoder(modality: str) -> str:
    """The encoder used when the user names none."""
    return next(iter(ENCODERS[modality]))


def check_encoder(modality: str, name: str) -> None:
    """Raise ConfigError when the modality has no encoder of that name."""
    if name not in ENCODERS[modality]:
        raise ConfigError([f"encoders: {unknown(f'{modality} encoder', name, ENCODERS[modality])}"])


def build_encoder(
    modality: str,
    name: str,
    state: State,
    *,
    width: int,
    preset: str,
    dropout: float,
    scale: float = 1.0,
) -> Encoder:
    """The encoder for one media column, sized by the preset and by what `fit` saw of the column."""
    check_encoder(modality, name)
    return ENCODERS[modality][name](state, width, sized(preset, width, scale), dropout)


def sized(preset: str, width: int, scale: float = 1.0) -> Size:
    """What the preset means at a scale: fewer channels and heads, and as many blocks.

    A head is no wider than it was.
    """
    size, heads = SIZES[preset], HEADS
    if scale < 1:
        most = round(width / scale) / HEADS
        heads = next(
            count for count in range(1, width + 1) if width % count == 0 and width / count <= most
        )
    return {**size, "base": max(4, round(size["base"] * scale)), "heads": heads}


def build_tabular(
    states: list[tuple[str, State]],
    *,
    width: int,
    preset: str,
    dropout: float,
    scale: float = 1.0,
) -> TabularTokens:
    """The encoder for all tabular columns, given each one's modality and state in order."""
    features = [FEATURES[modality](state) for modality, state in states]
    size = sized(preset, width, scale)
    depth = max(1, size["depth"] // 2)
    return TabularTokens(
        features=features, width=width, depth=depth, heads=size["heads"], dropout=dropout
    )
