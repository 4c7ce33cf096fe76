"""Taking a model apart, leaving out what is not used, and keeping transformers quiet."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from plait.errors import CheckpointError
from plait.model.pretrained import image, text
from plait.model.pretrained.configure import silence
from plait.model.pretrained.tower import layers, set_unused_aside


def sizes(model: nn.Module) -> list[int]:
    return [sum(weight.numel() for weight in part.parameters()) for part in layers(model)]


def row(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(width, 1, bias=False) for width in widths))


def test_a_model_without_layers_is_one_part() -> None:
    model = nn.Linear(3, 2)
    assert layers(model) == [model]


def test_lists_before_the_largest_are_parts_of_their_own() -> None:
    """timm's ResNet: stem, layer1, layer2; the last one counts by its blocks."""
    model = nn.Module()
    model.stem, model.layer1, model.layer2, model.norm = (
        nn.Linear(2, 1, bias=False),
        row(3, 4),
        row(50, 60),
        nn.LayerNorm(5),
    )
    model.mark = nn.Parameter(torch.zeros(7))
    assert sizes(model) == [7 + 2, 3 + 4, 50, 60 + 10]


def test_tables_of_positions_behind_the_layers_come_first() -> None:
    model = nn.Module()
    model.words, model.encoder, model.norm = nn.Embedding(2, 1), nn.Module(), nn.LayerNorm(3)
    model.encoder.layer, model.encoder.rel_embeddings = (
        nn.ModuleList(row(20, 30)),
        nn.Embedding(5, 1),
    )
    model.encoder.drop = nn.Dropout()
    assert sizes(model) == [2 + 5, 20, 30 + 6]
    assert layers(model)[1] is model.encoder.layer[0]


def test_layers_alone() -> None:
    model = nn.Module()
    model.layer = nn.ModuleList([nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)])
    assert layers(model) == [model.layer[0], model.layer[2]]


def test_unused_weights_become_constants() -> None:
    model = nn.Module()
    model.used, model.head = nn.Linear(2, 2), nn.Linear(2, 5)
    model.tied = nn.Linear(2, 2)
    model.tied.weight = model.used.weight
    before = model.head.weight.clone()
    aside = set_unused_aside(model, lambda module: module.used(torch.ones(1, 2)))
    assert aside == {"head.weight", "head.bias", "tied.bias"}
    assert set(model.state_dict()) == {"used.weight", "used.bias", "tied.weight"}
    assert torch.equal(model.head.weight, before) and not model.head.weight.requires_grad
    assert model.head(torch.ones(1, 2)).shape == (1, 5)


class Dumb(nn.Module):
    """A model with other outputs than plait reads."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given

    def forward(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(**self.given)


@pytest.mark.parametrize("given", [{}, {"last_hidden_state": torch.zeros(1, 3)}])
def test_outputs_that_are_no_tokens(given: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as caught:
        image._tokens(Dumb(**given), torch.zeros(1, 3, 4, 4), {})
    assert (
        str(caught.value)
        == "the model Dumb gives no last_hidden_state of tokens, which plait needs."
    )
    ids = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(CheckpointError) as caught:
        text._hidden(Dumb(**given), ids, None)
    assert str(caught.value) == (
        "the model Dumb gives no last_hidden_state for each token, which plait needs."
    )


@pytest.mark.parametrize("shown", [True, False])
def test_silence_leaves_all_as_it_was(shown: bool) -> None:
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        with pytest.raises(KeyError), silence():
            assert not logging.is_progress_bar_enabled()
            raise KeyError
        assert logging.is_progress_bar_enabled() is shown and logging.get_verbosity() == level
    finally:
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
