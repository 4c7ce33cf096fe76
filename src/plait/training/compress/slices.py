"""Structured pruning: a narrower model takes over the parts of a wide one that matter most.

What matters is told by a Taylor expansion of the loss (Molchanov et al. 2019, eq. 8): a weight counts
``|w ∂L/∂w|``, a channel the sum over its weights. Channels that are added to one another anywhere have
to stay or go together. Here these are groups of axes: the token width, one group for the whole model,
since streams meet; the channels of one size in one encoder; and by themselves, as nothing outside sees
them, the inner channels of a residual block, the hidden units of a feed-forward layer, and the heads of
an attention (whole heads first, then numbers within them). The result is an ordinary narrower model, so
it is smaller and quicker everywhere, not sparse.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from plait.model.blocks import Attention

_INNER = (
    (re.compile(r"(.*blocks\.\d+)\.(first\.(weight|bias)|first_norm\..*)"), 0),
    (re.compile(r"(.*blocks\.\d+)\.second\.weight"), 1),
    (re.compile(r"(.*feed)\.0\.(weight|bias)"), 0),
    (re.compile(r"(.*feed)\.3\.weight"), 1),
)
"""Axes that nothing outside their module sees, by the name of the weight."""

_ATTENDED = re.compile(r"(.*)\.(to_query|to_key_value|to_out)\.(weight|bias)")

Key = tuple[str, int]
"""A group of axes: where it is at home, and its size."""


@dataclass(frozen=True)
class Axis:
    """One axis of one weight that is longer in the wide model.

    Attributes:
        group: the group it belongs to.
        blocks: how many times the group lies along it, one after the other.
        kept: its length in the narrow model.
    """

    name: str
    dim: int
    group: Key
    blocks: int
    kept: int


@dataclass
class Inherited:
    """What a narrow model took over.

    Attributes:
        taken: numbers copied from the wide model.
        fresh: weights whose shapes do not tell what to take; they start anew.
    """

    taken: int = 0
    fresh: list[str] = field(default_factory=list)


def inherit(
    narrow: nn.Module,
    wide: nn.Module,
    importance: Mapping[str, Tensor],
    *,
    width: int,
    encoders: Sequence[int] | None = None,
) -> Inherited:
    """Fill the narrow model, in place, with what matters most of the wide one.

    Args:
        importance: weight → ``|w ∂L/∂w|``, in its shape; what has none counts nothing.
        width: of the wide model's tokens.
        encoders: which of the wide model's encoders each of the narrow one's is, where it has fewer; the
            fusion, which then has other streams, starts anew. None: the same.
    """
    small = narrow.state_dict()
    home = {name: _home_of(name, encoders) for name in small}
    whole = wide.state_dict()
    large = {name: whole[origin] for name, origin in home.items() if origin in whole}
    counts = {name: importance[home[name]] for name in large if home[name] in importance}
    inherited, axes = Inherited(), dict[str, list[Axis]]()
    narrow_width = int(getattr(getattr(narrow, "fusion", narrow), "width", 0))
    sizes = _channels(large, small, width)
    for name, values in small.items():
        own_axes = None
        if name in large and values.ndim == large[name].ndim:
            own_axes = _axes(name, large[name], values, (width, narrow_width), sizes)
        if own_axes is None:
            inherited.fresh.append(name)
        else:
            axes[name] = own_axes
    chosen = _choose(axes, large, counts, _heads(narrow, wide, encoders))
    with torch.no_grad():
        for name, own_axes in axes.items():
            part = large[name]
            for axis in own_axes:
                part = part.index_select(axis.dim, _along(chosen[axis.group], axis))
            small[name].copy_(part)
            inherited.taken += part.numel()
    return inherited


def _home_of(name: str, encoders: Sequence[int] | None) -> str:
    """The name of a weight or part in the wide model; "" where it has none there."""
    first, _, rest = name.partition(".")
    if encoders is None or first == "heads":
        return name
    if first != "encoders":
        return ""
    number, _, inner = rest.partition(".")
    return f"encoders.{encoders[int(number)]}.{inner}"


def _heads(
    narrow: nn.Module, wide: nn.Module, encoders: Sequence[int] | None
) -> dict[str, tuple[int, int]]:
    """Attention, by its name in the narrow model → heads before and after."""
    before = {name: p.heads for name, p in wide.named_modules() if isinstance(p, Attention)}
    return {
        name: (before[_home_of(name, encoders)], part.heads)
        for name, part in narrow.named_modules()
        if isinstance(part, Attention) and _home_of(name, encoders) in before
    }


def _channels(
    large: Mapping[str, Tensor], small: Mapping[str, Tensor], width: int
) -> dict[str, dict[int, int]]:
    """Encoder → channels that one of its norms or biases has, and how many of them stay."""
    sizes: dict[str, dict[int, int]] = defaultdict(dict)
    for name, values in large.items():
        other = small.get(name)
        if values.ndim == 1 and other is not None and other.ndim == 1 and len(values) != width:
            sizes[_home(name)][len(values)] = len(other)
    return sizes


def _home(name: str) -> str:
    """The encoder, the fusion or the head that a weight belongs to."""
    first, _, rest = name.partition(".")
    return first if first == "fusion" else f"{first}.{rest.partition('.')[0]}"


def _axes(
    name: str,
    large: Tensor,
    small: Tensor,
    widths: tuple[int, int],
    sizes: Mapping[str, Mapping[int, int]],
) -> list[Axis] | None:
    """The axes that shrink; None where one of them cannot be told."""
    axes = []
    for dim, (long, short) in enumerate(zip(large.shape, small.shape, strict=True)):
        if long == short:
            continue
        axis = _axis(name, dim, long, short, widths, sizes.get(_home(name), {}))
        if axis is None:
            return None
        axes.append(axis)
    return axes


def _axis(
    name: str, dim: int, long: int, short: int, widths: tuple[int, int], sizes: Mapping[int, int]
) -> Axis | None:
    for pattern, place in _INNER:
        if place == dim and (met := pattern.fullmatch(name)):
            return Axis(name, dim, (met[1], long), 1, short)
    attended = _ATTENDED.fullmatch(name)
    if attended and (attended[2] == "to_out") == (dim == 1):
        parts = long // widths[0]  # keys and values lie one after the other
        return Axis(name, dim, (attended[1], widths[0]), parts, short)
    # Blocks of channels, the channel changing fastest: what is flattened or joined in a row.
    for size, kept in ((widths[0], widths[1]), *sorted(sizes.items(), reverse=True)):
        if kept and long % size == 0 and long // size * kept == short:
            home = "" if size == widths[0] else _home(name)
            return Axis(name, dim, (home, size), long // size, short)
    return None


def _choose(
    axes: Mapping[str, list[Axis]],
    large: Mapping[str, Tensor],
    importance: Mapping[str, Tensor],
    heads: Mapping[str, tuple[int, int]],
) -> dict[Key, Int64[Tensor, " kept"]]:
    """The members of each group that stay, in order."""
    counts: dict[Key, Tensor] = {}
    kept: dict[Key, int] = {}
    for name, own_axes in axes.items():
        for axis in own_axes:
            kept[axis.group] = axis.kept // axis.blocks
            total = counts.setdefault(axis.group, torch.zeros(axis.group[1]))
            if name in importance:
                others = [dim for dim in range(large[name].ndim) if dim != axis.dim]
                along = importance[name].sum(dim=others) if others else importance[name]
                total += along.reshape(axis.blocks, -1).sum(dim=0)
    return {
        group: _best_heads(total, kept[group], heads[group[0]])
        if group[0] in heads
        else total.topk(kept[group]).indices.sort().values
        for group, total in counts.items()
    }


def _best_heads(
    total: Float[Tensor, " width"], kept: int, heads: tuple[int, int]
) -> Int64[Tensor, " kept"]:
    """The best heads, and the best numbers within each of them."""
    before, after = heads
    each = total.reshape(before, -1)
    stay = each.sum(dim=1).topk(min(after, before)).indices.sort().values
    inside = each[stay].topk(kept // after, dim=1).indices.sort(dim=1).values
    return (stay[:, None] * each.shape[1] + inside).flatten()


def _along(chosen: Int64[Tensor, " kept"], axis: Axis) -> Int64[Tensor, " all"]:
    """The chosen members in each block of an axis."""
    starts = torch.arange(axis.blocks) * axis.group[1]
    return (starts[:, None] + chosen).flatten()
