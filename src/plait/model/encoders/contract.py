"""What every encoder keeps, as checks that anybody can run: `plait.testing.check_encoder`."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from plait.data.rules import applied, require
from plait.model.encoders.base import Encoder
from plait.model.tokens import ColumnBatch


def check_encoder(
    build: Callable[[float], Encoder], columns: Sequence[ColumnBatch], *, seed: int = 0
) -> None:
    """Check an encoder on one batch.

    Args:
        build: gives a new encoder with the dropout it gets.
        columns: of at least four rows, with every cell present; one column whose mask is
            ``[batch, steps]`` is tried with more padding, too. Row 0 is the longest.

    Raises:
        AssertionError: naming the rule.
    """
    steps = len(columns) == 1 and columns[0].mask.ndim == 2
    for rule, check in {**ENCODER_RULES, **(STEP_RULES if steps else {})}.items():
        torch.manual_seed(seed)
        applied(rule, check, build, list(columns))


def _close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


def _hide(columns: Sequence[ColumnBatch], rows: Sequence[int]) -> list[ColumnBatch]:
    """The same batch with every cell of some rows missing: zeros and no True."""
    hidden = []
    for values, mask in columns:
        values, mask = values.clone(), mask.clone()
        values[list(rows)], mask[list(rows)] = 0, False
        hidden.append(ColumnBatch(values, mask))
    return hidden


def _pad(column: ColumnBatch, extra: int, rubbish: bool) -> ColumnBatch:
    """The same cells with more padding, of zeros or of values that mean nothing."""
    values, mask = column
    wide = values.new_zeros(len(values), values.shape[1] + extra, *values.shape[2:])
    wide[:, : values.shape[1]] = values
    more = torch.cat([mask, mask.new_zeros(len(mask), extra)], dim=1)
    if rubbish:
        wide[~more] = 7
    return ColumnBatch(wide, more)


def _form(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part = build(0.0)
    values, mask = part(*columns)
    require(values.dtype == torch.float32, f"tokens are {values.dtype}")
    require(part.width == values.shape[2], f"width is {part.width}, tokens {values.shape[2]} wide")
    require(mask.shape == values.shape[:2], "the mask is not [batch, tokens]")
    require(mask.any(dim=1).all(), "a row whose cell is present has no token")


def _gradients(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part = build(0.1)
    values, mask = part(*_hide(columns, [1]))
    (values * mask.unsqueeze(-1)).square().sum().backward()
    for name, weight in part.named_parameters():
        if weight.requires_grad:
            require(weight.grad is not None, f"the weight {name} gets no gradient")
            require(weight.grad.isfinite().all(), f"the gradient of {name} is not finite")  # type: ignore[union-attr]


def _batch_statistics(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    """Missing rows leave training mode's results for the others alone."""
    part, other = build(0.0).train(), build(0.0).train()
    other.load_state_dict(part.state_dict())
    hidden = _hide(columns, [1])
    keep = [row for row in range(len(columns[0].mask)) if row != 1]
    few = part(*hidden)
    less = other(*(ColumnBatch(values[keep], mask[keep]) for values, mask in hidden))
    _close(few.values[keep][less.mask], less.values[less.mask], 1e-4)
    for name, value in part.state_dict().items():
        _close(other.state_dict()[name], value)


def _missing_row(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part = build(0.0).eval()
    full, less = part(*columns), part(*_hide(columns, [1]))
    require(not less.mask[1].any(), "a missing row has a token")
    others = [row for row in range(len(less.mask)) if row != 1]
    _close(less.values[others][less.mask[others]], full.values[others][full.mask[others]])


def _all_missing(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    for training in (True, False):
        part = build(0.0).train(training)
        before = {name: value.clone() for name, value in part.state_dict().items()}
        values, mask = part(*_hide(columns, range(len(columns[0].mask))))
        require(values.isfinite().all(), "tokens are not finite")
        require(not mask.any(), "a missing row has a token")
        for name, value in part.state_dict().items():
            require(torch.equal(value, before[name]), f"it changed {name}")


def _single_row(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    values, _ = build(0.0).train()(*(ColumnBatch(v[:1], mask[:1]) for v, mask in columns))
    require(values.isfinite().all(), "tokens are not finite")


def _encoder_saved(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part, twin = build(0.0), build(0.0)
    part(*columns)  # moves batch statistics, if there are any
    twin.load_state_dict(part.state_dict())
    equal = torch.equal(part.eval()(*columns).values, twin.eval()(*columns).values)
    require(equal, "the loaded copy differs")


def _encoder_seeded(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    def run() -> Tensor:
        torch.manual_seed(3)
        return build(0.2).train()(*columns).values

    require(torch.equal(run(), run()), "two runs differ")


def _encoder_dropout(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part = build(0.5).train()
    require(not torch.equal(part(*columns).values, part(*columns).values), "it does nothing")
    part.eval()
    require(torch.equal(part(*columns).values, part(*columns).values), "it acts in use, too")


ENCODER_RULES: Mapping[str, Callable[[Callable[[float], Encoder], list[ColumnBatch]], None]] = {
    "tokens have the width, and a mask per token": _form,
    "gradients are finite for every weight": _gradients,
    "statistics of the batch come from present rows only": _batch_statistics,
    "a missing row has no token and leaves the others alone": _missing_row,
    "a batch without any cell is finite": _all_missing,
    "a single row can be trained on": _single_row,
    "what is saved and loaded gives the same tokens": _encoder_saved,
    "the same seed gives the same tokens": _encoder_seeded,
    "dropout acts in training only": _encoder_dropout,
}


def _encoder_padded(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part, (column,) = build(0.0).eval(), columns
    before = part(column)
    for extra, rubbish in ((1, False), (16, False), (7, True), (34, True)):
        after = part(_pad(column, extra, rubbish))
        require((before.mask.sum(1) == after.mask.sum(1)).all(), "there are more tokens")
        _close(after.values[after.mask], before.values[before.mask])


def _padded_in_training(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    for rubbish in (False, True):
        part, other = build(0.0).train(), build(0.0).train()
        other.load_state_dict(part.state_dict())
        before, after = part(columns[0]), other(_pad(columns[0], 9, rubbish))
        _close(after.values[after.mask], before.values[before.mask], 1e-4)
        for name, value in part.state_dict().items():
            _close(other.state_dict()[name], value)


def _row_alone(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    part, (column,) = build(0.0).eval(), columns
    whole = part(column)
    for row in range(1, len(column.mask)):
        length = int(column.mask[row].sum())
        alone = part(ColumnBatch(column.values[[row], :length], column.mask[[row], :length]))
        _close(alone.values[0][alone.mask[0]], whole.values[row][whole.mask[row]])


def _one_step(build: Callable[[float], Encoder], columns: list[ColumnBatch]) -> None:
    (column,) = columns
    values, mask = build(0.0)(ColumnBatch(column.values[:, :1] * 0, column.mask[:, :1] & False))
    require(values.isfinite().all() and not mask.any(), "tokens are not finite, or not masked")


STEP_RULES: Mapping[str, Callable[[Callable[[float], Encoder], list[ColumnBatch]], None]] = {
    "more padding changes no real token": _encoder_padded,
    "padding changes nothing in training, either": _padded_in_training,
    "a row alone gives the tokens it gives in a batch": _row_alone,
    "a batch without any step is finite": _one_step,
}
