"""`plait.register`: a fusion, an encoder and a modality of somebody else's, from fit to loaded bundle."""

import numpy as np
import pytest
import torch
from torch import nn

import plait
from plait.data.modalities.base import Evidence, Modality, Prepared, Problem, is_missing
from plait.data.modalities.registry import MODALITIES
from plait.errors import ConfigError, PlaitError
from plait.model.encoders.registry import ENCODERS
from plait.model.fusion.registry import FUSIONS
from plait.model.tokens import Tokens
from plait.testing import check_encoder, check_fusion, check_modality


class Average(plait.fusion.Mean):
    """Mean of the streams under another name."""


class Scaled(plait.Encoder):
    """Mean and spread of all numbers of a cell, as one token."""

    def __init__(self, width, dropout):
        super().__init__()
        self.width = width
        self.project = nn.Linear(2, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns):
        values, mask = columns[0]
        flat = values.float().flatten(1)
        seen = torch.stack([flat.mean(dim=1), flat.std(dim=1)], dim=1)
        return Tokens(self.dropout(self.project(seen)).unsqueeze(1), mask.unsqueeze(1))


class Colour(Modality):
    """Colours as #rrggbb, three numbers."""

    name = "colour"

    def matches(self, column, cells, settings):
        known = [c for c in cells if isinstance(c, str) and len(c) == 7 and c[0] == "#"]
        return Evidence(1.0, "cells are colours") if cells and len(known) == len(cells) else None

    def fit(self, cells, settings):
        return {}

    def prepare(self, cells, state, settings):
        values = np.zeros((len(cells), 3), np.float32)
        present = np.zeros(len(cells), bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            try:
                values[row] = [int(str(cell)[at : at + 2], 16) / 255 for at in (1, 3, 5)]
                present[row] = True
            except ValueError:
                problems.append(Problem(row, "it is no colour such as #ff8800"))
        return Prepared(values, None, present, problems)

    def describe(self, state):
        return "three numbers from 0 to 1"

    def _restore(self, prepared, state):
        return ["#" + bytes((255 * row).round().astype(np.uint8)).hex() for row in prepared.values]


@pytest.fixture
def put_back():
    yield
    for registry in (FUSIONS, MODALITIES, *ENCODERS.values()):
        for name in ("average", "colour", "scaled"):
            if name in registry:
                del registry[name]
    ENCODERS.pop("colour", None)


def test_parts_of_ones_own_keep_the_contracts(tmp_path):
    check_fusion(Average)
    images = torch.randint(0, 256, (5, 13, 13, 1), dtype=torch.uint8)
    column = plait.model.tokens.ColumnBatch(images, torch.ones(5, dtype=torch.bool))
    check_encoder(lambda dropout: Scaled(16, dropout), [column])
    check_modality(
        Colour(), ["#ff0000", "#00ff00", "#102030"], ["red", 7, "#zzzzzz"], root=tmp_path
    )


def test_a_fusion_is_used_by_name_and_missed_by_name(maker, tmp_path, put_back):
    plait.register("average", Average)
    model = maker.fit(maker.plain(24), "label", out=tmp_path / "run", fusion="average")
    want = model.predict(maker.plain(4))
    assert np.array_equal(plait.load(tmp_path / "run").predict(maker.plain(4)), want)
    del FUSIONS["average"]
    with pytest.raises(PlaitError) as caught:
        plait.load(tmp_path / "run")
    assert str(caught.value) == (
        f"the bundle {tmp_path / 'run'} was made with fusion 'average', which is not registered here: "
        "plait.register it, or install the package that brings it."
    )


def colours(rows):
    return [{**row, "paint": ("#1010f0", "#f02010")[row["label"] == "yes"]} for row in rows]


def test_a_modality_and_its_encoder_are_fitted_saved_and_missed_by_name(maker, tmp_path, put_back):
    plait.register("colour", Colour())
    plait.register(
        "scaled", lambda state, width, size, dropout: Scaled(width, dropout), modality="colour"
    )
    rows = colours(maker.plain(32))
    model = maker.fit(rows, "label", out=tmp_path / "run", epochs=3, report="en")
    assert model.schema.inputs["paint"] == "colour"
    assert model.evaluate(rows)["accuracy"] > 0.6
    want = model.predict(rows[:4])
    again = plait.load(tmp_path / "run")
    assert np.array_equal(again.predict(rows[:4]), want)
    del MODALITIES["colour"]
    with pytest.raises(PlaitError) as caught:
        plait.load(tmp_path / "run").predict(rows[:4])
    assert "was made with modality 'colour', which is not registered here" in str(caught.value)


def test_an_encoder_for_images_is_used_by_name(maker, braid, put_back):
    plait.register(
        "scaled", lambda state, width, size, dropout: Scaled(width, dropout), modality="image"
    )
    model = maker.fit(
        braid / "train.csv",
        "label",
        encoders={"image": "scaled"},
        ignore=("score", "tags", "voice", "note", "pulse"),
    )
    assert any(isinstance(part, Scaled) for part in model.model.modules())


class Warm(plait.fusion.Mean):
    """Needs an option that plait does not know of."""

    def __init__(self, widths, *, width, dropout, temperature):
        super().__init__(widths, width=width, dropout=dropout)


class Dry(plait.Fusion):
    """Takes no dropout, as its base does not."""

    def forward(self, tokens):
        raise NotImplementedError


class Unfinished(plait.Fusion):
    """Abstract: it fuses nothing."""


def build(state, width, size, dropout, *, depth):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "part", "modality", "problem"),
    [
        (
            "mine",
            Unfinished,
            None,
            "fusion 'mine': Unfinished is abstract: it does not define forward",
        ),
        (
            "mine",
            plait.Target,
            None,
            "kind of target 'mine': Target is abstract: it does not define ",
        ),
        (
            "mine",
            Warm,
            None,
            "fusion 'mine': plait calls it with (widths, width=, dropout=), but its signature is (widths, "
            "*, width, dropout, temperature): missing a required argument: 'temperature'",
        ),
        ("mine", Dry, None, "got an unexpected keyword argument 'dropout'"),
        (
            "mine",
            build,
            "image",
            "image encoder 'mine': plait calls it with (state, width, size, dropout), but its signature is "
            "(state, width, size, dropout, *, depth): missing a required argument: 'depth'",
        ),
        ("mine", lambda state, width: None, "image", "too many positional arguments"),
        ("mine", build, "imge", "register: unknown modality 'imge'. Did you mean 'image'?"),
        ("mine", build, ["image"], "register: unknown modality '['image']'."),
        (
            "mine",
            build,
            "numeric",
            "register: 'mine' cannot read numeric columns: all tabular columns",
        ),
        (3, Average, None, "register: a name is text, such as 'mine', got 3"),
        (Average, "average", None, "register: a name is text, such as 'mine', got <class '"),
        (None, Colour(), None, "register: a name is text, such as 'mine', got None"),
    ],
)
def test_what_could_not_be_used_is_refused_at_once(name, part, modality, problem, unchecked_shapes):
    before = [list(registry) for registry in (FUSIONS, MODALITIES, ENCODERS, ENCODERS["image"])]
    with pytest.raises(ConfigError) as caught:
        plait.register(name, part, modality=modality)
    assert problem in str(caught.value)
    after = [list(registry) for registry in (FUSIONS, MODALITIES, ENCODERS, ENCODERS["image"])]
    assert after == before


def test_what_is_no_part_is_refused():
    with pytest.raises(ConfigError) as caught:
        plait.register("mine", "concat")
    assert (
        "register: 'mine' must be a class derived from plait.Fusion or plait.Target, a Modality object, or, with modality=, "
        "a function that builds an encoder; got 'concat'" in str(caught.value)
    )
    with pytest.raises(ConfigError, match="fusion 'concat': there is one of that name already"):
        plait.register("concat", Average)
    with pytest.raises(ConfigError, match="modality 'paint': the object calls itself 'colour'"):
        plait.register("paint", Colour())
    with pytest.raises(ConfigError, match="image encoder 'mine': must be a function"):
        plait.register("mine", Scaled, modality="image")
