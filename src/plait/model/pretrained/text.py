"""Pretrained text models: BERT, ModernBERT, RoBERTa, MPNet, T5's encoder, text towers, and their kin."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from plait.data.modalities.base import State
from plait.errors import CheckpointError
from plait.model.pretrained.base import Backbone, Family
from plait.model.pretrained.configure import ENCODERS, config_of, tower_of
from plait.model.pretrained.text_settings import highest_id, text_state
from plait.model.pretrained.tower import build, layers
from plait.model.tokens import ColumnBatch, Tokens

_FILLED = frozenset(("siglip_text_model", "siglip2_text_model"))
"""Kinds trained on texts filled up to one length, with the filling attended to."""


class TextBackbone(Backbone):
    """A text model of transformers, to its last hidden states.

    Where the mask is False the checkpoint's own padding id stands, and is not attended to.

    SigLIP was trained on texts filled up to its full length with padding that is attended to, and reads
    the whole text off the last place. With ``fill`` each text is so filled; its own tokens come first,
    and behind them stands one more, the last place, unless the text reaches it.

    Args:
        model: takes ``input_ids`` and ``attention_mask``.
        padding: the padding id.
        hidden: numbers in a token.
        fill: the length to fill up to; 0 to leave texts as they are.
    """

    def __init__(self, *, model: nn.Module, padding: int, hidden: int, fill: int = 0) -> None:
        super().__init__()
        self.model = model
        self.padding = padding
        self.hidden = hidden
        self.fill = fill

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode ids ``[batch, steps]``. Cost: the model's own, at ``fill`` steps where it is set."""
        mask = column.mask
        ids = torch.where(mask, column.values.to(torch.int64), self.padding)
        if self.fill:
            return self._filled(ids, mask)
        if mask.shape[1] == 0:
            ids, mask = (functional.pad(part, (0, 1), value=0) for part in (ids, mask))
        # A row with nothing to attend to would be NaN, so a missing one attends to one padding id.
        seen = mask.clone()
        seen[:, 0] |= ~column.present
        return Tokens(_hidden(self.model, ids, seen), mask)

    def _filled(
        self, ids: Int64[Tensor, "batch steps"], mask: Bool[Tensor, "batch steps"]
    ) -> Tokens:
        steps = ids.shape[1]
        ids = functional.pad(ids, (0, self.fill - steps), value=self.padding)
        whole = _hidden(self.model, ids, None)
        lengths = mask.sum(dim=1)
        mask = functional.pad(mask, (0, 1), value=False)
        at_end = torch.arange(steps + 1, device=mask.device) == lengths.unsqueeze(1)
        at_end = at_end & ((lengths > 0) & (lengths < self.fill)).unsqueeze(1)
        tokens = functional.pad(whole[:, :steps], (0, 0, 0, 1))
        return Tokens(torch.where(at_end.unsqueeze(2), whole[:, -1:], tokens), mask | at_end)

    def blocks(self) -> list[nn.Module]:
        """Embeddings, then each layer; the last norm is with the last one."""
        return layers(self.model)


def make(described: dict[str, Any], state: State, folder: Path | None) -> TextBackbone:
    """A checkpoint's text model; see `plait.model.pretrained.base.Family`."""
    whole = config_of(described)
    cls, config = tower_of(whole, "text")
    highest, known = highest_id(state["tokenizer"]), int(config.vocab_size)
    if highest >= known:
        raise CheckpointError(
            f"the checkpoint's tokenizer gives ids up to {highest}, and its '{config.model_type}' model "
            f"knows {known}. Both files should be of one checkpoint."
        )
    if getattr(config, "use_cache", False):
        config.use_cache = False  # of use to models that write, and large
    widths: list[int] = []

    def run(model: nn.Module) -> Float[Tensor, "..."]:
        few = torch.arange(4).unsqueeze(0) % known
        output = _hidden(model, few, torch.ones_like(few, dtype=torch.bool))
        widths.append(output.shape[2])
        return output

    model = build(cls, config, folder, run)
    if whole.model_type in ENCODERS:
        # The model around it holds the same embeddings a second time.
        model = model.get_submodule("encoder")
    fill = int(config.max_position_embeddings) if config.model_type in _FILLED else 0
    return TextBackbone(model=model, padding=int(state["padding"]), hidden=widths[0], fill=fill)


def _hidden(
    model: nn.Module,
    ids: Int64[Tensor, "batch steps"],
    seen: Bool[Tensor, "batch steps"] | None,
) -> Float[Tensor, "batch steps hidden"]:
    asked = {} if seen is None else {"attention_mask": seen.to(torch.int64)}
    output = model(input_ids=ids, return_dict=True, **asked)
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None or hidden.shape[:-1] != ids.shape:
        raise CheckpointError(
            f"the model {type(model).__name__} gives no last_hidden_state for each token, which plait "
            "needs."
        )
    return hidden


TEXT = Family(text_state, make)
