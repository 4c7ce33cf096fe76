"""Distillation: the loss against its formula, and a row of a batch."""

import numpy as np
import pytest
import torch
from several import KINDS, batch, make_model

from plait.model.heads import build_head
from plait.training.distill import SHARE, TAUGHT, TEMPERATURE, Distillation, Taught


def distance(name, logits, scores, temperature=TEMPERATURE):
    head = build_head(name, width=4, outputs=logits.shape[1], dropout=0.0)
    return head.distance(logits, scores, temperature)


def softmax(values):
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("outputs", [2, 4])
def test_of_classes_it_is_the_divergence_at_a_temperature(outputs, temperature):
    teacher, student = torch.randn(6, outputs), torch.randn(6, outputs)
    got = distance("classify", student, teacher.softmax(1), temperature)
    p = softmax(teacher.numpy().astype(np.float64) / temperature)
    q = softmax(student.numpy().astype(np.float64) / temperature)
    np.testing.assert_allclose(
        got, temperature**2 * (p * np.log(p / q)).sum(axis=1), rtol=1e-3, atol=1e-5
    )
    assert distance("classify", teacher, teacher.softmax(1), temperature).abs().max() < 1e-5


def test_of_labels_it_is_that_of_each():
    teacher, student = torch.randn(6, 3), torch.randn(6, 3)
    got = distance("labels", student, teacher.sigmoid(), 2.0)
    p = 1 / (1 + np.exp(-teacher.double().numpy() / 2))
    q = 1 / (1 + np.exp(-student.double().numpy() / 2))
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(got, 4 * each.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_of_a_number_it_is_the_square():
    got = distance("regress", torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [-1.0]]))
    assert got.tolist() == [0.0, 9.0]


@pytest.mark.parametrize("kind", ["classify", "labels"])
def test_a_teacher_that_is_certain_gives_a_finite_loss(kind):
    certain = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    student = torch.randn(2, 2, requires_grad=True)
    loss = distance(kind, student, certain).sum()
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_without_a_teacher_the_student_learns_as_any_model():
    model = make_model()
    lesson = Distillation(lambda model: None, {})
    assert lesson.learner(model) is model and lesson.goals() == {}


def test_losses_are_shared_between_the_table_and_the_teacher():
    model, rows = make_model(dropout=0.0, modality_dropout=0.0), batch()
    plain = model.row_losses(rows.columns, rows.targets)
    logits = model(rows.columns)
    scores = {name: head.scores(logits[name]).detach() for name, head in zip(KINDS, model.heads, strict=True)}  # fmt: skip
    taught = Taught(model)
    goals = rows.targets | {TAUGHT + name: values for name, values in scores.items()}
    got = taught.row_losses(rows.columns, goals)
    for name in KINDS:
        torch.testing.assert_close(got[name], (1 - SHARE) * plain[name])
        assert got[f"auxiliary/taught {name}"].abs().max() < 1e-4  # it agrees with itself
    goals[TAUGHT + "size"] = goals[TAUGHT + "size"] + 2
    got = taught.row_losses(rows.columns, goals)
    torch.testing.assert_close(
        got["auxiliary/taught size"], torch.full((len(rows.rows),), 4 * SHARE)
    )
