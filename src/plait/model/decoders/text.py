"""Rebuilding texts: a recurrent network that writes the column's own subwords, one after the other."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from plait.data.modalities.base import Prepared
from plait.model.decoders.base import Decoder, State, ragged
from plait.model.tokens import ColumnBatch, Fused

SCORED = 8
"""Subwords of a text that are scored at a training step, drawn anew each time."""

END = 0
"""The id that ends a text: the padding's, which no text holds."""


class TextDecoder(Decoder):
    """A gated recurrent unit conditioned on the fused vector (Cho et al. 2014, section 3).

    ``h_t = GRU([e(y_{t-1}) + W v], h_{t-1})``, ``h_0 = tanh(U v)``, ``p(y_t) = softmax(E h_t + b)``,
    with one table E for reading and writing (Press & Wolf 2017) and the vector v seen at every step.
    ``loss = -mean log p(y_t) / log(ids)`` over the real subwords and the end, each given the true ones
    before it (teacher forcing, Williams & Zipser 1989). Writing takes the likeliest subword, or draws
    one at a temperature, until the end or ``max_tokens``.

    While training, 8 places of a text are drawn and scored, for the product with the table costs most;
    their mean is an unbiased guess of the whole. Writing costs ``max_tokens`` steps at most, for all
    rows together.
    """

    modality: ClassVar[str] = "text"

    def __init__(
        self, *, width: int, vocabulary: int, max_tokens: int, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.first = nn.Parameter(torch.randn(width) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.begin = nn.Linear(width, depth * width)
        self.steer = nn.Linear(width, width)
        self.recurrent = nn.GRU(width, width, num_layers=depth, batch_first=True)

    @classmethod
    def fitted(
        cls,
        state: State,
        typical: Mapping[str, float],
        *,
        width: int,
        size: Mapping[str, int],
        dropout: float,
    ) -> "Decoder":
        """Over the column's own vocabulary."""
        return cls(
            width=width,
            vocabulary=int(state["vocabulary"]),
            max_tokens=int(state["max_tokens"]),
            depth=max(1, size["depth"] // 2),
            dropout=dropout,
        )

    def forward(self, fused: Fused) -> Float[Tensor, "batch width"]:
        """What the text will be about; `loss` reads it with the true text, `write` without."""
        return self.drop(self.norm(fused.vector))

    def loss(
        self, output: Float[Tensor, "batch width"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy a subword, as a share of that of a uniform guess."""
        goal, real = self._goal(column)
        each = self._scored(output, goal, _some(real) if self.training else real)[0]
        return each / math.log(max(2, len(self.bias)))

    def cell(self, output: Float[Tensor, "batch width"]) -> Prepared:
        """The likeliest text, greedily; one without any subword counts as missing."""
        return self.write(output)

    @torch.no_grad()
    def write(
        self,
        output: Float[Tensor, "batch width"],
        *,
        temperature: float = 0.0,
        most: int | None = None,
    ) -> Prepared:
        """Write texts.

        Args:
            temperature: 0 takes the likeliest subword; more draws from ``softmax(logits /
                temperature)``, by torch's global generator.
            most: subwords a text; None: the column's longest.
        """
        if temperature < 0:
            raise ValueError(f"temperature={temperature} is below 0; 0 takes the likeliest subword")
        steps = self.max_tokens if most is None else min(most, self.max_tokens)
        state, steer = self._begin(output)
        shown = self.first.expand_as(steer)
        going = torch.ones(len(output), dtype=torch.bool, device=output.device)
        ids = torch.zeros(len(output), max(1, steps), dtype=torch.int32, device=output.device)
        for step in range(steps):
            hidden, state = self.recurrent((shown + steer).unsqueeze(1), state)
            logits = functional.linear(hidden[:, 0], self.table.weight, self.bias)
            if temperature:
                chosen = (logits / temperature).softmax(dim=1).multinomial(1).squeeze(1)
            else:
                chosen = logits.argmax(dim=1)
            going &= chosen != END
            if not bool(going.any()):
                break
            ids[:, step] = torch.where(going, chosen, END).to(torch.int32)
            shown = self.table(chosen)
        return ragged(ids, (ids != END).sum(dim=1))

    def figures(
        self, output: Float[Tensor, "batch width"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """The share of subwords told right after the true ones before them, and their surprise."""
        goal, real = self._goal(column)
        nats, right = self._scored(output, goal, real)
        return {"accuracy": right, "nats": nats}

    def usual(self, output: Float[Tensor, "batch width"]) -> None:
        """A language has no usual text."""
        return None

    def _begin(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The first hidden state ``[depth, batch, width]``, and what steers every step."""
        layers = self.recurrent.num_layers
        state = self.begin(output).tanh().unflatten(1, (layers, -1)).transpose(0, 1)
        return state.contiguous(), self.steer(output)

    def _goal(
        self, column: ColumnBatch
    ) -> tuple[Int64[Tensor, "batch steps"], Bool[Tensor, "batch steps"]]:
        """The ids and the end, within the longest text; a cut text has no end to learn."""
        ids = (column.values.long() * column.mask)[:, : self.max_tokens]
        ids = functional.pad(ids, (0, 1), value=END)
        lengths = column.mask.sum(dim=1, keepdim=True)
        place = torch.arange(ids.shape[1], device=ids.device)
        real = (place <= lengths) & (place < self.max_tokens) & (lengths > 0)
        return ids, real

    def _scored(
        self,
        output: Tensor,
        goal: Int64[Tensor, "batch steps"],
        real: Bool[Tensor, "batch steps"],
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Mean cross-entropy and share of right guesses, a row; zero where there is no text."""
        state, steer = self._begin(output)
        before = torch.cat([self.first.expand(len(goal), 1, -1), self.table(goal[:, :-1])], dim=1)
        hidden, _ = self.recurrent(before + steer.unsqueeze(1), state)
        # Logits of the real places only: the table is large and half of a batch may be padding.
        logits = functional.linear(hidden[real], self.table.weight, self.bias).float()
        truth = goal[real]
        each = torch.zeros(real.shape, dtype=logits.dtype, device=logits.device)
        hits = torch.zeros_like(each)
        each[real] = functional.cross_entropy(logits, truth, reduction="none")
        hits[real] = (logits.argmax(dim=1) == truth).to(hits.dtype)
        count = real.sum(dim=1).clamp(min=1)
        return each.sum(dim=1) / count, hits.sum(dim=1) / count


def _some(real: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "batch steps"]:
    """Up to `SCORED` real places of each row, at random."""
    if real.shape[1] <= SCORED:
        return real
    chance = torch.rand(real.shape, device=real.device).masked_fill(~real, -1.0)
    least = chance.topk(SCORED, dim=1).values[:, -1:]
    return real & (chance >= least)
