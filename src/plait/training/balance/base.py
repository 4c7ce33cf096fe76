"""The contract of a balancing method, and listening to what each stream answers by itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.model.heads.base import Head
from plait.model.model import Model
from plait.model.tokens import Fused, Tokens


class Balance:
    """Balances nothing; what the methods have in common."""

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take down what passes through the fusion in the forward pass inside."""
        yield

    def observe(self, targets: Mapping[str, Tensor]) -> None:
        """Look at the batch that was listened to."""

    def modulate(self) -> None:
        """Change the encoders' gradients before they are clipped and used."""

    def close_epoch(self) -> None:
        """Look at the epoch that has ended."""

    def scalars(self) -> dict[str, float]:
        """Figures of the epoch that has ended, for the log."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""


class Listening(Balance):
    """Hears the fusion's tokens and each stream's own answer."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.streams = list(model.streams)
        self.tokens: dict[str, Tokens] = {}
        self.fused: Fused | None = None
        self.voices: Tokens | None = None

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take down what passes through the fusion in the forward pass inside."""

        def tokens(module: nn.Module, given: tuple[dict[str, Tokens]]) -> None:
            # Detached: what a method computes must not enter the model's gradient.
            self.tokens = {name: still(stream) for name, stream in given[0].items()}

        def fused(module: nn.Module, given: Any, answer: Fused) -> None:
            self.fused = answer
            if answer.votes is not None:  # the streams' votes come first
                count = len(self.streams)
                own = Tokens(answer.votes.values[:, :count], answer.votes.mask[:, :count])
                self.voices = still(own)

        def voices(module: nn.Module, given: Any, answer: tuple[Tensor, Tensor]) -> None:
            self.voices = still(Tokens(*answer))

        hooks = [
            self.model.fusion.register_forward_pre_hook(tokens),
            self.model.fusion.register_forward_hook(fused),
        ]
        if self.model.voices is not None:
            hooks.append(self.model.voices.register_forward_hook(voices))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def observe(self, targets: Mapping[str, Tensor]) -> None:
        """Look at the batch that was listened to, then let go of it."""
        with torch.no_grad():
            self.accumulate(targets)
        # Else a batch's activations would stay in memory until the next.
        self.tokens, self.fused, self.voices = {}, None, None

    def accumulate(self, targets: Mapping[str, Tensor]) -> None:
        """Add what a method needs of a batch to its running sums."""
        raise NotImplementedError

    def heads(self) -> Iterator[tuple[str, Head]]:
        for name, head in zip(self.model.targets, self.model.heads, strict=True):
            assert isinstance(head, Head)
            yield name, head

    def own(self, head: Head) -> tuple[Float[Tensor, "batch streams outputs"], Tensor]:
        """Each stream's own logits, without dropout, and which are there."""
        assert self.voices is not None
        return head.without_dropout(self.voices.values), self.voices.mask


def still(stream: Tokens) -> Tokens:
    """Tokens that hold on to no graph."""
    return Tokens(stream.values.detach().float(), stream.mask)
