"""The training loop: seeded, resumable to the bit, and never led astray by a NaN."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import plait
from plait.answers.evaluation import validation_score
from plait.config import configure
from plait.data.store import PreparedColumn
from plait.data.targets.classes import Classes
from plait.errors import TrainError
from plait.model.encoders.registry import build_encoder, build_tabular
from plait.model.fusion import build_fusion
from plait.model.heads import build_head
from plait.model.infer import infer
from plait.model.loader import Loader
from plait.model.model import Model
from plait.training.loop import BAD_STEPS, Trainer
from plait.training.session import Session

ROWS, WIDTH = 48, 8


class Recorder:
    """A reporter that keeps what it is told, and may stop the run at a step."""

    def __init__(self, stop=None, error=KeyboardInterrupt):
        self.notes, self.steps, self.metrics = [], 0, []
        self.stop, self.error = stop, error

    @contextmanager
    def stage(self, title, total, unit):
        yield self

    def advance(self, amount=1, **metrics):
        if metrics:
            self.metrics.append(metrics)
            self.steps += 1
            if self.steps == self.stop:
                raise self.error

    def note(self, text):
        self.notes.append(text)


def data(image=True):
    generator = np.random.default_rng(0)
    target = generator.integers(0, 2, ROWS)
    lengths = generator.integers(0, 6, ROWS)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    columns = {
        "size": PreparedColumn(
            (target + generator.normal(0, 0.5, ROWS)).astype(np.float32)[:, None],
            None,
            generator.random(ROWS) < 0.8,
        ),
        "note": PreparedColumn(
            generator.integers(1, 9, offsets[-1]).astype(np.int32), offsets, lengths > 0
        ),
    }
    if image:
        pixels = generator.integers(0, 200, (ROWS, 8, 8, 1)) + 50 * target[:, None, None, None]
        columns["photo"] = PreparedColumn(
            pixels.astype(np.uint8), None, generator.random(ROWS) < 0.8
        )
    return columns, target.astype(np.int64)


def make_model(image=True, dropout=0.1, modality_dropout=0.2, unimodal_loss=0.3, width=WIDTH):
    size = {"width": width, "preset": "fast", "dropout": dropout}
    table = build_tabular([("numeric", {})], **size)
    table.hide = table.hide if dropout else 0.0
    encoders = {
        "tabular": table,
        "note": build_encoder("text", "transformer", {"vocabulary": 9, "max_tokens": 8}, **size),
    }
    if image:
        encoders["photo"] = build_encoder("image", "resnet", {"channels": 1, "size": 8}, **size)
    streams = {"tabular": ["size"], "note": ["note"], "photo": ["photo"]}
    return Model(
        streams={name: streams[name] for name in encoders},
        encoders=encoders,
        fusion=build_fusion("concat", dict.fromkeys(encoders, width), width=width, dropout=dropout),
        heads={"y": build_head("classify", width=width, outputs=2, dropout=dropout)},
        modality_dropout=modality_dropout,
        unimodal_loss=unimodal_loss,
    ).to(memory_format=torch.channels_last)


def noise(columns):
    """Augmentation that draws from torch's generator, as `plait.model.augment` does."""
    size = columns["size"]
    return columns | {
        "size": type(size)(size.values + 0.1 * torch.randn_like(size.values), size.mask)
    }


def make(
    *, model=None, target=None, columns=None, reporter=None, validate=None, checkpoint=None, log=None,
    epochs=2, patience=99, vary=noise, image=True, rows=ROWS, **options,
):  # fmt: skip
    made, truth = data(image)
    columns, target = columns or made, truth if target is None else target
    options = {"batch_size": 8, "device": "cpu", "checkpoint_seconds": 0.0} | options
    config = configure(**options)
    torch.manual_seed(config.seed)
    model = model or make_model(image)
    known = Classes("y", ("a", "b"))

    def look(now):
        found = infer(now, columns, np.arange(ROWS))["all"]
        return validation_score([known], {"y": (truth, np.ones(ROWS, bool))}, found)

    return Trainer(
        model,
        Loader(
            columns, {"y": target}, np.arange(rows), batch_size=config.batch_size, seed=config.seed
        ),
        validate or look,
        config,
        Session(
            epochs=epochs,
            patience=patience,
            reporter=reporter or Recorder(),
            checkpoint=checkpoint,
            log=log,
        ),
        vary=vary,
    )


