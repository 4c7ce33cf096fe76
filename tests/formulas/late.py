"""Late fusion's votes, and the rules that combine them, in plain float64 numpy."""

from math import lgamma

import numpy as np
from scipy.special import digamma

from formulas.first import late_votes
from formulas.parts import softmax


def votes_mean(w, tokens, row):
    """The vector of every late fusion; ``log_trust``, where there is none, is that of trust 1."""
    return votes(w, tokens, row)[0].mean(0)


def votes(w, tokens, row):
    return late_votes({"log_trust": np.zeros(len(tokens) + 1)} | w, tokens, row)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.log(1 + np.exp(z))


def mean_of_classes(logits, trust):
    return sum(s * softmax(z) for s, z in zip(trust, logits, strict=True)) / sum(trust)


def mean_of_labels(logits, trust):
    return sum(s * sigmoid(z) for s, z in zip(trust, logits, strict=True)) / sum(trust)


def energy(logits):
    return np.log(1 + np.exp(logits).sum())


def energy_of_classes(logits, trust):
    return softmax(sum(s * energy(z) * z for s, z in zip(trust, logits, strict=True)))


def energy_of_labels(logits, trust):
    """Each label is a class of two, with logits half of its own and the negative of that."""
    answer = []
    for label in logits.T:
        pairs = np.stack([label / 2, -label / 2], axis=1)
        answer.append(energy_of_classes(pairs, trust)[0])
    return np.array(answer)


def stacked(values, there, maps, bias):
    """``values`` of all votes, ``there`` which of them are real."""
    stand_in = values[there].mean(0)
    answer = bias.copy()
    for value, real, matrix in zip(values, there, maps, strict=True):
        answer = answer + (value if real else stand_in) @ matrix
    return answer


def opinion(logits):
    """Belief in each class, and uncertainty."""
    evidence = softplus(logits)
    strength = (evidence + 1).sum()
    return evidence / strength, len(logits) / strength


def reduced_rule(one, other):
    """Han et al. 2021, for two opinions."""
    (b1, u1), (b2, u2) = one, other
    conflict = sum(b1[i] * b2[j] for i in range(len(b1)) for j in range(len(b2)) if i != j)
    scale = 1 / (1 - conflict)
    return scale * (b1 * b2 + b1 * u2 + b2 * u1), scale * u1 * u2


def dempster(logits):
    """The Dirichlet parameters, two opinions after another."""
    combined = opinion(logits[0])
    for each in logits[1:]:
        combined = reduced_rule(combined, opinion(each))
    belief, doubt = combined
    strength = len(belief) / doubt
    return belief * strength + 1


def evidential(alpha, true, pull):
    """Han et al. 2021: expected cross-entropy and the divergence from no evidence."""
    goal = np.eye(len(alpha))[true]
    fit = (goal * (digamma(alpha.sum()) - digamma(alpha))).sum()
    false = goal + (1 - goal) * alpha
    divergence = lgamma(false.sum()) - lgamma(len(alpha)) - sum(map(lgamma, false))
    divergence += ((false - 1) * (digamma(false) - digamma(false.sum()))).sum()
    return fit + pull * divergence


def rank(confidence, losses, row):
    """The regulariser of one vote and row against all rows, itself included."""
    terms = [
        max(0.0, np.sign(losses[row] - k) * (confidence[row] - w) + abs(losses[row] - k))
        for w, k in zip(confidence, losses, strict=True)
    ]
    return np.mean(terms)


FORMULAS = {"product": votes_mean, "dempster": votes_mean, "qmf": votes_mean}
