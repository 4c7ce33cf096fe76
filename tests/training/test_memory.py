"""A batch that does not fit into memory is learnt in parts: the same step, and said."""

import pytest
import torch
from training.test_loop import Recorder, identical, make, make_model, noise, state_of

from plait.devices import is_out_of_memory
from plait.errors import TrainError


def plain(**options):
    """A trainer in which nothing depends on which rows share a batch."""
    torch.manual_seed(0)
    model = make_model(image=False, dropout=0.0, modality_dropout=0.0)
    given = {"image": False, "model": model, "vary": None, "batch_size": 16, "optimizer": "sgd"}
    return make(**(given | options))


def short_of_memory(trainer, most, error=None):
    """Let the model refuse more rows than ``most`` in training, as a full device does."""
    inner, sizes = trainer.losses.forward, []

    def forward(columns, targets):
        rows = len(next(iter(targets.values())))
        sizes.append(rows)
        if rows > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return inner(columns, targets)

    trainer.losses.forward = forward
    return sizes


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, short):
    assert is_out_of_memory(error) is short


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_is_the_one_that_a_larger_memory_would_make(accumulate):
    whole = plain(accumulate=accumulate)
    whole.run()
    parts = plain(accumulate=accumulate)
    sizes = short_of_memory(parts, most=5)
    parts.run()
    assert parts.progress.splits == 4 and max(sizes[4:]) <= 5
    assert whole.progress.updates == parts.progress.updates
    for name, value in state_of(whole).items():
        torch.testing.assert_close(value, state_of(parts)[name], atol=2e-5, rtol=1e-4)
    for one, other in zip(whole.progress.history, parts.progress.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_it_is_said_once():
    trainer = plain()
    short_of_memory(trainer, most=5)
    trainer.run()
    assert trainer.reporter.notes == [
        "out of memory with 16 rows at once: from now on 4 parts of 4, with one step for all of them as "
        "before"
    ]


def test_running_out_in_the_middle_of_a_step_forgets_half_done_work():
    """The second batch of a step fails; the first one's gradients are not counted twice."""
    whole = plain(accumulate=2)
    whole.run()
    late = plain(accumulate=2)
    inner, calls = late.losses.forward, []

    def forward(columns, targets):
        calls.append(len(next(iter(targets.values()))))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(columns, targets)

    late.losses.forward = forward
    late.run()
    assert late.progress.splits == 2 and calls[:6] == [16, 16, 8, 8, 8, 8]
    for name, value in state_of(whole).items():
        torch.testing.assert_close(value, state_of(late)[name], atol=2e-5, rtol=1e-4)


def test_a_single_row_that_does_not_fit_ends_the_training_in_words():
    trainer = plain()
    short_of_memory(trainer, most=0)
    with pytest.raises(TrainError) as caught:
        trainer.run()
    assert str(caught.value) == (
        "out of memory with a single row. Use a smaller encoder, tune less of it (--tune image=lora, or "
        "frozen), set gradient_checkpointing=true, or use a machine with more memory."
    )


def test_other_errors_are_passed_on():
    trainer = plain()
    short_of_memory(trainer, most=5, error=RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer.run()
    trainer = plain()
    inner = trainer.losses.forward

    def forward(columns, targets):
        if len(next(iter(targets.values()))) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        raise RuntimeError("shapes differ")

    trainer.losses.forward = forward
    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer.run()
    assert inner is not None


def test_a_resumed_run_keeps_its_parts(tmp_path):
    def trainer(**options):
        made = make(
            image=False, model=make_model(image=False), vary=noise, batch_size=16, **options
        )
        short_of_memory(made, most=9)
        return made

    torch.manual_seed(0)
    whole = trainer()
    whole.run()
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        trainer(checkpoint=tmp_path, reporter=Recorder(4)).run()
    resumed = trainer(checkpoint=tmp_path)
    assert resumed.resume() and resumed.progress.splits == 2
    resumed.run()
    identical(state_of(whole), state_of(resumed))


def test_a_bad_row_in_one_part_leaves_the_others():
    trainer = plain(epochs=1)
    sizes = short_of_memory(trainer, most=9)
    losses = trainer.losses.forward

    def forward(columns, targets):
        found = losses(columns, targets)
        if len(sizes) == 3:  # the second part of the first batch
            found = {name: loss * float("nan") for name, loss in found.items()}
        return found

    trainer.losses.forward = forward
    at = trainer.run()
    assert at.updates == 3 and at.history
    assert any("the loss was not finite" in note for note in trainer.reporter.notes)
    assert all(value.isfinite().all() for value in state_of(trainer).values())
