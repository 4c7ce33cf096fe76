"""A tiny model of two streams and three targets, and a trainer for it."""

from contextlib import contextmanager

import numpy as np
import torch

from plait.answers.evaluation import validation_score
from plait.config import configure
from plait.data.store import PreparedColumn
from plait.data.targets.registry import KINDS as TARGETS
from plait.model.encoders.registry import build_tabular
from plait.model.fusion import build_fusion
from plait.model.heads import build_head
from plait.model.infer import infer
from plait.model.loader import Loader
from plait.model.model import Model
from plait.training.loop import Trainer
from plait.training.session import Session

ROWS, WIDTH = 40, 8
KINDS = {"kind": ("multiclass", 3), "size": ("regression", 1), "tags": ("multilabel", 2)}


class Recorder:
    """A reporter that may stop the run at a step."""

    def __init__(self, stop=None):
        self.notes, self.steps, self.stop = [], 0, stop

    @contextmanager
    def stage(self, title, total, unit):
        yield self

    def advance(self, amount=1, **metrics):
        if metrics:
            self.steps += 1
            if self.steps == self.stop:
                raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


def make_model(
    fusion="concat",
    targets=tuple(KINDS),
    streams=("one", "two"),
    unimodal_loss=0.3,
    shared=False,
    **dropped,
):
    dropout, hidden = dropped.get("dropout", 0.1), dropped.get("modality_dropout", 0.2)
    size = {"width": WIDTH, "preset": "fast", "dropout": dropout}
    encoders = {name: build_tabular([("numeric", {})], **size) for name in streams}
    for encoder in encoders.values():
        encoder.hide = encoder.hide if dropout else 0.0
    if shared:
        encoders = dict.fromkeys(streams, encoders[streams[0]])
    return Model(
        streams={name: [name] for name in streams},
        encoders=encoders,
        fusion=build_fusion(fusion, dict.fromkeys(streams, WIDTH), width=WIDTH, dropout=dropout),
        heads={
            name: build_head(
                TARGETS[KINDS[name][0]].head, width=WIDTH, outputs=KINDS[name][1], dropout=dropout
            )
            for name in targets
        },
        modality_dropout=hidden,
        unimodal_loss=unimodal_loss,
    )


def table(streams=("one", "two"), gaps=True):
    """Columns and goals; some cells and some goals are missing."""
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 3, ROWS)
    columns = {
        name: PreparedColumn(
            (kind + generator.normal(0, 0.3 + index, ROWS)).astype(np.float32)[:, None],
            None,
            generator.random(ROWS) < (0.85 if gaps else 2),
        )
        for index, name in enumerate(streams)
    }
    goals = {
        "kind": kind.astype(np.int64),
        "size": (kind + generator.normal(0, 0.1, ROWS)).astype(np.float32),
        "tags": np.stack([kind > 0, kind > 1], axis=1).astype(np.float32),
    }
    if gaps:
        goals["kind"][::7], goals["size"][::5], goals["tags"][::3] = -1, np.nan, np.nan
    return columns, goals


def make_trainer(
    model, *, checkpoint=None, stop=None, epochs=2, goals=None, streams=("one", "two"), **options
):
    columns, found = table(streams)
    found = {name: (goals or found)[name] for name in model.targets}
    config = configure(
        **{"batch_size": 10, "device": "cpu", "checkpoint_seconds": 0.0, "threads": 1} | options
    )
    names = {name: tuple("abc"[: KINDS[name][1]]) for name in model.targets}
    known = [
        TARGETS[KINDS[name][0]](name, names[name] if KINDS[name][1] > 1 else ())
        for name in model.targets
    ]

    def look(now):
        answers = infer(now, columns, np.arange(ROWS))["all"]
        there = {
            name: (values, (values >= 0) if values.dtype == np.int64 else ~np.isnan(values.reshape(ROWS, -1)).any(1))
            for name, values in found.items()
        }  # fmt: skip
        return validation_score(known, there, answers)

    return Trainer(
        model,
        Loader(columns, found, np.arange(30), batch_size=config.batch_size, seed=config.seed),
        look,
        config,
        Session(epochs=epochs, patience=99, reporter=Recorder(stop), checkpoint=checkpoint),
        held=Loader(columns, found, np.arange(30, ROWS), batch_size=5, seed=None),
    )


def seeded(seed=0, **options):
    torch.manual_seed(seed)
    return make_model(**options)


def identical(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def ends_at_the_same_bits(folder, stop, options, **model):
    """A run stopped at a step and taken up by a fresh trainer ends as an unbroken one."""
    whole = make_trainer(seeded(**model), **options)
    whole.run()
    broken = make_trainer(seeded(**model), checkpoint=folder, stop=stop, **options)
    try:
        broken.run()
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the run was not stopped")
    resumed = make_trainer(seeded(99, **model), checkpoint=folder, **options)
    assert resumed.resume()
    resumed.run()
    identical(whole.model, resumed.model)
    assert whole.progress.history == resumed.progress.history
    return whole, resumed


def batch(rows=12, streams=("one", "two"), gaps=True):
    """One batch of `table`."""
    columns, goals = table(streams, gaps)
    return next(Loader(columns, goals, np.arange(rows), batch_size=rows, seed=None).epoch())
