"""Attention, experts and graphs: a row at a time, over its real tokens alone."""

from itertools import combinations

import numpy as np

from formulas.parts import gelu, linear, norm, pooled, softmax, vectors


def attend(w, name, queries, keys, heads):
    """Multi-head attention; what is seen, and each key's share averaged over heads and queries."""
    width = queries.shape[-1]
    if not len(keys):
        return np.tile(w[f"{name}.to_out.bias"], (len(queries), 1)), np.zeros(0)
    q = linear(w, f"{name}.to_query", queries)
    k, v = np.split(linear(w, f"{name}.to_key_value", keys), 2, axis=-1)
    seen, shares = [], []
    for part in np.split(np.arange(width), heads):
        share = softmax(q[:, part] @ k[:, part].T / np.sqrt(width / heads))
        seen.append(share @ v[:, part])
        shares.append(share.mean(0))
    return linear(w, f"{name}.to_out", np.concatenate(seen, axis=-1)), np.mean(shares, axis=0)


def feed(w, name, x):
    inner = linear(w, f"{name}.feed.0", norm(w, f"{name}.feed_norm", x))
    return x + linear(w, f"{name}.feed.3", gelu(inner))


def block(w, name, x, heads):
    normed = norm(w, f"{name}.attention_norm", x)
    return feed(w, name, x + attend(w, f"{name}.attention", normed, normed, heads)[0])


def cross(w, name, x, seen, heads):
    normed = norm(w, f"{name}.query_norm", x), norm(w, f"{name}.key_norm", seen)
    return feed(w, name, x + attend(w, f"{name}.attention", *normed, heads)[0])


def streams(w, tokens, row):
    """Each stream's real tokens at the common width."""
    found = []
    for index, stream in enumerate(tokens.values()):
        real = stream.values[row][stream.mask[row]].double().numpy()
        name = f"tokens.project.{index}"
        found.append(linear(w, f"{name}.1", norm(w, f"{name}.0", real)))
    return found


def mlp(w, x):
    return linear(w, "mix.3", gelu(linear(w, "mix.0", x)))


def onestream(w, tokens, row, rounds=2, heads=4):
    x = np.concatenate([w["lead"][None], *streams(w, tokens, row)])
    for number in range(rounds):
        x = block(w, f"rounds.{number}", x, heads)
    return norm(w, "norm", x)[0]


def bottleneck(w, tokens, row, before=1, rounds=2, heads=4):
    found = streams(w, tokens, row)
    here = [index for index, stream in enumerate(found) if len(stream)]
    if not here:
        return w["nothing"]
    x = {index: np.concatenate([w["leads"][[index]], found[index]]) for index in here}
    for number in range(before):
        x = {index: block(w, f"before.{number}.{index}", x[index], heads) for index in here}
    shared = w["bottleneck"]
    for number in range(rounds):
        views = []
        for index in here:
            both = np.concatenate([x[index], shared])
            both = block(w, f"rounds.{number}.{index}", both, heads)
            x[index], view = np.split(both, [len(x[index])])
            views.append(view)
        shared = np.mean(views, axis=0)
    return norm(w, "norm", np.mean([x[index][0] for index in here], axis=0))


def perceiver(w, tokens, row, rounds=2, depth=1, heads=4, shared=True):
    seen = np.concatenate(streams(w, tokens, row))
    latents = w["latents"]
    for number in range(rounds):
        reading, thinking = (min(number, 1), 0) if shared else (number, number)
        latents = cross(w, f"cross.{reading}", latents, seen, heads)
        for layer in range(depth):
            latents = block(w, f"between.{thinking}.{layer}", latents, heads)
    return norm(w, "norm", latents.mean(0))


def qformer(w, tokens, row, rounds=2, heads=4):
    found = streams(w, tokens, row)
    q = w["queries"]
    for number in range(rounds):
        name = f"rounds.{number}"
        normed = norm(w, f"{name}.self_norm", q)
        q = q + attend(w, f"{name}.self_attention", normed, normed, heads)[0]
        normed = norm(w, f"{name}.cross_norm", q)
        heard = [
            attend(w, f"{name}.cross.{index}", normed, stream, heads)[0]
            for index, stream in enumerate(found)
            if len(stream)
        ]
        q = feed(w, name, q + (np.mean(heard, axis=0) if heard else 0))
    return norm(w, "norm", q.mean(0))


