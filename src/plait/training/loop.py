"""The one training loop: seeded, resumable at any step, and never led astray by a NaN."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from plait.config import Config
from plait.devices import choose_device, is_out_of_memory
from plait.errors import TrainError
from plait.model.encoders.base import Encoder, learnt_state, load_learnt
from plait.model.heads.rules import known_rows
from plait.model.loader import Batch, Loader
from plait.model.model import Trainable
from plait.model.tokens import ColumnBatch
from plait.training.balance import build_balance, watched
from plait.training.checkpoint import load_state, save_state
from plait.training.multitask import Tasks
from plait.training.optim import AveragedWeights, build_optimizer, schedule
from plait.training.session import Progress, Session, Validate, Vary

BAD_STEPS = 10
"""So many steps in a row without a finite loss end the training: rows are shuffled, so a few bad
rows leave good batches between them, and only weights that are lost themselves fail every time."""


class Losses(nn.Module):
    """The model seen as a function from a batch to row losses, so that wrappers may wrap it."""

    def __init__(self, model: Trainable) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, columns: dict[str, ColumnBatch], targets: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Each target's loss a row."""
        return self.model.row_losses(columns, targets)


class Trainer:
    """Trains a model in place and leaves it with the weights of its best epoch.

    Args:
        vary: augments the columns of a batch; None leaves them as they are.
        held: the held-out rows, in order; only ``balance="blending"`` needs them.
    """

    def __init__(
        self,
        model: Trainable,
        loader: Loader,
        validate: Validate,
        config: Config,
        session: Session,
        *,
        vary: Vary | None = None,
        held: Loader | None = None,
    ) -> None:
        self.model = model
        self.loader = loader
        self.validate = validate
        self.config = config
        self.session = session
        self.epochs = session.epochs
        self.reporter = session.reporter
        self.checkpoint = session.checkpoint
        self.vary = vary
        self.accelerator = _accelerator(config)
        self.device = self.accelerator.device
        self.model.to(self.device)
        # Gradient descent proper takes one step per epoch, on the gradient of all rows.
        self.every = len(loader) if config.optimizer == "gd" else config.accumulate
        self.usual = max(1.0, len(loader.rows) / len(loader))
        """Rows in a batch, give or take one; batches weigh by their rows."""
        self.optimizer = build_optimizer(model, config)
        # The last updates of an epoch may have fewer batches: each epoch ends with an update.
        steps = self.epochs * -(-len(loader) // self.every)
        self.factor = schedule(config, steps)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.losses, self.stepper = self.accelerator.prepare(Losses(model), self.optimizer)
        self.tasks = Tasks(model, config)
        self.balance = watched(model, build_balance(model, config, held))
        self.average = AveragedWeights(model, config.ema) if config.ema else None
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        self._saved = time.monotonic()
        self._seen = 0
        """Rows whose gradients wait for an update."""
        self._window: list[tuple[int, Batch]] = []
        """Step and batch of each whose gradients wait."""
        self._before: list[tuple[Tensor, Tensor]] = []
        """Buffers and what they held before the last batch."""
        self._whole = True
        """Whether a checkpoint made now could be taken up: no gradient waits, nothing is half done."""

    def resume(self) -> bool:
        """Take up the last checkpoint; False when there is none."""
        state = load_state(self.checkpoint) if self.checkpoint else None
        if state is None:
            return False
        # Frozen backbones are not in the checkpoint; they come from their own files.
        load_learnt(self.model, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.state = {k: v.to(self.device) for k, v in state["average"].items()}
            self.average.steps = state["average_steps"]
        self.tasks.load(state["tasks"])
        self.balance.load(state["balance"])
        self.best = state["best"]
        self.progress = Progress(**state["position"])
        return True

    def save(self) -> None:
        """Write a checkpoint now."""
        self._saved = time.monotonic()
        if not self.checkpoint or not self.accelerator.is_main_process:
            return
        save_state(
            self.checkpoint,
            {
                "model": learnt_state(self.model),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.state if self.average else {},
                "average_steps": self.average.steps if self.average else 0,
                "tasks": self.tasks.state(),
                "balance": self.balance.state(),
                "best": self.best,
                "position": asdict(self.progress),
            },
        )

    def run(self) -> Progress:
        """Train to the end, or to where patience or time runs out.

        Raises:
            TrainError: the loss was not finite for many steps in a row.
            KeyboardInterrupt: passed on, after a checkpoint is saved, unless it came in the middle of an
                update; then the last checkpoint stands.
        """
        rows = len(self.loader.rows)
        with self.reporter.stage(self.session.title, rows * self.epochs, "rows") as stage:
            stage.advance(rows * self.progress.epoch)
            try:
                while self.progress.epoch < self.epochs and not self._finished():
                    self._epoch(stage.advance)
            except KeyboardInterrupt:
                # A half-done update cannot be resumed: gradients that wait are not saved.
                if self._whole:
                    self.save()
                raise
        if self.best:
            load_learnt(self.model, self.best)
        return self.progress

    def _finished(self) -> bool:
        over = (
            self.config.max_minutes is not None
            and self.progress.seconds > 60 * self.config.max_minutes
        )
        return over or self.progress.waited >= self.session.patience

    def _epoch(self, advance: Callable[..., None]) -> None:
        began = time.monotonic()
        for part in self.model.modules():
            if isinstance(part, Encoder):
                part.start_epoch(self.progress.epoch)
        self.model.train()
        shown = {name: v for name, v in self._last().items() if name in ("loss", "score")}
        for batch in self.loader.epoch(self.progress.epoch, self.progress.step):
            self._whole = False
            self.progress.loss_sum += self._step(batch)
            self.progress.step += 1
            self._whole = self._seen == 0
            advance(len(batch.rows), train=self.progress.loss_sum / self.progress.step, **shown)
            if self._whole and time.monotonic() - self._saved > self.config.checkpoint_seconds:
                self.progress.seconds += time.monotonic() - began
                began = time.monotonic()
                self.save()
        self._whole = False
        self._close_epoch()
        self._whole = True
        self.progress.seconds += time.monotonic() - began
        self.progress.clock.append(self.progress.seconds)
        self.save()

    def _last(self) -> dict[str, float]:
        return self.progress.history[-1] if self.progress.history else {}

    def _step(self, batch: Batch) -> float:
        """One batch; returns its mean loss, or 0 when it was not finite and was left out."""
        self._window.append((self.progress.step, batch))
        try:
            loss = self._learn(self.progress.step, batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            loss = self._learn_in_parts(error)
        last = self.progress.step + 1 == len(self.loader)
        if last or (self.progress.step + 1) % self.every == 0:
            if self._seen:
                self._update(batch)
            self._window.clear()
        return loss

    def _learn(self, step: int, batch: Batch) -> float:
        """Add the gradients of a batch to those that wait, in as many parts as memory asks for."""
        # By step: dropout after a resume draws as in an unbroken run.
        torch.manual_seed(_mix(self.config.seed, self.progress.epoch, step))
        # Once memory ran out it would again: the split is kept, and saved with the progress.
        parts = batch.split(self.progress.splits)
        return sum(self._gradients(part) * len(part.rows) for part in parts) / len(batch.rows)

    def _learn_in_parts(self, error: BaseException) -> float:
        """Forget what waits, and learn from it again in batches of half the size or less.

        Raises:
            TrainError: not even one row fits.
        """
        rows = max(len(batch.rows) for _, batch in self._window)
        while self.progress.splits < rows:
            self.stepper.zero_grad()
            self._seen = 0
            self.progress.splits *= 2
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            try:
                losses = [self._learn(step, batch) for step, batch in self._window]
            except (MemoryError, RuntimeError) as again:
                if not is_out_of_memory(again):
                    raise
                continue
            self.reporter.note(
                f"out of memory with {rows} rows at once: from now on {self.progress.splits} parts of "
                f"{-(-rows // self.progress.splits)}, with one step for all of them as before"
            )
            return losses[-1]
        raise TrainError(
            "out of memory with a single row. Use a smaller encoder, tune less of it (--tune "
            "image=lora, or frozen), set gradient_checkpointing=true, or use a machine with more "
            "memory."
        ) from error

    @property
    def _sums(self) -> bool:
        """Whether gradients of several batches, or parts of one, add up to a step."""
        return self.every > 1 or self.progress.splits > 1

    def _gradients(self, batch: Batch) -> float:
        """Forward and backward; returns the mean loss, or 0 when it was not finite."""
        batch = batch.to(self.device)
        columns = self.vary(batch.columns) if self.vary else batch.columns
        # Batch statistics change in the forward pass, before the loss is known to be finite.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        with self.balance.listen(), self.accelerator.autocast():
            losses = self.losses(columns, batch.targets)
        means = {k: _mean_known(losses[k], batch.targets.get(k)) for k in losses}
        loss = torch.stack(list(means.values())).sum()
        self._before = buffers
        if not bool(loss.isfinite()):
            self._leave_out(batch, losses, buffers)
            return 0.0
        self.balance.observe(batch.targets)
        there = self.tasks.there(batch.targets)
        # Batches differ by a row: weighed by rows, `_update` can divide by the rows seen.
        share = len(batch.rows) / self.usual if self._sums else None
        self.tasks.backward(means, there, self.accelerator.backward, share)
        self._seen += len(batch.rows)
        return float(loss.detach())

    def _update(self, batch: Batch) -> None:
        if self._sums:  # the mean over all rows seen
            for weight in self.model.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(self.usual / self._seen)
        self._seen = 0
        # Before clipping: the paper's factors act on the gradients themselves.
        self.balance.modulate()
        clip = self.config.clip or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), clip)
        scaler = self.accelerator.scaler
        # A finite loss can have a gradient that is not; one such step would ruin all weights.
        if norm is not None and not bool(torch.as_tensor(norm).isfinite()):
            if scaler is not None and scaler.get_scale() > 1:
                # Half precision overflowed: the step is skipped and the loss scaled down from now on.
                self.stepper.step()
            else:
                self._leave_out(batch, {}, self._before)
            self.stepper.zero_grad()
            return
        factor = self.factor(self.progress.updates)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.stepper.step()
        self.stepper.zero_grad()
        self.progress.updates += 1
        self.progress.bad_steps = 0
        if self.average:
            self.average.update(self.model)

    def _leave_out(
        self, batch: Batch, losses: dict[str, Tensor], buffers: list[tuple[Tensor, Tensor]]
    ) -> None:
        """Undo what a bad batch did, and name its rows."""
        for buffer, before in buffers:
            buffer.copy_(before)
        bad = [
            torch.as_tensor(loss.detach().cpu()).isfinite().logical_not()
            for loss in losses.values()
        ]
        rows = batch.rows[torch.stack(bad).any(dim=0).numpy()] if bad else batch.rows
        named = ", ".join(map(str, rows[:10])) + (" ..." if len(rows) > 10 else "")
        what = "loss" if losses else "gradient"
        at = self.progress
        text = f"epoch {at.epoch + 1}, step {at.step + 1}: the {what} was not finite"
        self.reporter.note(f"{text}; this batch was left out. Rows: {named}")
        at.bad_steps += 1
        if at.bad_steps >= BAD_STEPS:
            raise TrainError(
                f"{text}, {BAD_STEPS} steps in a row. Rows of the last: {named}. Try a smaller lr, or "
                "look at those rows' numbers and target."
            )

    def _close_epoch(self) -> None:
        """Validate, remember the best, and move on."""
        at = self.progress
        self.balance.close_epoch()
        live = None
        if self.average:
            live = {name: value.clone() for name, value in learnt_state(self.model).items()}
            # The averaged weights are what is kept at the end, so they are what is validated.
            load_learnt(self.model, self.average.state)
        scalars = {**self.validate(self.model), **self.balance.scalars()}
        if math.isnan(scalars["loss"]):
            raise TrainError(
                f"epoch {at.epoch + 1}: the model's answers are no longer finite, training has "
                f"diverged. Try a smaller lr than {self.peaks[0]:g}."
            )
        # Small held-out sets tie on the metric; the loss then decides.
        score = [scalars["score"], -scalars["loss"]]
        if not self.best or score > at.best_score:
            now = learnt_state(self.model)
            # Cloned: the next step would overwrite it. On the CPU, which spares the GPU.
            self.best = {name: value.detach().cpu().clone() for name, value in now.items()}
            at.best_score, at.best_epoch, at.waited = (
                score,
                at.epoch,
                0,
            )
        else:
            at.waited += 1
        if live is not None:
            load_learnt(self.model, live)
        train = at.loss_sum / max(1, at.step)
        rate = float(self.optimizer.param_groups[0]["lr"])
        at.history.append({"epoch": at.epoch + 1, "train_loss": train, "lr": rate, **scalars})
        if self.session.log:
            self.session.log(at.updates, {"train_loss": train, "lr": rate, **scalars})
        at.epoch += 1
        at.step, at.loss_sum = 0, 0.0


def _accelerator(config: Config) -> Accelerator:
    """An Accelerator on the asked device; one made earlier in this process for another is undone."""
    device, _ = choose_device(config.device)
    if device.startswith("cuda:"):
        # Accelerate takes the current GPU, not the one that was asked for.
        torch.cuda.set_device(device)
    mixed = {"fp32": "no", "auto": "no"}.get(config.precision, config.precision)
    if config.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported():
        mixed = "bf16"
    # Accelerate keeps one state per process, and a second Accelerator for another device or precision
    # is refused. It has no public way to begin anew; its own error names this one (accelerate 1.x).
    AcceleratorState._reset_state(True)
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed)


def _mean_known(loss: Tensor, target: Tensor | None) -> Tensor:
    """The mean over rows that have this target; over all for a loss that has none."""
    if target is None:
        return loss.mean()
    # A head's loss is 0 for rows without a target, so the sum holds the known ones alone.
    return loss.sum() / known_rows(target).sum().clamp(min=1)


def _mix(seed: int, epoch: int, step: int) -> int:
    """A seed for every step, so that a resumed run draws what an unbroken one would have.

    The factors are primes above the usual number of steps per epoch and per fit, so that no two steps
    share a seed; if an epoch has more than 10,007 steps, two that lie far apart draw alike, which harms
    nothing.
    """
    return (seed * 1_000_003 + epoch * 10_007 + step) % 2**63
