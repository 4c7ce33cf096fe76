"""Losses and scores of every head against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error

from plait.model.heads import HEADS, Classify, MultiLabel, Regress, build_head
from plait.model.tokens import Fused, Tokens


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.fixture
def logits():
    return torch.randn(6, 3) * 2


def test_cross_entropy_equals_sklearn(logits):
    target = torch.tensor([0, 2, 1, 1, 0, 2])
    loss = Classify(width=4, outputs=3).loss(logits, target)
    assert loss.shape == (6,)
    want = log_loss(target, logits.double().softmax(-1).numpy(), labels=[0, 1, 2])
    np.testing.assert_allclose(loss.mean(), want, rtol=1e-5)


def test_label_smoothing_and_class_weights_equal_the_formula(logits):
    weights, smoothing = torch.tensor([0.5, 1.0, 3.0]), 0.2
    head = Classify(width=4, outputs=3, weights=weights, smoothing=smoothing)
    target = torch.tensor([0, 2, 1, 1, 0, 2])
    logs, w = log_softmax(logits.double().numpy()), weights.double().numpy()
    for row, label in enumerate(target):
        goal = np.full(3, smoothing / 3)
        goal[label] += 1 - smoothing
        want = -(goal * w * logs[row]).sum()
        np.testing.assert_allclose(head.loss(logits, target)[row], want, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 3.0])])
def test_a_missing_class_has_no_loss_and_no_gradient(logits, smoothing, weights):
    head = Classify(width=4, outputs=3, weights=weights, smoothing=smoothing)
    logits.requires_grad_()
    loss = head.loss(logits, torch.tensor([0, -1, 1, 1, -1, 2]))
    loss.sum().backward()
    assert loss[[1, 4]].tolist() == [0, 0]
    assert (logits.grad[[1, 4]] == 0).all()
    assert (logits.grad[[0, 2, 3, 5]] != 0).all()


def test_binary_cross_entropy_equals_the_formula(logits):
    weights, smoothing = torch.tensor([0.5, 1.0, 3.0]), 0.2
    target = (torch.rand(6, 3) < 0.5).float()
    loss = MultiLabel(width=4, outputs=3, weights=weights, smoothing=smoothing).loss(logits, target)
    chance = 1 / (1 + np.exp(-logits.double().numpy()))
    goal = target.double().numpy() * (1 - smoothing) + smoothing / 2
    want = -(weights.numpy() * goal * np.log(chance) + (1 - goal) * np.log(1 - chance)).mean(1)
    np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_missing_labels_have_no_loss_and_no_gradient(logits):
    logits.requires_grad_()
    target = torch.ones(6, 3)
    target[1] = torch.nan
    loss = MultiLabel(width=4, outputs=3).loss(logits, target)
    loss.sum().backward()
    assert loss[1] == 0
    assert (logits.grad[1] == 0).all()
    assert logits.grad.isfinite().all()


def test_squared_error_equals_sklearn():
    logits, target = torch.randn(6, 1), torch.randn(6)
    loss = Regress(width=4, kind="mse").loss(logits, target)
    np.testing.assert_allclose(loss.mean(), mean_squared_error(target, logits[:, 0]), rtol=1e-5)


def test_huber_is_squared_near_and_linear_far():
    logits, target = (
        torch.tensor([[0.0], [0.0], [0.0], [0.0]]),
        torch.tensor([0.5, -1.0, 3.0, -4.0]),
    )
    loss = Regress(width=4).loss(logits, target)
    np.testing.assert_allclose(loss, [0.125, 0.5, 2.5, 3.5], rtol=1e-6)


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_a_missing_number_has_no_loss_and_no_gradient(kind):
    logits = torch.randn(3, 1, requires_grad=True)
    loss = Regress(width=4, kind=kind).loss(logits, torch.tensor([1.0, torch.nan, -1.0]))
    loss.sum().backward()
    assert loss[1] == 0
    assert logits.grad[1] == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_an_infinite_number_gives_an_infinite_loss(kind):
    """Not a very large one, which training would take for a good batch."""
    loss = Regress(width=4, kind=kind).loss(
        torch.zeros(2, 1), torch.tensor([torch.inf, -torch.inf])
    )
    assert not loss.isfinite().any()


def test_scores_are_probabilities_or_the_number(logits):
    assert torch.allclose(Classify(width=4, outputs=3).scores(logits).sum(1), torch.ones(6))
    assert torch.allclose(MultiLabel(width=4, outputs=3).scores(logits), 1 / (1 + (-logits).exp()))
    assert torch.equal(Regress(width=4).scores(logits[:, :1]), logits[:, :1])


TARGETS = {
    "classify": torch.tensor([2, 1, -1]),
    "labels": torch.tensor([[0.0, 1, 1], [1, 0, 0], [torch.nan] * 3]),
    "regress": torch.tensor([0.5, -2.0, torch.nan]),
}
OUTPUTS = {"classify": 3, "labels": 3, "regress": 1}


@pytest.mark.parametrize("kind", HEADS)
def test_the_registry_builds_every_head(kind):
    head = build_head(kind, width=4, outputs=OUTPUTS[kind], dropout=0.1)
    assert type(head) is HEADS[kind]
    logits = head(Fused(torch.randn(3, 4)))
    loss = head.loss(logits, TARGETS[kind])
    assert logits.shape == (3, OUTPUTS[kind])
    assert loss.shape == (3,)
    assert loss[2] == 0


@pytest.mark.parametrize("kind", HEADS)
def test_votes_answer_together_and_alone(kind):
    head = build_head(kind, width=4, outputs=OUTPUTS[kind], dropout=0.0).eval()
    mask = torch.tensor([[True, True], [False, True], [True, True]])
    votes = Tokens(torch.randn(3, 2, 4), mask)
    fused = Fused(torch.randn(3, 4), votes=votes, trust=mask.float())
    alone = torch.stack(
        [head.loss(head(Fused(votes.values[:, index])), TARGETS[kind]) for index in (0, 1)], dim=1
    )
    each = (alone * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(head.votes_loss(votes, TARGETS[kind]), each)
    together = head.loss(head(fused), TARGETS[kind])
    torch.testing.assert_close(head.row_loss(fused, TARGETS[kind]), together + each)
    # A lone vote with trust one is just itself.
    lone = Fused(votes.values[:, 1], votes=votes, trust=torch.tensor([[0.0, 1.0]] * 3))
    got, want = head.scores(head(lone)), head.scores(head(Fused(votes.values[:, 1])))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", HEADS)
def test_rows_without_a_vote_have_no_loss_of_votes(kind):
    head = build_head(kind, width=4, outputs=OUTPUTS[kind], dropout=0.0)
    votes = Tokens(torch.randn(3, 2, 4), torch.zeros(3, 2, dtype=torch.bool))
    assert head.votes_loss(votes, TARGETS[kind]).tolist() == [0, 0, 0]


def test_class_weights_are_no_part_of_what_is_saved():
    head = build_head("classify", width=4, outputs=3, dropout=0.0, weights=torch.ones(3))
    assert not any("weights" in name for name in head.state_dict())
