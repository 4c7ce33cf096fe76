"""Generative and aligned fusions, and those made for missing streams: their vectors in use."""

import math
from itertools import combinations

import numpy as np

from formulas.parts import WIDTH, gelu, linear, norm, pooled, softmax, vectors


def scaled(w, tokens, row):
    """Each stream's vector with mean 0 and variance 1, zeros where absent; and which are there."""
    found, there = [], []
    for index, stream in enumerate(tokens.values()):
        real = stream.values[row][stream.mask[row]].double().numpy()
        there.append(len(real) > 0)
        if len(real):
            summary = norm(
                w, f"vectors.project.{index}.0", pooled(w, f"vectors.pool.{index}", real)[0]
            )
            v = linear(w, f"vectors.project.{index}.1", summary)
            found.append((v - v.mean()) / np.sqrt(v.var() + 1e-5))
        else:
            found.append(np.zeros(WIDTH))
    return np.stack(found), np.array(there)


def perceptron(w, name, x, second=3):
    return linear(w, f"{name}.{second}", gelu(linear(w, f"{name}.0", x)))


def experts(w, tokens, row):
    """μ and 1/σ² of the streams that are there."""
    v, there = scaled(w, tokens, row)
    said = [perceptron(w, f"experts.{m}", v[m]) for m in np.flatnonzero(there)]
    return [(s[:WIDTH], 1 / np.exp(np.clip(s[WIDTH:], -8, 8))) for s in said]


def mvae(w, tokens, row):
    top, bottom = np.zeros(WIDTH), np.ones(WIDTH)
    for mean, precision in experts(w, tokens, row):
        top, bottom = top + precision * mean, bottom + precision
    return top / bottom


def mmvae(w, tokens, row):
    said = experts(w, tokens, row)
    return np.mean([mean for mean, _ in said], axis=0) if said else np.zeros(WIDTH)


def mopoe(w, tokens, row):
    said = experts(w, tokens, row)
    means = [
        sum(t * m for m, t in some) / sum(t for _, t in some)
        for size in range(1, len(said) + 1)
        for some in combinations(said, size)
    ]
    return np.mean(means, axis=0) if said else np.zeros(WIDTH)


def gan(w, tokens, row):
    v, there = scaled(w, tokens, row)
    complete = []
    for m in range(len(v)):
        codes = [perceptron(w, f"translators.encoders.{n}", v[n]) for n in np.flatnonzero(there)]
        if there[m]:
            complete.append(v[m])
        elif codes:
            made = [perceptron(w, f"translators.decoders.{m}", code, 2) for code in codes]
            complete.append(np.mean(made, axis=0))
        else:
            complete.append(w["absent"][m])
    return perceptron(w, "mix", np.concatenate(complete))


def mctn(w, tokens, row):
    v, there = scaled(w, tokens, row)
    codes = [
        perceptron(w, f"translators.encoders.{n}", v[n]) if there[n] else w["absent"][n]
        for n in range(len(v))
    ]
    return perceptron(w, "mix", np.concatenate(codes))


def dcca(w, tokens, row):
    v, _ = vectors(w, tokens, row)
    views = [perceptron_after_norm(w, f"aligned.{m}", v[m]) for m in range(len(v))]
    return perceptron(w, "mix", np.concatenate([*v, *views]))


def perceptron_after_norm(w, name, x):
    return linear(w, f"{name}.3", gelu(linear(w, f"{name}.1", norm(w, f"{name}.0", x))))


def contrastive(w, tokens, row):
    v, there = scaled(w, tokens, row)
    unit = []
    for m in range(len(v)):
        h = linear(w, f"project.{m}", v[m])
        unit.append(h / np.linalg.norm(h))
    unit = np.stack(unit)
    stand_in = unit[there].mean(0) if there.any() else w["nothing"]
    shown = np.where(there[:, None], unit, stand_in)
    return perceptron(w, "mix", shown.reshape(-1) * math.sqrt(WIDTH))


def attend(w, name, x, keys, heads=4):
    """Pre-norm self-attention to some of the vectors and a perceptron, with residuals."""
    normed = norm(w, f"{name}.attention_norm", x)
    q = linear(w, f"{name}.attention.to_query", normed)
    k, v = np.split(linear(w, f"{name}.attention.to_key_value", normed[keys]), 2, axis=-1)
    mixed = []
    for one in range(heads):
        part = slice(one * WIDTH // heads, (one + 1) * WIDTH // heads)
        mixed.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(WIDTH / heads)) @ v[:, part])
    x = x + linear(w, f"{name}.attention.to_out", np.concatenate(mixed, axis=-1))
    return x + perceptron(w, f"{name}.feed", norm(w, f"{name}.feed_norm", x))


def misa(w, tokens, row):
    v, there = scaled(w, tokens, row)
    shared = 1 / (1 + np.exp(-linear(w, "shared.0", v)))
    private = [1 / (1 + np.exp(-linear(w, f"private.{m}.0", v[m]))) for m in range(len(v))]
    x = np.concatenate([shared, np.stack(private)])
    real = np.tile(there, 2)
    if real.any():
        x = attend(w, "block", x, real)
    return perceptron(w, "mix", np.where(real[:, None], x, 0).reshape(-1))


def shaspec(w, tokens, row):
    v, there = scaled(w, tokens, row)
    shared = perceptron(w, "shared", v)
    stand_in = shared[there].mean(0) if there.any() else w["nothing"]
    features = []
    for m in range(len(v)):
        own = perceptron(w, f"specific.{m}", v[m])
        joined = linear(w, "join", np.concatenate([own, shared[m]])) + shared[m]
        features.append(joined if there[m] else stand_in)
    return perceptron(w, "mix", np.concatenate(features))


def actionmae(w, tokens, row):
    v, there = scaled(w, tokens, row)
    memory, identity = w["memory"], w["identity"]
    encoded = attend(
        w,
        "encoder",
        np.concatenate([memory, (v + identity)[there]]),
        slice(None),
    )
    line = np.repeat(w["gap"][None], len(v), axis=0)
    line[there] = encoded[len(memory) :]
    decoded = attend(
        w, "decoder", np.concatenate([encoded[: len(memory)], line + identity]), slice(None)
    )
    guess = linear(w, "predict.1", norm(w, "predict.0", decoded[len(memory) :]))
    complete = np.where(there[:, None], v, guess) + identity
    return norm(w, "norm", attend(w, "mixer", complete, slice(None))).mean(0)


FORMULAS = {
    "mvae": mvae,
    "mmvae": mmvae,
    "mopoe": mopoe,
    "gan": gan,
    "mctn": mctn,
    "dcca": dcca,
    "contrastive": contrastive,
    "misa": misa,
    "shaspec": shaspec,
    "actionmae": actionmae,
}
