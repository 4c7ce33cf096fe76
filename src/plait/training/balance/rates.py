"""Learning rates of their own for encoders."""

from collections.abc import Mapping

from torch import nn

from plait.errors import unknown
from plait.model.model import Model


def stream_rates(
    scale: Mapping[str, float], modality: Mapping[str, str], owner: Mapping[str, str]
) -> tuple[dict[str, float], list[str]]:
    """Each stream's learning rate factor, and what is wrong with the names.

    Args:
        scale: stream or modality → factor; a stream's own goes before its modality's.
        modality: stream → its modality.
        owner: stream → the stream whose encoder it uses.
    """
    names = [*modality, *dict.fromkeys(modality.values())]
    problems = [
        f"lr_scale: {unknown('stream or modality', name, dict.fromkeys(names))}"
        for name in scale
        if name not in names
    ]
    rates = {s: float(scale.get(s, scale.get(kind, 1.0))) for s, kind in modality.items()}
    problems += [
        f"lr_scale: '{stream}' and '{other}' share an encoder and need one factor, got "
        f"{rates[stream]:g} and {rates[other]:g}."
        for stream, other in owner.items()
        if rates[stream] != rates[other]
    ]
    return {name: rate for name, rate in rates.items() if rate != 1.0}, problems


def encoder_rates(model: nn.Module, scale: Mapping[str, float]) -> dict[int, float]:
    """The learning rate factor of encoders' weights, by ``id``; weights not named have 1.

    Args:
        scale: stream → factor.
    """
    if not scale or not isinstance(model, Model):
        return {}
    return {
        id(weight): scale[stream]
        for stream, encoder in zip(model.streams, model.encoders, strict=True)
        if stream in scale
        for weight in encoder.parameters()
    }