def state_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def identical(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_it_learns():
    trainer = make(epochs=12, image=False)
    history = trainer.run().history
    assert len(history) == 12
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert trainer.progress.best_score[0] > 0.7


@pytest.mark.parametrize("optimizer", ["gd", "sgd", "rmsprop", "adam", "adamw"])
def test_every_optimizer_and_schedule_trains(optimizer):
    schedules = {"gd": "cosine", "sgd": "linear", "rmsprop": "constant", "adam": "onecycle"}
    schedule = schedules.get(optimizer, "cosine")
    trainer = make(
        optimizer=optimizer, schedule=schedule, epochs=2, image=False, batch_size=16, ema=None
    )
    before = state_of(trainer)
    at = trainer.run()
    assert at.updates == (2 if optimizer == "gd" else 6)
    after = state_of(trainer)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in after)


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    one, again, other = make(seed=4), make(seed=4), make(seed=5)
    for trainer in (one, again, other):
        trainer.run()
    identical(state_of(one), state_of(again))
    assert not torch.equal(
        state_of(one)["heads.0.project.2.weight"], state_of(other)["heads.0.project.2.weight"]
    )


def test_what_else_draws_random_numbers_does_not_matter():
    one, other = make(), make(reporter=Recorder())
    other.reporter.advance = lambda *_, **__: torch.rand(3)
    one.run(), other.run()
    identical(state_of(one), state_of(other))


# Resuming.


@pytest.mark.parametrize(
    ("optimizer", "stop"), [("adamw", 1), ("adamw", 6), ("adamw", 9), ("sgd", 9), ("rmsprop", 9)]
)
def test_a_resumed_run_ends_at_the_same_bits(tmp_path, optimizer, stop):
    """Stopped in an epoch, at its end, in a later one; then taken up in a new trainer."""
    whole = make(optimizer=optimizer)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        make(optimizer=optimizer, checkpoint=tmp_path, reporter=Recorder(stop)).run()
    torch.manual_seed(99)  # a new process would start from weights of its own
    resumed = make(optimizer=optimizer, checkpoint=tmp_path, model=make_model())
    assert resumed.resume()
    assert resumed.progress.epoch * 6 + resumed.progress.step == stop
    resumed.run()
    identical(state_of(whole), state_of(resumed))
    assert resumed.progress.updates == whole.progress.updates
    assert resumed.progress.history == whole.progress.history


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"accumulate": 4}, KeyboardInterrupt),
        ({"accumulate": 4}, SystemExit),
        ({"optimizer": "gd"}, KeyboardInterrupt),
        ({"ema": None, "clip": None}, SystemExit),
    ],
)
def test_a_run_stopped_between_two_updates_ends_at_the_same_bits(tmp_path, options, error):
    whole = make(**options)
    whole.run()
    with pytest.raises(error):
        make(checkpoint=tmp_path, reporter=Recorder(9, error), **options).run()
    resumed = make(checkpoint=tmp_path, model=make_model(), **options)
    assert resumed.resume()
    resumed.run()
    identical(state_of(whole), state_of(resumed))


