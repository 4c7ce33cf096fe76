"""The steps that formulas share: linear maps, norms, softmax, pooling."""

import math

import numpy as np

WIDTH = 16
ERF = np.vectorize(math.erf)


def numbers(module):
    return {key: value.detach().double().numpy() for key, value in module.state_dict().items()}


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]
        + w[f"{name}.bias"]
    )


def gelu(x):
    return x * 0.5 * (1 + ERF(x / math.sqrt(2)))


def softmax(x, axis=-1):
    shares = np.exp(x - x.max(axis=axis, keepdims=True))
    return shares / shares.sum(axis=axis, keepdims=True)


def pooled(w, prefix, values, count=1):
    scores = linear(w, f"{prefix}.score.2", np.tanh(linear(w, f"{prefix}.score.0", values)))
    return softmax(scores, axis=0).T @ values


def vectors(w, tokens, row):
    """Each stream's vector, or its absent one; and which streams are there."""
    found, there = [], []
    for index, stream in enumerate(tokens.values()):
        real = stream.values[row][stream.mask[row]].double().numpy()
        there.append(len(real) > 0)
        if len(real):
            summary = norm(
                w, f"vectors.project.{index}.0", pooled(w, f"vectors.pool.{index}", real)[0]
            )
            found.append(linear(w, f"vectors.project.{index}.1", summary))
        else:
            found.append(w["vectors.absent"][index])
    return np.stack(found), np.array(there)


def inside(w, name):
    return {
        key.removeprefix(f"{name}."): value
        for key, value in w.items()
        if key.startswith(f"{name}.")
    }
