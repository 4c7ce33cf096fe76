"""What is said to be the same for every method is the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from plait.config import Config, configure
from plait.data.features import Features, settings_for
from plait.data.table.source import open_table
from plait.experiments.comparison.run import Run, config_for, flops, plan_for
from plait.model.assemble import build
from plait.model.augment import augment
from plait.model.blueprint import Blueprint, plan_model
from plait.model.fusion.registry import FUSIONS
from plait.model.loader import Loader, collate
from plait.training.dataset import Dataset, read_dataset
from plait.training.loop import Trainer
from plait.training.session import Session


@dataclass
class Made:
    config: Config
    data: Dataset
    features: Features
    plan: Blueprint
    columns: Any
    goals: Any

    def model(self, run):
        plan, config = plan_for(self.plan, run), config_for(self.config, run)
        encoded = {name: values[self.data.train] for name, values in self.goals.items()}
        return build(plan, self.features, self.data.targets, config=config, encoded=encoded)


@pytest.fixture(scope="module")
def made(maker, tmp_path_factory):
    """A table of every modality made ready, not fitted."""
    folder = tmp_path_factory.mktemp("controls")
    table = open_table(maker.csv(folder, "train.csv", maker.rows(folder, 24, gaps=0.2)))
    config = configure(
        preset="fast", batch_size=8, modality_dropout=0.5, dropout=0.2,
        ignore=("score", "tags", "voice"),
    )  # fmt: skip
    data = read_dataset(table, ["label"], config)
    settings = settings_for(table, config)
    features = Features.fit(table, data.schema.inputs, data.train, settings)
    goals = {target.name: target.goal(*data.encoded[target.name]) for target in data.targets}
    prepared = features.prepare(table, settings)
    return Made(config, data, features, plan_model(config, features), prepared.columns, goals)


def states(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def reference(made):
    """The model of `concat`, as it starts."""
    torch.manual_seed(1)
    return made.model(Run("fusion", "concat", 5))


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "concat"])
def test_encoders_and_heads_start_alike_for_every_fusion(made, reference, fusion):
    torch.manual_seed(2)  # what went before must not matter
    other = made.model(Run("fusion", fusion, 5))
    assert same(states(reference.encoders), states(other.encoders))
    assert same(states(reference.heads), states(other.heads))
    if other.voices is not None:
        assert same(states(reference.voices), states(other.voices))


def test_another_seed_starts_elsewhere_and_the_same_one_at_the_same_place(made):
    first, again = (made.model(Run("fusion", "late", 5)) for _ in range(2))
    other = made.model(Run("fusion", "late", 6))
    assert same(states(first), states(again))
    for part in ("encoders", "fusion", "heads"):
        assert not same(states(getattr(first, part)), states(getattr(other, part)))


def test_parts_of_one_kind_start_differently(made):
    """A seed a part must not give two equal parts the same weights."""
    model = made.model(Run("fusion", "late", 5))
    weights = [p for p in model.parameters() if p.ndim > 1]
    for number, weight in enumerate(weights):
        alike = [w for w in weights[:number] if w.shape == weight.shape and torch.equal(w, weight)]
        assert not alike


def test_a_stream_alone_starts_from_the_same_encoder(made):
    whole = made.model(Run("fusion", "concat", 5))
    for stream, encoder in zip(whole.streams, whole.encoders, strict=True):
        alone = made.model(Run("alone", stream, 5))
        assert list(alone.streams) == [stream]
        assert same(states(alone.encoders[0]), states(encoder))
        assert same(states(alone.heads), states(whole.heads))
        assert alone.modality_dropout == 0.0 and alone.fusion.widths.keys() == {stream}


def test_a_model_that_only_answers_leaves_the_generator_to_the_caller(made):
    def weights():
        torch.manual_seed(3)
        return states(build(made.plan, made.features, made.data.targets))

    assert same(weights(), weights())


def seen_by_fusion(made, run):
    """What the fusion was given at each step of two epochs, before anything is learnt."""
    model = made.model(run)
    loader = Loader(made.columns, made.goals, made.data.train, batch_size=8, seed=run.seed)
    config = config_for(made.config, run).model_copy(update={"lr": 1e-10, "ema": None})
    seen = []

    def note(module, arguments):
        if module.training:
            seen.append({name: (s.values.detach(), s.mask) for name, s in arguments[0].items()})

    model.fusion.register_forward_pre_hook(note)
    trainer = Trainer(
        model,
        loader,
        lambda learner: {"score": 0.0, "loss": 0.0},
        config,
        Session(epochs=2, patience=9),
        vary=lambda columns: augment(columns, made.features.modalities, made.features.states),
    )
    trainer.run()
    return seen


@pytest.fixture(scope="module")
def ours(made):
    """What `concat` was given."""
    return seen_by_fusion(made, Run("fusion", "concat", 3))


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "concat"])
def test_batches_augmentation_and_modality_dropout_are_the_same_draws(
    made, ours, fusion, unwatched
):
    """All are drawn before the fusion draws, and the next step starts from a seed of its own."""
    theirs = seen_by_fusion(made, Run("fusion", fusion, 3))
    assert len(ours) == len(theirs) > 3
    for one, other in zip(ours, theirs, strict=True):
        for stream, (values, mask) in one.items():
            assert torch.equal(mask, other[stream][1])
            there = mask.unsqueeze(-1)
            # The learning rate is next to nothing, so the encoders stay where they started.
            torch.testing.assert_close(values * there, other[stream][0] * there, atol=1e-5, rtol=0)
    masks = [mask for step in ours for _, mask in step.values()]
    assert any((~mask.any(dim=1)).any() for mask in masks)


def test_another_seed_draws_otherwise(made, ours):
    theirs = seen_by_fusion(made, Run("fusion", "concat", 4))[0]
    assert any(
        mask.shape != theirs[name][1].shape or not torch.equal(mask, theirs[name][1])
        for name, (_, mask) in ours[0].items()
    )


@pytest.mark.parametrize("name", FUSIONS)
def test_the_work_of_every_fusion_can_be_counted(made, name):
    found = flops(made.model(Run("fusion", name, 0, "")), collate(made.columns, np.array([0])))
    assert found["flops"] > found["fusion_flops"] > 0