@pytest.mark.parametrize("place", ["validate", "forward", "optimizer"])
def test_an_interrupt_in_the_middle_of_things_ends_at_the_same_bits(tmp_path, place, monkeypatch):
    """While the averaged weights stand in for the model's own, or half of a step is done."""
    whole = make()
    whole.run()
    broken = make(checkpoint=tmp_path)
    calls = []

    def interrupt(function):
        def call(*arguments, **options):
            calls.append(0)
            answer = function(*arguments, **options)
            if len(calls) == (1 if place == "validate" else 8):
                raise KeyboardInterrupt
            return answer

        return call

    if place == "validate":
        broken.validate = interrupt(broken.validate)
    elif place == "forward":
        broken.losses.forward = interrupt(broken.losses.forward)
    else:
        broken.stepper.step = interrupt(broken.stepper.step)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = make(checkpoint=tmp_path, model=make_model())
    assert resumed.resume()
    resumed.run()
    identical(state_of(whole), state_of(resumed))


def test_a_finished_run_taken_up_gives_the_same_model(tmp_path):
    whole = make(checkpoint=tmp_path)
    whole.run()
    again = make(checkpoint=tmp_path, model=make_model())
    assert again.resume()
    again.run()
    assert again.reporter.steps == 0
    identical(state_of(whole), state_of(again))


def test_nothing_to_resume(tmp_path):
    assert not make().resume()
    assert not make(checkpoint=tmp_path).resume()


def test_checkpoints_keep_their_distance(tmp_path, monkeypatch):
    for seconds, count in ((0.0, 2 * 6 + 2), (1e6, 2)):
        trainer = make(checkpoint=tmp_path, checkpoint_seconds=seconds)
        saved = []
        monkeypatch.setattr(trainer, "save", lambda saved=saved: saved.append(1))
        trainer.run()
        assert len(saved) == count