def mult(w, tokens, row, rounds=2, heads=4):
    found = streams(w, tokens, row)
    ends = []
    for target, own in enumerate(found):
        if not len(own):
            ends.append(w["absent"][target])
            continue
        others = [other for index, other in enumerate(found) if index != target] or [own]
        read = []
        for place, other in enumerate(others):
            y = own
            for number in range(rounds):
                y = cross(w, f"cross.{target}.{place}.{number}", y, other, heads)
            read.append(y)
        y = linear(w, f"narrow.{target}", np.concatenate(read, axis=1))
        ends.append(pooled(w, f"pool.{target}", block(w, f"refine.{target}", y, heads))[0])
    return mlp(w, np.concatenate(ends))


def coattention(w, tokens, row):
    found = streams(w, tokens, row)
    met = []
    pairs = list(combinations(range(len(found)), 2)) or [(0, 0)]
    for number, (one, two) in enumerate(pairs):
        v, q = found[one].T, found[two].T  # the paper's, tokens in columns
        hidden_v, hidden_q = w[f"hidden.{one}.weight"] @ v, w[f"hidden.{two}.weight"] @ q
        c = np.tanh(q.T @ w[f"affinity.{number}.weight"] @ v)
        h_v = np.tanh(hidden_v + hidden_q @ c / max(q.shape[1], 1))
        h_q = np.tanh(hidden_q + hidden_v @ c.T / max(v.shape[1], 1))
        score_v, score_q = w[f"score.{number}.weight"]
        seen_v = v @ softmax(score_v @ h_v) if v.size else w["absent"][one]
        seen_q = q @ softmax(score_q @ h_q) if q.size else w["absent"][two]
        met.append(np.tanh(linear(w, f"meet.{number}", seen_v + seen_q)))
    return mlp(w, np.concatenate(met))


def experts(w, tokens, row, top=2):
    x = vectors(w, tokens, row)[0].reshape(-1)
    scores = w["gate.weight"] @ x
    chosen = np.argsort(-scores)[:top]
    gates = softmax(scores[chosen]) if top > 1 else softmax(scores)[chosen]
    width, count = len(w["outer.weight"]), len(scores)
    answers = []
    for expert in chosen:
        part = np.split(np.arange(count * width), count)[expert]
        inner = gelu(w["inner.weight"][part] @ x + w["inner.bias"][part])
        answers.append(w["outer.weight"][:, part] @ inner + w["bias"][expert])
    return gates @ np.array(answers)


def graph_round(w, name, h, there, heads):
    """Each head's attention, and the nodes after the round."""
    projected = h @ w[f"{name}.project.weight"].T
    shares, messages = [], []
    for head, part in enumerate(np.split(np.arange(h.shape[1]), heads)):
        a = np.concatenate([w[f"{name}.receive"][head], w[f"{name}.send"][head]])
        scores = np.empty((len(h), len(h)))
        for i, one in enumerate(projected[:, part]):
            for j, two in enumerate(projected[:, part]):
                e = a @ np.concatenate([one, two])
                scores[i, j] = max(e, 0.2 * e) + w[f"{name}.edges"][head, there[i], there[j]]
        shares.append(softmax(scores))
        messages.append(shares[-1] @ projected[:, part])
    message = np.concatenate(messages, axis=1)
    return shares, h + np.where(message > 0, message, np.expm1(np.minimum(message, 0)))


def graph_nodes(w, tokens, row, rounds=2, heads=4):
    """The last attention, the last nodes, and which streams they are."""
    h, present = vectors(w, tokens, row)
    there = np.flatnonzero(present if present.any() else ~present)
    h = h[there]
    for number in range(rounds):
        shares, h = graph_round(w, f"rounds.{number}", h, there, heads)
    return np.mean(shares, axis=0), h, there


def graph(w, tokens, row, rounds=2, heads=4):
    h = graph_nodes(w, tokens, row, rounds, heads)[1].mean(0)
    return gelu(linear(w, "out.1", norm(w, "out.0", h)))


FORMULAS = {
    "coattention": coattention,
    "mult": mult,
    "onestream": onestream,
    "bottleneck": bottleneck,
    "perceiver": perceiver,
    "qformer": qformer,
    "experts": experts,
    "graph": graph,
}
