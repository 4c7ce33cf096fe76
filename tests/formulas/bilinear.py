"""The bilinear family, from the definition of each: outer products and weight tensors are built whole."""

from itertools import combinations

import numpy as np

from formulas.parts import linear, norm, vectors


def tensor(w, tokens, row):
    v, _ = vectors(w, tokens, row)
    product = np.ones(())
    for one in v:
        product = np.multiply.outer(product, np.append(1, one))
    return linear(w, "mix.3", np.maximum(linear(w, "mix.0", product.reshape(-1)), 0))


def lowrank(w, tokens, row):
    v, _ = vectors(w, tokens, row)
    product = outer([np.append(1, one) for one in v])
    answer = np.empty_like(w["bias"])
    factors = w["factors"].reshape(len(v), v.shape[1] + 1, -1, len(answer))
    for number in range(len(answer)):
        weight = sum(outer(factors[:, :, rank, number]) for rank in range(factors.shape[2]))
        answer[number] = (weight * product).sum() + w["bias"][number]
    return answer


def outer(parts):
    whole = np.ones(())
    for part in parts:
        whole = np.multiply.outer(whole, part)
    return whole


def multiplicative(w, tokens, row):
    v, _ = vectors(w, tokens, row)
    state = v[0]
    for number, other in enumerate(v[1:]):
        size = len(state)
        weight = w[f"steps.{number}.product.weight"].reshape(size, size, size)
        own = w[f"steps.{number}.own.weight"]
        state = (
            np.einsum("i,kij,j->k", other, weight, state)
            + own[:, :size] @ other
            + own[:, size:] @ state
            + w[f"steps.{number}.own.bias"]
        )
        state = norm(w, f"norms.{number}", state)
    return linear(w, "out", state)


def paired(joint):
    """The sum over pairs p < q of a linear map of their joint vector, without pairs that lack both."""

    def formula(w, tokens, row):
        v, there = vectors(w, tokens, row)
        pairs = list(combinations(range(len(v)), 2))
        maps = np.split(w["out.weight"], len(pairs), axis=1)
        answer = w["out.bias"].copy()
        for number, (p, q) in enumerate(pairs):
            if there[p] or there[q]:
                answer += maps[number] @ joint(w, v[p], v[q], p, q, number)
        return answer

    return formula


def normalised(x):
    """Signed root and l2 norm; the root is softened by 1e-4 near zero."""
    root = np.sign(x) * np.abs(x) / np.sqrt(np.abs(x) + 1e-4)
    return root / np.linalg.norm(root)


def mcb(w, x, y, p, q, number, size=512):
    """The count sketch of the outer product (Pham & Pagh 2013): h(i, j) = h(i) + h(j), s = s(i) s(j)."""
    sketch = np.zeros(size)
    for i in range(len(x)):
        for j in range(len(y)):
            place = (w["places"][p][i] + w["places"][q][j]) % size
            sketch[int(place)] += w["signs"][p][i] * w["signs"][q][j] * x[i] * y[j]
    return normalised(sketch)


def mlb(w, x, y, p, q, number):
    return np.tanh(x) * np.tanh(y)


def mfb(w, x, y, p, q, number, factors=5):
    return normalised(
        np.array(
            [
                sum(x[i * factors + k] * y[i * factors + k] for k in range(factors))
                for i in range(len(x) // factors)
            ]
        )
    )


def mutan(w, x, y, p, q, number):
    left, right = (
        w[side][number].reshape(len(x), -1, len(x)) for side in ("left_core", "right_core")
    )
    core = np.einsum("iro,jro->ijo", left, right)
    return np.einsum("i,j,ijo->o", np.tanh(x), np.tanh(y), core)


def block(w, x, y, p, q, number, blocks=8):
    """One core of all blocks, zero off its diagonal of blocks."""
    part = len(x) // blocks
    left, right = (
        w[side].reshape(-1, blocks, part, w[side].shape[2] // part, part)[number]
        for side in ("left_core", "right_core")
    )
    core = np.zeros((len(x), len(y), len(x)))
    for c in range(blocks):
        own = slice(c * part, (c + 1) * part)
        core[own, own, own] = np.einsum("iro,jro->ijo", left[c], right[c])
    joint = np.einsum("i,j,ijo->o", x, y, core)
    return np.concatenate([normalised(one) for one in np.split(joint, blocks)])


FORMULAS = {
    "tensor": tensor,
    "lowrank": lowrank,
    "multiplicative": multiplicative,
    "mcb": paired(mcb),
    "mlb": paired(mlb),
    "mfb": paired(mfb),
    "mutan": paired(mutan),
    "block": paired(block),
}