KILLED = """
import os, signal, sys
from contextlib import contextmanager
import plait

class Deadly:
    steps = 0
    @contextmanager
    def stage(self, title, total, unit):
        self.title = title
        yield self
    def advance(self, amount=1, **metrics):
        self.steps += bool(metrics)
        if self.steps == 11:
            os.kill(os.getpid(), signal.SIGKILL)
    def note(self, text):
        pass

plait.fit(sys.argv[1], "label", out=sys.argv[2], progress=Deadly(), **eval(sys.argv[3]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_fit_resumes_to_the_same_bits(tmp_path):
    generator = np.random.default_rng(0)
    lines = ["note,price,label"]
    for _ in range(60):
        label = generator.integers(0, 2)
        words = generator.choice(["red", "blue", "old", "new", "box", "jar"], 4)
        price = "" if generator.random() < 0.2 else f"{label + generator.normal(0, 1):.3f}"
        lines.append(f"{' '.join(words)} {'good' if label else 'bad'},{price},{'ab'[label]}")
    table = tmp_path / "train.csv"
    table.write_text("\n".join(lines))
    options = {
        "epochs": 3, "batch_size": 8, "width": 8, "preset": "fast", "checkpoint_seconds": 0.0, "device": "cpu",
        "threads": 1, "golden_rows": 1, "columns": {"note": "text", "price": "numeric"},
    }  # fmt: skip
    source = str(Path(plait.__file__).parents[1])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(table), str(tmp_path / "killed"), repr(options)],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    reporter = Recorder()
    resumed = plait.fit(
        table, "label", out=tmp_path / "killed", resume=True, progress=reporter, **options
    )
    assert any(note.startswith("resumed at epoch 2, step ") for note in reporter.notes)
    whole = plait.fit(table, "label", out=tmp_path / "whole", **options)
    identical(whole.model.state_dict(), resumed.model.state_dict())


# What is not finite.


def poisoned(where, row=13):
    """A table of which one row cannot be learnt from; without batch norm, so that it stays one."""
    columns, target = data(image=False)
    if where == "target":
        return columns, target.astype(np.float32), row
    columns["size"].values[row] = {"nan": np.nan, "inf": np.inf}[where]
    columns["size"].present[row] = True
    return columns, target, row


def number_model():
    model = make_model(image=False, dropout=0.0, modality_dropout=0.0, unimodal_loss=0.0)
    head = build_head("regress", width=WIDTH, outputs=1, dropout=0.0, kind="mse")
    return Model(
        streams=model.streams,
        encoders=dict(zip(model.streams, model.encoders, strict=True)),
        fusion=model.fusion,
        heads={"y": head},
    )


def score(model):
    return {"score": 0.0, "loss": 0.0}


@pytest.mark.parametrize("where", ["nan", "inf"])
def test_a_bad_row_is_named_and_its_batch_changes_nothing(where):
    columns, target, row = poisoned(where)
    reporter = Recorder()
    trainer = make(columns=columns, target=target, reporter=reporter, image=False, epochs=1, vary=None,
                   model=make_model(False, 0.0, 0.0, 0.0), validate=score)  # fmt: skip
    steps = list(trainer.loader.epoch())
    (bad,) = [step for step, batch in enumerate(steps) if row in batch.rows]
    for step, batch in enumerate(steps):
        trainer.progress.step = step
        before, average = (
            state_of(trainer),
            {k: v.clone() for k, v in trainer.average.state.items()},
        )
        trainer._step(batch)
        if step == bad:
            identical(before, state_of(trainer))
            identical(average, trainer.average.state)
            assert all(w.grad is None or not w.grad.any() for w in trainer.model.parameters())
    assert reporter.notes == [
        f"epoch 1, step {bad + 1}: the loss was not finite; this batch was left out. Rows: {row}"
    ]
    assert trainer.progress.updates == len(steps) - 1


def test_an_infinite_target_is_named_and_left_out():
    columns, target, row = poisoned("target")
    target[row] = np.inf
    reporter = Recorder()
    trainer = make(model=number_model(), columns=columns, target=target, reporter=reporter, image=False,
                   epochs=1, validate=score)  # fmt: skip
    trainer.run()
    (note,) = reporter.notes
    assert note.endswith(f"the loss was not finite; this batch was left out. Rows: {row}")
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def test_a_bad_batch_leaves_the_statistics_of_batch_norm_alone():
    columns, target = data()
    model = make_model(dropout=0.0, modality_dropout=0.0)
    reporter = Recorder()
    trainer = make(model=model, columns=columns, target=target, reporter=reporter)
    with torch.no_grad():
        model.heads[0].project[2].weight.fill_(torch.inf)
    before = state_of(trainer)
    trainer._step(next(trainer.loader.epoch()))
    identical(before, state_of(trainer))
    assert len(reporter.notes) == 1
    assert reporter.notes[0].endswith(" ...") is False  # eight rows are all named


def test_a_gradient_that_is_not_finite_is_left_out_too():
    reporter = Recorder()
    trainer = make(reporter=reporter, epochs=1)
    before = state_of(trainer)
    trainer.model.heads[0].project[2].weight.register_hook(lambda gradient: gradient * torch.nan)
    batch = next(trainer.loader.epoch())
    trainer._step(batch)
    identical(before, state_of(trainer))
    named = ", ".join(map(str, batch.rows))
    assert reporter.notes == [
        f"epoch 1, step 1: the gradient was not finite; this batch was left out. Rows: {named}"
    ]
    assert trainer.progress.updates == 0


def test_ten_bad_steps_in_a_row_end_the_training():
    columns, target = data(image=False)
    columns["size"].values[:] = np.nan
    columns["size"].present[:] = True
    trainer = make(
        columns=columns, target=target, image=False, epochs=9, batch_size=16, validate=score
    )
    before = state_of(trainer)
    with pytest.raises(TrainError) as caught:
        trainer.run()
    rows = ", ".join(map(str, next(iter(trainer.loader.epoch(3))).rows[:10]))
    assert BAD_STEPS == 10
    assert str(caught.value) == (
        f"epoch 4, step 1: the loss was not finite, 10 steps in a row. Rows of the last: {rows} .... Try a "
        "smaller lr, or look at those rows' numbers and target."
    )
    identical(before, state_of(trainer))


def test_a_good_step_forgives_the_bad_ones_before():
    trainer = make()
    trainer.progress.bad_steps = 9
    trainer._step(next(trainer.loader.epoch()))
    assert trainer.progress.bad_steps == 0


def test_a_bad_batch_does_not_take_its_neighbours_along():
    """The other batches of the same update still count."""
    columns, target, _row = poisoned("nan")
    trainer = make(
        columns=columns, target=target, image=False, epochs=1, optimizer="gd", validate=score
    )
    trainer.run()
    assert trainer.progress.updates == 1
    assert len(trainer.reporter.notes) == 1


# Steps and their gradients.


def plain(batch_size, rows=ROWS, **options):
    torch.manual_seed(0)
    return make(
        model=make_model(False, 0.0, 0.0, 0.0), image=False, vary=None, epochs=1, batch_size=batch_size,
        clip=None, ema=None, warmup=0.0, weight_decay=0.0, rows=rows, validate=score, **options,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [48, 43])
@pytest.mark.parametrize("optimizer", ["gd", "sgd"])
def test_gathered_batches_equal_the_whole_one(optimizer, rows):
    """Also when batches differ in size by a row."""
    small = plain(8, rows, optimizer=optimizer, accumulate=6)
    large = plain(64, rows, optimizer=optimizer)
    small.run(), large.run()
    assert small.progress.updates == large.progress.updates == 1
    for (name, one), other in zip(state_of(small).items(), state_of(large).values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4, msg=name)


def test_a_last_update_of_fewer_batches_is_as_large():
    """Five batches by fours: the fifth is an update of its own, not a quarter of one."""
    trainer = plain(10, accumulate=4, optimizer="sgd", momentum=0.0, schedule="constant", lr=0.1)
    batches = list(trainer.loader.epoch())
    for step, batch in enumerate(batches[:4]):
        trainer.progress.step = step
        trainer._step(batch)
    before = state_of(trainer)
    trainer.progress.step = 4
    trainer._step(batches[4])
    twin = plain(64)
    twin.model.load_state_dict(before)
    twin.model.row_losses(batches[4].columns, batches[4].targets)["y"].mean().backward()
    for name, weight in twin.model.named_parameters():
        want = before[name] - 0.1 * weight.grad
        torch.testing.assert_close(trainer.model.state_dict()[name], want, atol=1e-6, rtol=1e-4)


def test_gradient_descent_takes_the_full_gradient_once_an_epoch():
    trainer = plain(8, optimizer="gd", lr=0.1, schedule="constant")
    twin = make_model(False, 0.0, 0.0, 0.0)
    twin.load_state_dict(trainer.model.state_dict())
    (whole,) = plain(64).loader.epoch()
    twin.row_losses(whole.columns, whole.targets)["y"].mean().backward()
    want = {name: (w - 0.1 * w.grad).detach() for name, w in twin.named_parameters()}
    trainer.run()
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weight.detach(), want[name], atol=1e-6, rtol=1e-4)


def test_large_gradients_are_clipped():
    trainer = plain(8, optimizer="sgd", momentum=0.0, lr=1.0, schedule="constant")
    trainer.config = configure(**(trainer.config.model_dump() | {"clip": 0.01}))
    before = state_of(trainer)
    trainer._step(next(trainer.loader.epoch()))
    moved = sum((value - before[name]).square().sum() for name, value in state_of(trainer).items())
    assert 0.009 < float(moved) ** 0.5 < 0.0101


def test_the_rate_follows_the_schedule():
    trainer = make(schedule="linear", warmup=0.5, lr=0.01, epochs=2)
    rates = []
    for step, batch in enumerate(trainer.loader.epoch()):
        trainer.progress.step = step
        trainer._step(batch)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
    np.testing.assert_allclose(rates, [[0.01 * (step + 1) / 6] * 2 for step in range(6)])


def test_rows_without_a_target_do_not_dilute_the_loss():
    columns, target = data(image=False)
    target[::2] = -1
    trainer = plain(64, target=target, columns=columns)
    (batch,) = trainer.loader.epoch()
    known = batch.targets["y"] >= 0
    losses = trainer.model.row_losses(batch.columns, batch.targets)["y"]
    assert trainer._step(batch) == pytest.approx(losses[known].mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_numbers_and_labels_that_are_missing_do_not_dilute_the_loss(kind):
    from plait.training.loop import _mean_known

    target = torch.tensor([1.0, torch.nan, 0.0])
    target = target if kind == "regression" else target[:, None].expand(3, 2)
    assert _mean_known(torch.tensor([2.0, 0.0, 4.0]), target) == 3
    assert _mean_known(torch.zeros(3), target * torch.nan) == 0


# Epochs.


def scores(values):
    """A validation that gives these scores in turn."""
    left = iter(values)
    return lambda model: {"score": next(left), "loss": 1.0, "auroc": 0.5}


def test_the_best_epoch_is_restored():
    kept = []
    given = iter([0.1, 0.9, 0.3, 0.2])

    def validate(model):
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"score": next(given), "loss": 1.0}

    trainer = make(validate=validate, epochs=4)
    at = trainer.run()
    assert at.best_epoch == 1
    identical(kept[1], state_of(trainer))


def test_patience_ends_the_training():
    at = make(validate=scores([0.1, 0.9, 0.3, 0.8, 0.9, 1.0]), epochs=6, patience=2).run()
    assert (at.epoch, at.best_epoch, at.waited) == (4, 1, 2)


def test_at_equal_score_the_lower_loss_is_better():
    given = iter([2.0, 1.0, 3.0])
    at = make(validate=lambda model: {"score": 0.5, "loss": next(given)}, epochs=3).run()
    assert at.best_epoch == 1


def test_what_is_validated_are_the_averaged_weights():
    seen = []

    def validate(model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"score": 0.0, "loss": 0.0}

    trainer = make(validate=validate, epochs=1)
    trainer.run()
    identical(seen[0], trainer.average.state)
    seen.clear()
    without = make(validate=validate, epochs=1, ema=None)
    without.run()
    assert without.average is None


def test_a_limit_of_minutes_ends_after_an_epoch():
    trainer = make(max_minutes=1e-9, epochs=5)
    assert trainer.run().epoch == 1


def test_history_and_log_tell_every_epoch():
    logged = []
    trainer = make(
        log=lambda step, scalars: logged.append((step, dict(scalars))),
        validate=scores([0.1, 0.2, 0.3]),
        epochs=3,
    )
    history = trainer.run().history
    assert [line["epoch"] for line in history] == [1, 2, 3]
    shares = {"gradient/tabular", "gradient/note", "gradient/photo"}
    assert {"epoch", "train_loss", "lr", "score", "loss", "auroc", *shares} == set(history[0])
    assert sum(history[0][name] for name in shares) == pytest.approx(1)
    assert all(0 < history[0][name] < 1 for name in shares)
    assert [step for step, _ in logged] == [6, 12, 18]
    assert logged[0][1] == {key: value for key, value in history[0].items() if key != "epoch"}


def test_progress_counts_rows_and_shows_the_last_scores():
    reporter = Recorder()
    make(reporter=reporter, validate=scores([0.1, 0.2, 0.3]), epochs=3).run()
    assert reporter.steps == 18
    assert set(reporter.metrics[0]) == {"train"}
    assert reporter.metrics[-1]["score"] == 0.2


@pytest.mark.parametrize(("asked", "found"), [("fp32", "no"), ("auto", "no"), ("bf16", "bf16")])
def test_precision_is_the_one_asked_for(asked, found):
    trainer = make(precision=asked, epochs=1, image=False)
    assert trainer.accelerator.mixed_precision == found
    trainer.run()
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())
