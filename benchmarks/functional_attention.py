"""Attention methods, experts and graph as bare functions: what speed they are measured against.

`python -m benchmarks.functional_attention` prints, for each, how long the module's forward and backward
take as a multiple of the function's, in turns in one process. The functions give the vector alone, no
weights and no sequence, in use (no dropout), and are compared with the modules in the tests.
"""

import time
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from plait.fusion import FUSIONS
from plait.tokens import Tokens

HEADS = 4
State = dict[str, Tensor]


def linear(w: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def norm(w: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def attend(w: State, name: str, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    size = queries.shape[-1] // HEADS
    q = linear(w, f"{name}.to_query", queries)
    k, v = linear(w, f"{name}.to_key_value", keys).chunk(2, dim=-1)
    q, k, v = (x.unflatten(-1, (HEADS, size)).transpose(1, 2) for x in (q, k, v))
    if mask is None:
        seen = F.scaled_dot_product_attention(q, k, v)
        return linear(w, f"{name}.to_out", seen.transpose(1, 2).flatten(2))
    some = mask.any(dim=1)[:, None, None]
    real = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None]
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=real).transpose(1, 2).flatten(2)
    return linear(w, f"{name}.to_out", seen * some)


def feed(w: State, name: str, x: Tensor) -> Tensor:
    inner = F.gelu(linear(w, f"{name}.feed.0", norm(w, f"{name}.feed_norm", x)))
    return x + linear(w, f"{name}.feed.3", inner)


def block(w: State, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    normed = norm(w, f"{name}.attention_norm", x)
    return feed(w, name, x + attend(w, f"{name}.attention", normed, normed, mask))


def cross(w: State, name: str, x: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    queries, keys = norm(w, f"{name}.query_norm", x), norm(w, f"{name}.key_norm", seen)
    return feed(w, name, x + attend(w, f"{name}.attention", queries, keys, mask))


def pool(w: State, name: str, x: Tensor, mask: Tensor) -> Tensor:
    scores = linear(w, f"{name}.score.2", torch.tanh(linear(w, f"{name}.score.0", x))).squeeze(-1)
    real = mask | ~mask.any(dim=1, keepdim=True)
    shares = scores.masked_fill(~real, -torch.inf).softmax(dim=1) * mask
    return (shares.unsqueeze(1) @ x).squeeze(1)


def streams(w: State, tokens: dict[str, Tokens]) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Each stream at the common width, the masks, and who is present."""
    values = [
        linear(w, f"tokens.project.{i}.1", norm(w, f"tokens.project.{i}.0", x))
        for i, (x, _) in enumerate(tokens.values())
    ]
    masks = [mask for _, mask in tokens.values()]
    return values, masks, torch.stack([mask.any(dim=1) for mask in masks], dim=1)


def vectors(w: State, tokens: dict[str, Tokens]) -> tuple[Tensor, Tensor]:
    """One vector a stream, and who is present."""
    found = []
    for i, (x, mask) in enumerate(tokens.values()):
        normed = norm(w, f"vectors.project.{i}.0", pool(w, f"vectors.pool.{i}", x, mask))
        found.append(linear(w, f"vectors.project.{i}.1", normed))
    present = torch.stack([mask.any(dim=1) for _, mask in tokens.values()], dim=1)
    return torch.where(present[..., None], torch.stack(found, dim=1), w["vectors.absent"]), present


def mean(x: Tensor, present: Tensor) -> Tensor:
    """Over the present streams, the second axis."""
    real = present.to(x.dtype)[(...,) + (None,) * (x.ndim - 2)]
    return (x * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def mlp(w: State, x: Tensor) -> Tensor:
    return linear(w, "mix.3", F.gelu(linear(w, "mix.0", x)))


def onestream(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, present = streams(w, tokens)
    rows = len(present)
    x = torch.cat([w["lead"].expand(rows, 1, -1), *values], dim=1)
    mask = torch.cat([torch.ones(rows, 1, dtype=torch.bool), *masks], dim=1)
    for number in range(2):
        x = block(w, f"rounds.{number}", x, mask)
    return norm(w, "norm", x)[:, 0]


def bottleneck(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, present = streams(w, tokens)
    rows, count = len(present), len(w["bottleneck"])
    one = torch.ones(rows, 1, dtype=torch.bool)
    leads = w["leads"][:, None, None]
    x = [torch.cat([leads[i].expand(rows, 1, -1), v], dim=1) for i, v in enumerate(values)]
    masks = [torch.cat([one, mask], dim=1) for mask in masks]
    x = [block(w, f"before.0.{i}", v, masks[i]) for i, v in enumerate(x)]
    masks = [torch.cat([mask, one.expand(-1, count)], dim=1) for mask in masks]
    shared = w["bottleneck"].expand(rows, -1, -1)
    for number in range(2):
        both = [
            block(w, f"rounds.{number}.{i}", torch.cat([v, shared], dim=1), masks[i])
            for i, v in enumerate(x)
        ]
        x = [v[:, :-count] for v in both]
        if number == 0:
            shared = mean(torch.stack([v[:, -count:] for v in both], dim=1), present)
    vector = norm(w, "norm", mean(torch.stack([v[:, 0] for v in x], dim=1), present))
    return torch.where(present.any(dim=1, keepdim=True), vector, w["nothing"])


def perceiver(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, present = streams(w, tokens)
    seen, mask = torch.cat(values, dim=1), torch.cat(masks, dim=1)
    latents = w["latents"].expand(len(present), -1, -1)
    for number in range(2):
        latents = cross(w, f"cross.{number}", latents, seen, mask)
        latents = block(w, "between.0.0", latents, None)
    return norm(w, "norm", latents.mean(dim=1))


def qformer(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, present = streams(w, tokens)
    q = w["queries"].expand(len(present), -1, -1)
    for number in range(2):
        name = f"rounds.{number}"
        normed = norm(w, f"{name}.self_norm", q)
        q = q + attend(w, f"{name}.self_attention", normed, normed, None)
        normed = norm(w, f"{name}.cross_norm", q)
        heard = [
            attend(w, f"{name}.cross.{i}", normed, v, mask)
            for i, (v, mask) in enumerate(zip(values, masks, strict=True))
        ]
        q = feed(w, name, q + mean(torch.stack(heard, dim=1), present))
    return norm(w, "norm", q.mean(dim=1))


def mult(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, present = streams(w, tokens)
    ends = []
    for a, own in enumerate(values):
        read = []
        for place, b in enumerate(b for b in range(len(values)) if b != a):
            y = own
            for number in range(2):
                y = cross(w, f"cross.{a}.{place}.{number}", y, values[b], masks[b])
            read.append(y)
        y = linear(w, f"narrow.{a}", torch.cat(read, dim=2))
        end = pool(w, f"pool.{a}", block(w, f"refine.{a}", y, masks[a]), masks[a])
        ends.append(torch.where(present[:, a, None], end, w["absent"][a]))
    return mlp(w, torch.cat(ends, dim=1))


def coattention(w: State, tokens: dict[str, Tokens]) -> Tensor:
    values, masks, _ = streams(w, tokens)
    hidden = [
        linear(w, f"hidden.{i}", v) * mask[..., None]
        for i, (v, mask) in enumerate(zip(values, masks, strict=True))
    ]
    met = []
    for number, pair in enumerate(combinations(range(len(values)), 2)):
        a, b = pair
        c = torch.tanh(linear(w, f"affinity.{number}", values[a]) @ values[b].transpose(1, 2))
        both = 0
        for side, (i, j, affinity) in enumerate(((a, b, c), (b, a, c.transpose(1, 2)))):
            count = masks[j].sum(dim=1).clamp(min=1)[:, None, None]
            inside = torch.tanh(hidden[i] + affinity @ hidden[j] / count)
            some = masks[i].any(dim=1, keepdim=True)
            scores = inside @ w[f"score.{number}.weight"][side]
            shares = scores.masked_fill(~(masks[i] | ~some), -torch.inf).softmax(dim=1)
            seen = (shares[:, None] @ values[i]).squeeze(1)
            both = both + torch.where(some, seen, w["absent"][i])
        met.append(torch.tanh(linear(w, f"meet.{number}", both)))
    return mlp(w, torch.cat(met, dim=1))


def experts(w: State, tokens: dict[str, Tokens]) -> Tensor:
    """All experts in two products, as in the module."""
    x = vectors(w, tokens)[0].flatten(1)
    scores = linear(w, "gate", x)
    best, which = scores.topk(2, dim=1)
    gates = torch.zeros_like(scores).scatter(1, which, best.softmax(dim=1))
    hidden = F.gelu(linear(w, "inner", x)).unflatten(1, (scores.shape[1], -1))
    return linear(w, "outer", (hidden * gates[..., None]).flatten(1)) + gates @ w["bias"]


def graph(w: State, tokens: dict[str, Tokens]) -> Tensor:
    h, present = vectors(w, tokens)
    real = present | ~present.any(dim=1, keepdim=True)
    for number in range(2):
        name = f"rounds.{number}"
        v = linear(w, f"{name}.project", h).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        receive = v @ w[f"{name}.receive"][..., None]
        send = (v @ w[f"{name}.send"][..., None]).transpose(2, 3)
        scores = F.leaky_relu(receive + send, 0.2) + w[f"{name}.edges"]
        shares = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=-1)
        h = h + F.elu((shares @ v).transpose(1, 2).flatten(2))
    return F.gelu(linear(w, "out.1", norm(w, "out.0", mean(h, real))))


VERSIONS = {
    "coattention": coattention,
    "mult": mult,
    "onestream": onestream,
    "bottleneck": bottleneck,
    "perceiver": perceiver,
    "qformer": qformer,
    "experts": experts,
    "graph": graph,
}


def ratio(name: str, *, rows: int = 32, width: int = 64, turns: int = 30) -> float:
    """The module's shortest CPU time as a multiple of the function's.

    CPU time and shortest, so that it matters little what else the machine does.
    """
    torch.manual_seed(0)
    counts = {"image": 49, "text": 32, "sound": 64}
    tokens = {
        key: Tokens(torch.randn(rows, count, width), torch.rand(rows, count) < 0.8)
        for key, count in counts.items()
    }
    part = FUSIONS[name](dict.fromkeys(counts, width), width=width).eval()
    state = dict(part.named_parameters())
    best = [float("inf")] * 2
    for _ in range(turns):
        for index, run in enumerate(
            (lambda: part(tokens).vector, lambda: VERSIONS[name](state, tokens))
        ):
            part.zero_grad()
            start = time.process_time()
            run().sum().backward()
            best[index] = min(best[index], time.process_time() - start)
    return best[0] / best[1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for method in VERSIONS:
        print(f"{method:<12} {ratio(method):.2f}", flush=True)
