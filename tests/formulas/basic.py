"""Sums, gates, towers and modulation: early to channel, in plain float64 numpy, a row at a time."""

import math

import numpy as np

from formulas.parts import WIDTH, gelu, linear, norm, pooled, softmax, vectors


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def mlp(w, name, x):
    return linear(w, f"{name}.3", gelu(linear(w, f"{name}.0", x)))


def own(w, name, x):
    """A linear map of its own a stream, whose weights are stored input by output."""
    bias = w[f"{name}.bias"][:, 0] if f"{name}.bias" in w else np.zeros(len(x))
    return np.stack([x[m] @ w[f"{name}.weight"][m] + bias[m] for m in range(len(x))])


def members(v, there):
    """The vectors a row is fused from: those that are there, or all absent ones if none is."""
    return v[there] if there.any() else v


def real(stream, row):
    return stream.values[row][stream.mask[row]].double().numpy()


def early(w, tokens, row, layers=3):
    x, at = [], 0
    for index, stream in enumerate(tokens.values()):
        size, found = stream.values.shape[-1], real(stream, row)
        absent = w["absent"][at : at + size]
        x.append(norm(w, f"scale.{index}", found.mean(0)) if len(found) else absent)
        at += size
    h = linear(w, "enter", np.concatenate(x))
    for layer in range(layers):
        h = h + mlp(w, f"feeds.{layer}", norm(w, f"norms.{layer}", h))
    return norm(w, "norm", h)


def sum_(w, tokens, row):
    return mlp(w, "out", vectors(w, tokens, row)[0].sum(0))


def mean(w, tokens, row):
    return mlp(w, "out", members(*vectors(w, tokens, row)).mean(0))


def max_(w, tokens, row):
    return mlp(w, "out", members(*vectors(w, tokens, row)).max(0))


def deepsets(w, tokens, row):
    total = sum(mlp(w, "phi", v) for v in members(*vectors(w, tokens, row)))
    return mlp(w, "rho.1", gelu(total))


def gmu(w, tokens, row):
    v, there = vectors(w, tokens, row)
    h = np.tanh(own(w, "hidden", v))
    z = sigmoid(w["gate.weight"] @ v.reshape(-1))
    if not there.any():
        there = ~there
    if len(v) == 2:
        return z * h[0] + (1 - z) * h[1] if there.all() else h[there][0]
    return (z.reshape(v.shape) * h)[there].sum(0)


def embrace(w, tokens, row):
    v, there = vectors(w, tokens, row)
    return mlp(w, "out", members(relu(own(w, "dock", v)), there).mean(0))


def centralnet(w, tokens, row, layers=2):
    h, _ = vectors(w, tokens, row)
    c = sum(w["start"][m] * h[m] for m in range(len(h)))
    for layer in range(layers):
        h, alpha = gelu(own(w, f"towers.{layer}", h)), w["alpha"][layer]
        listened = sum(alpha[m] * h[m] for m in range(len(h)))
        c = listened + alpha[-1] * gelu(linear(w, f"central.{layer}", c))
    return c


def maps(w, tokens, row):
    """Each stream's real tokens at one width, or its one absent token; and which are there."""
    found, there = [], []
    for index, stream in enumerate(tokens.values()):
        x = real(stream, row)
        there.append(len(x) > 0)
        if len(x):
            x = linear(w, f"maps.project.{index}.1", norm(w, f"maps.project.{index}.0", x))
        else:
            x = w["maps.absent"][index][None]
        found.append(x)
    return found, np.array(there)


def summary(w, name, found):
    return np.stack([pooled(w, f"{name}.{index}", x)[0] for index, x in enumerate(found)])


def mmtm(w, tokens, row, layers=2):
    x, there = maps(w, tokens, row)
    for layer in range(layers):
        for m in range(len(x)):
            x[m] = x[m] + mlp(w, f"feeds.{layer}.{m}", norm(w, f"norms.{layer}.{m}", x[m]))
        squeeze = np.concatenate([one.mean(0) for one in x])
        z = relu(linear(w, f"gates.{layer}.0", squeeze))
        excite = linear(w, f"gates.{layer}.2", z).reshape(len(x), -1)
        x = [2 * sigmoid(e) * one for e, one in zip(excite, x, strict=True)]
    return members(summary(w, "pool", x), there).mean(0)


def standard(x):
    """Layer normalisation without a scale and shift of its own."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def film(w, tokens, row, layers=2):
    x, there = maps(w, tokens, row)
    c = summary(w, "look", x)
    for layer in range(layers):
        weight, bias = w[f"generate.{layer}.weight"], w[f"generate.{layer}.bias"][:, 0]
        for m in range(len(x)):
            modulation = bias[m].copy()
            for slot, n in enumerate([n for n in range(len(x)) if n != m]):
                modulation += c[n] @ weight[m, slot * WIDTH : (slot + 1) * WIDTH]
            gamma, beta = 1 + modulation[:WIDTH], modulation[WIDTH:]
            features = standard(linear(w, f"inner.{layer}.{m}", x[m]))
            x[m] = x[m] + relu(gamma * features + beta)
    return members(summary(w, "pool", x), there).mean(0)


def nlgate(w, tokens, row):
    x, there = maps(w, tokens, row)
    theta, phi, g = zip(*(np.split(linear(w, "embed", one), 3, axis=-1) for one in x), strict=True)
    gated = []
    for m in range(len(x)):
        others = [n for n in range(len(x)) if n != m and there[n]]
        taken = 0
        if others:
            key, value = (np.concatenate([part[n] for n in others]) for part in (phi, g))
            taken = softmax(theta[m] @ key.T / math.sqrt(WIDTH / 2)) @ value @ w["back.weight"].T
        gated.append(x[m] + taken)
    return mlp(w, "out", members(summary(w, "pool", gated), there).mean(0))


def channel(w, tokens, row):
    x, _ = maps(w, tokens, row)
    squeeze = np.concatenate([one.mean(0) for one in x])
    gates = sigmoid(w["gate.3.weight"] @ relu(w["gate.1.weight"] @ squeeze))
    gated = [a * one for a, one in zip(gates.reshape(len(x), -1), x, strict=True)]
    return mlp(w, "out", summary(w, "pool", gated).reshape(-1))


def channel_eca(w, tokens, row, kernel=5):
    x, _ = maps(w, tokens, row)
    squeeze = np.stack([one.mean(0) for one in x])
    padded = np.pad(squeeze, ((0, 0), (kernel // 2, kernel // 2)))
    scores = np.zeros_like(squeeze)
    for m in range(len(x)):
        for c in range(WIDTH):
            scores[m, c] = (w["gate.weight"][m] * padded[:, c : c + kernel]).sum()
    gated = [sigmoid(a) * one for a, one in zip(scores, x, strict=True)]
    return mlp(w, "out", summary(w, "pool", gated).reshape(-1))


FORMULAS = {
    "early": early,
    "sum": sum_,
    "mean": mean,
    "max": max_,
    "deepsets": deepsets,
    "gmu": gmu,
    "embrace": embrace,
    "centralnet": centralnet,
    "mmtm": mmtm,
    "film": film,
    "nlgate": nlgate,
    "channel": channel,
}
