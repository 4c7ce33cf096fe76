"""The components of the web page that take a cell, by modality."""

from collections.abc import Callable
from typing import Any

from plait.data.modalities.base import State
from plait.serve.models import Model

Build = Callable[[Any, State, dict[str, str]], Any]
"""Gradio, the column's state, and the label and id of the component → the component."""


def component(gradio: Any, name: str, model: Model, mark: str) -> Any:
    """The component for a column.

    Args:
        mark: what the ids of the model's elements begin with.
    """
    named = {"label": name, "elem_id": f"{mark}in-{name}"}
    build = COMPONENTS.get(model.modalities[name], _lines)
    return build(gradio, model.runtime.features.states[name], named)


def _picture(gradio: Any, state: State, named: dict[str, str]) -> Any:
    image = gradio.Image(type="filepath", image_mode=None, format="png", height=240, **named)
    # Gradio would open the file, and show its path where it cannot; plait's guard opens it.
    image.preprocess = lambda payload: payload and payload.path
    return image


def _dropdown(gradio: Any, state: State, named: dict[str, str]) -> Any:
    values = [str(value) for value in state.get("values", [])]
    return gradio.Dropdown(values, value=None, allow_custom_value=True, **named)


def _line(placeholder: str) -> Build:
    return lambda gradio, state, named: gradio.Textbox(placeholder=placeholder, **named)


def _lines(gradio: Any, state: State, named: dict[str, str]) -> Any:
    return gradio.Textbox(lines=3, **named)


COMPONENTS: dict[str, Build] = {
    "image": _picture,
    "audio": lambda gradio, state, named: gradio.Audio(type="filepath", **named),
    "video": lambda gradio, state, named: gradio.Video(**named),
    "signal": lambda gradio, state, named: gradio.File(type="filepath", **named),
    "numeric": _line("3.14"),  # no gradio.Number, whose empty field is a zero
    "categorical": _dropdown,
    "datetime": _line("2024-05-31"),
}
"""Modality → its component; any other is typed as some lines of text."""
