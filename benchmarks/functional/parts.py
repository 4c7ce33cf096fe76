"""The steps that hand-written fusions share: linear maps, norms, pooling, attention."""

import torch
from torch import Tensor
from torch.nn import functional

HEADS = 4

Weights = dict[str, Tensor]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def perceptron(w: Weights, name: str, x: Tensor, last: int = 3) -> Tensor:
    """Two linear maps with GELU between; ``last`` is the second one's place in its sequence."""
    return linear(w, f"{name}.{last}", functional.gelu(linear(w, f"{name}.0", x)))


def each_linear(w: Weights, name: str, v: Tensor) -> Tensor:
    """A linear map of its own for every stream's vector, without a bias where it has none."""
    turned, weight, bias = v.transpose(0, 1), w[f"{name}.weight"], w.get(f"{name}.bias")
    if bias is None:
        return torch.bmm(turned, weight).transpose(0, 1)
    return torch.baddbmm(bias, turned, weight).transpose(0, 1)


def open_rows(mask: Tensor) -> Tensor:
    """The mask, rows without any True opened whole."""
    return mask | ~mask.any(dim=1, keepdim=True)


def there(masks: list[Tensor]) -> Tensor:
    """Which streams each row has."""
    return torch.stack([mask.any(dim=1) for mask in masks], dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over the second axis, of any number of axes; zeros where the mask has no True."""
    real = mask.to(values.dtype)[(...,) + (None,) * (values.ndim - 2)]
    return (values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def pooled(w: Weights, name: str, values: Tensor, mask: Tensor) -> Tensor:
    """Attention pooling of one stream: ``[batch, count, width]``, zeros where it is missing."""
    scores = linear(w, f"{name}.score.2", torch.tanh(linear(w, f"{name}.score.0", values)))
    shares = scores.masked_fill(~open_rows(mask).unsqueeze(-1), -torch.inf).softmax(dim=1)
    return (shares * mask.unsqueeze(-1)).transpose(1, 2) @ values


def projected(w: Weights, prefix: str, index: int, x: Tensor) -> Tensor:
    """A stream's norm and linear map."""
    name = f"{prefix}.project.{index}"
    return linear(w, f"{name}.1", norm(w, f"{name}.0", x))


def summaries(
    w: Weights, values: list[Tensor], masks: list[Tensor], prefix: str = "vectors"
) -> Tensor:
    """Each stream's pooled and mapped tokens, ``[batch, streams, width]``."""
    found = [
        projected(w, prefix, index, pooled(w, f"{prefix}.pool.{index}", value, mask).squeeze(1))
        for index, (value, mask) in enumerate(zip(values, masks, strict=True))
    ]
    return torch.stack(found, dim=1)


def vectors(
    w: Weights, values: list[Tensor], masks: list[Tensor], prefix: str = "vectors"
) -> tuple[Tensor, Tensor]:
    """Each stream's vector, or its absent one, ``[batch, streams, width]``; and which are there."""
    found, present = summaries(w, values, masks, prefix), there(masks)
    return torch.where(present.unsqueeze(-1), found, w[f"{prefix}.absent"]), present


def attend(w: Weights, name: str, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """Multi-head attention to the real keys; without a mask, all are."""
    q = linear(w, f"{name}.to_query", queries)
    k, v = linear(w, f"{name}.to_key_value", keys).chunk(2, dim=-1)
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    if mask is None:
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return linear(w, f"{name}.to_out", seen)
    real = open_rows(mask)[:, None, None]
    seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=real)
    some = mask.any(dim=1)[:, None, None]
    return linear(w, f"{name}.to_out", seen.transpose(1, 2).flatten(2) * some)


def feed(w: Weights, name: str, x: Tensor) -> Tensor:
    return x + perceptron(w, f"{name}.feed", norm(w, f"{name}.feed_norm", x))


def block(w: Weights, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """A transformer block with its norms in front."""
    normed = norm(w, f"{name}.attention_norm", x)
    return feed(w, name, x + attend(w, f"{name}.attention", normed, normed, mask))


def cross(w: Weights, name: str, x: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """A transformer block that reads another sequence."""
    queries, keys = norm(w, f"{name}.query_norm", x), norm(w, f"{name}.key_norm", seen)
    return feed(w, name, x + attend(w, f"{name}.attention", queries, keys, mask))
