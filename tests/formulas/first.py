"""The first six: concat, weighted, mapping, late, attention, hybrid."""

import math

import numpy as np

from formulas.parts import WIDTH, gelu, inside, linear, norm, pooled, softmax, vectors


def concat(w, tokens, row):
    v, _ = vectors(w, tokens, row)
    return linear(w, "mix.3", gelu(linear(w, "mix.0", v.reshape(-1))))


def weighted(w, tokens, row):
    v, there = vectors(w, tokens, row)
    scores = linear(w, "score", np.tanh(linear(w, "hidden", v) + w["bias"]))[:, 0]
    shares = np.where(there if there.any() else True, np.exp(scores), 0)
    shares = shares / shares.sum()
    return gelu(linear(w, "out.1", norm(w, "out.0", shares @ v)))


def mapping(w, tokens, row):
    v, there = vectors(w, tokens, row)
    if not there.any():
        return w["nothing"]
    common = norm(w, "norm", v[there])
    return (common + linear(w, "shared.3", gelu(linear(w, "shared.0", common)))).mean(0)


def late_votes(w, tokens, row):
    v, there = vectors(w, tokens, row)
    if not there.any():
        return w["nothing"][None], np.exp(w["log_trust"][-1:])
    votes = [
        linear(w, f"towers.{i}.4", gelu(linear(w, f"towers.{i}.1", norm(w, f"towers.{i}.0", v[i]))))
        for i in np.flatnonzero(there)
    ]
    return np.stack(votes), np.exp(w["log_trust"][:-1][there])


def late(w, tokens, row):
    return late_votes(w, tokens, row)[0].mean(0)


def attention(w, tokens, row, rounds=2, heads=4, count=2):
    sequence = [w["query"][None]]
    for index, stream in enumerate(tokens.values()):
        real = stream.values[row][stream.mask[row]].double().numpy()
        if len(real):
            summary = norm(w, f"project.{index}.0", pooled(w, f"pool.{index}", real))
            sequence.append(linear(w, f"project.{index}.1", summary) + w["identity"][index])
        else:
            sequence.append(np.repeat(w["absent"][index], count, axis=0))
    x = np.concatenate(sequence)
    for number in range(rounds):
        name = f"rounds.{number}"
        normed = norm(w, f"{name}.attention_norm", x)
        q = linear(w, f"{name}.attention.to_query", normed)
        k, v = np.split(linear(w, f"{name}.attention.to_key_value", normed), 2, axis=-1)
        mixed = []
        for one in range(heads):
            part = slice(one * WIDTH // heads, (one + 1) * WIDTH // heads)
            mixed.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(WIDTH / heads)) @ v[:, part])
        x = x + linear(w, f"{name}.attention.to_out", np.concatenate(mixed, axis=-1))
        inner = gelu(linear(w, f"{name}.feed.0", norm(w, f"{name}.feed_norm", x)))
        x = x + linear(w, f"{name}.feed.3", inner)
    return norm(w, "norm", x)[0]


def hybrid(w, tokens, row):
    return concat(inside(w, "joint"), tokens, row)


def hybrid_votes(w, tokens, row):
    votes, trust = late_votes(inside(w, "late"), tokens, row)
    if not any(stream.mask[row].any() for stream in tokens.values()):
        return votes, trust
    return np.concatenate([votes, hybrid(w, tokens, row)[None]]), np.append(
        trust, np.exp(w["log_trust"])
    )


FORMULAS = {
    "hybrid": hybrid,
    "concat": concat,
    "weighted": weighted,
    "mapping": mapping,
    "late": late,
    "attention": attention,
}
VOTES = {"late": late_votes, "hybrid": hybrid_votes}
