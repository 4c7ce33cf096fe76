"""Which stream is learning: each encoder's share of the gradient."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.utils import get_total_norm

from plait.display.progress import SHARE
from plait.model.model import Model, Trainable
from plait.training.balance.base import Balance

EVERY = 4
"""Updates between two measurements of the gradients: a mean over an epoch needs no more, and norms cost
time."""


class Shares(Balance):
    """Balances as another does, and measures every stream's share of the encoders' gradient.

    ``share_m = ‖g_m‖ / Σ_k ‖g_k‖`` with ``g_m`` the gradient of encoder m's parameters, before any
    balancing, averaged over the updates of an epoch that were looked at. A stream whose share stays
    near 0 learns nothing. An encoder that several streams share counts for each of them.

    Cost: a norm of the encoders' gradients, every `EVERY` updates.
    """

    def __init__(self, model: Model, inner: Balance) -> None:
        self.inner = inner
        self.streams = list(model.streams)
        self.weights = [
            [weight for weight in encoder.parameters() if weight.requires_grad]
            for encoder in model.encoders
        ]
        self.updates = 0
        self.sums = dict.fromkeys(self.streams, 0.0)
        self.counted = 0
        self.last: dict[str, float] = {}

    @contextmanager
    def listen(self) -> Iterator[None]:
        """As the other listens."""
        with self.inner.listen():
            yield

    def observe(self, targets: Mapping[str, Tensor]) -> None:
        """As the other observes."""
        self.inner.observe(targets)

    def modulate(self) -> None:
        """Look at the gradients now and then; then as the other modulates."""
        if self.updates % EVERY == 0:
            self._add_shares()
        self.updates += 1
        self.inner.modulate()

    def _add_shares(self) -> None:
        norms = [_norm(weights) for weights in self.weights]
        total = sum(norms)
        # An overflow in half precision is skipped by the update as well.
        if not 0 < total < float("inf"):
            return
        self.counted += 1
        for name, norm in zip(self.streams, norms, strict=True):
            self.sums[name] += norm / total

    def close_epoch(self) -> None:
        """Take the means, and begin anew."""
        self.last = {
            SHARE + name: value / self.counted for name, value in self.sums.items() if self.counted
        }
        self.sums, self.counted = dict.fromkeys(self.streams, 0.0), 0
        self.inner.close_epoch()

    def scalars(self) -> dict[str, float]:
        """The shares of the epoch that has ended."""
        return self.last

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        own = {"updates": self.updates, "sums": self.sums, "counted": self.counted}
        return {"shares": own, **self.inner.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave; a checkpoint of an older plait has no shares."""
        own = state.get("shares", {})
        self.updates, self.counted = own.get("updates", 0), own.get("counted", 0)
        self.sums = {**self.sums, **own.get("sums", {})}
        self.inner.load({name: value for name, value in state.items() if name != "shares"})


def watched(model: Trainable, balance: Balance) -> Balance:
    """The same balancing with the shares measured; as it is where there is a single stream."""
    if not isinstance(model, Model) or len(model.streams) < 2:
        return balance
    return Shares(model, balance)


def _norm(weights: Sequence[Tensor]) -> float:
    """The norm of all of these gradients together."""
    return float(get_total_norm([weight.grad for weight in weights if weight.grad is not None]))
