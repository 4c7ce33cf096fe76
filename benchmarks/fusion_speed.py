"""Forward and backward of every fusion against the same formula written by hand, in turn.

What is compared is processor time of the one thread that computes both ways (autograd runs a backward of
CPU tensors in the thread that asks for it), so that whatever else the machine does hardly counts.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import thread_time

import torch
from torch import Tensor

from benchmarks.context import Bench
from benchmarks.functional import REFERENCES, Reference
from benchmarks.lines import Line, at_most
from plait.devices import torch_threads
from plait.model.fusion import FUSIONS, build_fusion
from plait.model.fusion.base import Fusion
from plait.model.tokens import Tokens

BATCH, STREAMS, TOKENS, WIDTH = 64, 4, 16, 64
TOLERANCE = 1e-4

Inputs = tuple[list[Tensor], list[Tensor]]
"""For each stream, its values and its mask."""


def measure(bench: Bench) -> list[Line]:
    with torch_threads(1):
        return [line(name, bench) for name in FUSIONS]


def line(name: str, bench: Bench) -> Line:
    """One fusion's milliseconds, and those of its reference where there is one."""
    torch.manual_seed(0)
    fusion = build_fusion(name, {f"s{n}": WIDTH for n in range(STREAMS)}, width=WIDTH, dropout=0.0)
    fusion.eval()
    inputs = made()
    reference = REFERENCES.get(name)
    steps = [step(partial(whole, fusion), fusion, inputs)]
    if reference is not None:
        hand = partial(by_hand, reference, fusion.state_dict(keep_vars=True))
        steps.append(step(hand, fusion, inputs))
        torch.testing.assert_close(
            hand(inputs), whole(fusion, inputs), atol=TOLERANCE, rtol=TOLERANCE
        )
    times = in_turn(steps, turns=bench.few(200, 5), warm=bench.few(20, 1))
    found = [1000 * median(one) for one in times]
    bench.say(f"  {name}: " + ", by hand ".join(f"{one:.2f} ms" for one in found))
    return Line(
        f"fusion speed, {name}",
        f"processor ms of forward and backward, batch {BATCH}, {STREAMS} streams of {TOKENS} tokens, "
        f"width {WIDTH}, one thread, medians of {len(times[0])} in turn",
        value=found[0],
        unit="ms",
        reference=found[1] if reference is not None else None,
        against="the formula by hand" if reference is not None else "no reference",
        promise=at_most(1.2, "ratio") if reference is not None else None,
    )


def made() -> Inputs:
    """Streams of random tokens, some of them padding, a fifth of the rows without each stream."""
    values = [torch.randn(BATCH, TOKENS, WIDTH).requires_grad_() for _ in range(STREAMS)]
    masks = [
        (torch.rand(BATCH, TOKENS) < 0.8) & (torch.rand(BATCH, 1) < 0.8) for _ in range(STREAMS)
    ]
    return values, masks


def whole(fusion: Fusion, inputs: Inputs) -> Tensor:
    """The vector of plait's module."""
    tokens = {
        name: Tokens(values, mask)
        for name, values, mask in zip(fusion.streams, *inputs, strict=True)
    }
    return fusion(tokens).vector


def by_hand(reference: Reference, weights: dict[str, Tensor], inputs: Inputs) -> Tensor:
    """The vector of the function."""
    return reference(weights, *inputs)


def step(run: Callable[[Inputs], Tensor], fusion: Fusion, inputs: Inputs) -> Callable[[], object]:
    """Forward and the gradients of the weights and of the tokens, as an encoder below needs them."""
    leaves = [*fusion.parameters(), *inputs[0]]
    upstream = torch.randn(BATCH, WIDTH)

    def once() -> object:
        return torch.autograd.grad(run(inputs), leaves, upstream, allow_unused=True)

    return once


def in_turn(steps: list[Callable[[], object]], turns: int, warm: int) -> list[list[float]]:
    """Processor seconds of each step, one after the other, so that both see the same machine."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(turns + warm):
        for one, seconds in zip(steps, times, strict=True):
            began = thread_time()
            one()
            if turn >= warm:
                seconds.append(thread_time() - began)
    return times
