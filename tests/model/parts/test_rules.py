"""Every rule by which votes are combined, for classes, labels and numbers, against float64 numpy."""

import numpy as np
import pytest
import torch
from formulas import late as formulas
from formulas.parts import WIDTH, linear, norm, numbers, softmax
from torch.nn import functional

from plait.errors import ConfigError
from plait.model.encoders.registry import build_tabular
from plait.model.fusion import Late, build_fusion
from plait.model.fusion.registry import fusion_options
from plait.model.heads import HEADS, Classify, MultiLabel, Regress, build_head
from plait.model.heads.base import RANK
from plait.model.heads.rules import (
    KL,
    MAX_LOG_ALPHA,
    RULES,
    dempster,
    evidential_loss,
    label_energy,
    linear_pool,
    rank_loss,
)
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Fused, Tokens

WIDTHS = {"image": 8, "text": 12, "sound": 4}
ROWS = 6


def head_of(kind, votes=0):
    outputs = {"classify": 4, "labels": 3, "regress": 1}[kind]
    head = build_head(kind, width=WIDTH, outputs=outputs, dropout=0.0, votes=votes)
    if head.stack:
        for weight in head.stack.parameters():
            torch.nn.init.normal_(weight)
    return head.eval()


def votes(count=3):
    """Logits of all votes, with some missing; row 0 has one only, and row 1 all."""
    mask = torch.rand(ROWS, count) < 0.6
    mask[0], mask[1] = torch.arange(count) == 1, True
    mask[~mask.any(dim=1), 0] = True
    return Tokens(torch.randn(ROWS, count, WIDTH), mask)


def combined(head, rule, trust=None):
    """The head's scores, and each row's present logits and trust in float64."""
    given = votes()
    trust = torch.rand(ROWS, 3) + 0.1 if trust is None else trust
    trust = trust * given.mask
    fused = Fused(given.values.mean(1), votes=given, trust=trust, rule=rule)
    h = numbers(head)
    logits = linear(h, "project.2", norm(h, "project.0", given.values.double().numpy()))
    rows = [
        (logits[row][there], trust[row][there].double().numpy())
        for row, there in enumerate(given.mask.numpy())
    ]
    got = head.scores(head(fused)).detach().numpy()
    return got, rows, logits, given.mask.numpy()


def agree(got, want):
    np.testing.assert_allclose(got, np.stack(want), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "rule", "formula"),
    [
        ("classify", "mean", formulas.mean_of_classes),
        ("labels", "mean", formulas.mean_of_labels),
        ("classify", "energy", formulas.energy_of_classes),
        ("labels", "energy", formulas.energy_of_labels),
        ("regress", "mean", lambda y, s: s @ y / s.sum()),
        ("regress", "energy", lambda y, s: s @ y / s.sum()),
        ("regress", "product", lambda y, s: s @ y / s.sum()),
        ("classify", "dempster", lambda z, s: softmax(np.log(formulas.dempster(z)))),
    ],
)
def test_a_rule_equals_its_formula(kind, rule, formula):
    got, rows, _, _ = combined(head_of(kind), rule)
    agree(got, [formula(logits, trust) for logits, trust in rows])


@pytest.mark.parametrize("kind", ["classify", "labels"])
def test_the_product_of_all_trusts_one_equals_its_formula(kind):
    got, rows, _, _ = combined(head_of(kind), "product", torch.ones(ROWS, 3))
    want = []
    for logits, _ in rows:
        if kind == "classify":
            pool = np.prod([softmax(z) for z in logits], axis=0)
            want.append(pool / pool.sum())
        else:
            yes, no = (np.prod([formulas.sigmoid(s * z) for z in logits], axis=0) for s in (1, -1))
            want.append(yes / (yes + no))
    agree(got, want)


@pytest.mark.parametrize("kind", ["classify", "labels", "regress"])
def test_stacked_answers_are_a_linear_map_of_all_votes(kind):
    head = head_of(kind, votes=3)
    got, _, logits, masks = combined(head, "stacked")
    h = numbers(head)
    last = {"classify": softmax, "labels": formulas.sigmoid, "regress": lambda y: y}
    want = []
    for values, there in zip(logits, masks, strict=True):
        read = np.log(softmax(values)) if kind == "classify" else values
        answer = formulas.stacked(read, there, h["stack.maps"], h["stack.bias"])
        want.append(last[kind](answer))
    agree(got, want)


@pytest.mark.parametrize("kind", ["classify", "labels", "regress"])
def test_a_stack_starts_as_the_mean_of_the_votes_that_are_there(kind):
    head = head_of(kind).eval()
    fresh = build_head(
        kind, width=WIDTH, outputs=head.project[2].out_features, dropout=0.0, votes=3
    )
    given = votes()
    logits = fresh.project(given.values)
    read = logits.log_softmax(-1) if kind == "classify" else logits
    want = [row[there].mean(0) for row, there in zip(read, given.mask, strict=True)]
    got = fresh.combine(logits, given.mask.float(), "stacked")
    torch.testing.assert_close(got, torch.stack(want))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", HEADS)
def test_missing_votes_never_matter_and_no_vote_is_finite(kind, rule):
    if rule == "dempster" and kind in ("labels", "regress"):
        return
    head = head_of(kind, votes=3 if rule == "stacked" else 0)
    logits = torch.randn(ROWS, 3, head.project[2].out_features, requires_grad=True)
    trust = torch.tensor([[1.0, 0.5, 0.0]] * 5 + [[0.0] * 3], requires_grad=True)
    noisy = logits.detach().clone()
    noisy[:, 2] = 1e6 * torch.randn_like(noisy[:, 2])
    got = head.combine(logits, trust, rule)
    torch.testing.assert_close(got[:5], head.combine(noisy, trust, rule)[:5])
    got.square().sum().backward()
    assert got.isfinite().all()
    assert logits.grad.isfinite().all()
    assert trust.grad is None or trust.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["labels", "regress"])
def test_dempster_is_for_classes_only(kind):
    head = head_of(kind)
    name = type(head).__name__
    with pytest.raises(ValueError) as caught:
        head.combine(torch.zeros(1, 2, head.project[2].out_features), torch.ones(1, 2), "dempster")
    assert str(caught.value) == (
        f"the rule 'dempster' is for classes; {name} takes product, mean, stacked, energy"
    )


@pytest.mark.parametrize("kind", HEADS)
def test_an_unknown_rule_and_a_stack_that_was_not_built_are_refused(kind):
    head = head_of(kind)
    logits, trust = torch.zeros(1, 2, head.project[2].out_features), torch.ones(1, 2)
    with pytest.raises(ValueError) as caught:
        head.combine(logits, trust, "median")
    assert str(caught.value) == (
        "unknown rule 'median'; choose from product, mean, stacked, energy, dempster"
    )
    with pytest.raises(ValueError) as caught:
        head.combine(logits, trust, "stacked")
    assert str(caught.value) == ("the rule 'stacked' needs a head built with votes=2, got votes=0")


# The losses that come with a rule.


def test_the_evidential_loss_equals_the_formula():
    alpha = torch.rand(ROWS, 4) * 30 + 1
    target = torch.tensor([0, 3, 1, 2, 2, 0])
    got = evidential_loss(alpha.log(), target)
    want = [
        formulas.evidential(a, t, KL) for a, t in zip(alpha.double().numpy(), target, strict=True)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_endless_evidence_keeps_the_evidential_loss_finite():
    logits = torch.tensor([[500.0, 0.0], [0.0, 500.0]], requires_grad=True)
    loss = evidential_loss(dempster(logits.unsqueeze(1), torch.ones(2, 1)), torch.tensor([0, 0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert loss[0] < 0.05 < 1 < loss[1]
    huge = dempster(torch.full((1, 60, 2), 1e4), torch.ones(1, 60))
    assert huge.isfinite().all()
    assert (huge > MAX_LOG_ALPHA).all()


def test_the_row_loss_of_dempster_trains_the_pool_and_each_opinion():
    weights = torch.tensor([0.5, 1.0, 2.0, 1.5])
    head = Classify(width=WIDTH, outputs=4, weights=weights, smoothing=0.1).eval()
    given, target = votes(), torch.tensor([0, 3, -1, 2, 2, 0])
    fused = Fused(given.values.mean(1), votes=given, trust=given.mask.float(), rule="dempster")
    got = head.row_loss(fused, target).detach().numpy()
    h = numbers(head)
    logits = linear(h, "project.2", norm(h, "project.0", given.values.double().numpy()))
    for row, there in enumerate(given.mask.numpy()):
        if target[row] < 0:
            assert got[row] == 0
            continue
        goal = int(target[row])
        alone = [
            formulas.evidential(formulas.softplus(z) + 1, goal, KL) for z in logits[row][there]
        ]
        pool = formulas.evidential(formulas.dempster(logits[row][there]), goal, KL)
        want = float(weights[goal]) * (pool + np.mean(alone))
        np.testing.assert_allclose(got[row], want, rtol=1e-4)


def test_the_row_loss_of_dempster_without_class_weights():
    head = Classify(width=WIDTH, outputs=3).eval()
    lone = Tokens(torch.randn(2, 1, WIDTH), torch.ones(2, 1, dtype=torch.bool))
    fused = Fused(lone.values[:, 0], votes=lone, trust=torch.ones(2, 1), rule="dempster")
    alone = head.votes_loss(lone, torch.tensor([0, 2]), "dempster")
    torch.testing.assert_close(head.row_loss(fused, torch.tensor([0, 2])), 2 * alone)


def test_the_rank_loss_equals_the_formula():
    confidence, losses = torch.rand(ROWS, 2), 3 * torch.rand(ROWS, 2)
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    mask[4, 0] = mask[5] = False
    got = rank_loss(confidence, losses, mask)
    w, k = confidence.double().numpy(), losses.double().numpy()
    for row in range(ROWS):
        each = []
        for vote in (0, 1):
            if mask[row, vote]:
                others = mask[:, vote].numpy()
                place = int(others[:row].sum())
                each.append(formulas.rank(w[others, vote], k[others, vote], place))
        want = np.mean(each) if each else 0.0
        np.testing.assert_allclose(got[row], want, atol=1e-6)


def test_rank_wants_less_confidence_where_the_loss_is_higher():
    confidence = torch.tensor([[1.0], [1.0]], requires_grad=True)
    losses = torch.tensor([[0.1], [2.0]])
    rank_loss(confidence, losses, torch.ones(2, 1, dtype=torch.bool)).sum().backward()
    assert confidence.grad[0] < 0 < confidence.grad[1]
    right = torch.tensor([[5.0], [1.0]])
    assert rank_loss(right, losses, torch.ones(2, 1, dtype=torch.bool)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("classify", torch.tensor([0, 3, -1, 2, 2, 0])),
        ("labels", torch.tensor([[1.0, 0, 1]] * 5 + [[torch.nan] * 3])),
    ],
)
def test_energy_adds_its_regulariser_in_training_only(kind, target):
    head, given = head_of(kind), votes()
    fused = Fused(given.values.mean(1), votes=given, trust=given.mask.float(), rule="energy")
    plain = head.row_loss(fused, target)
    logits = head.project(given.values)
    each = torch.stack([head.loss(logits[:, index], target) for index in range(3)], dim=1)
    known = target >= 0 if kind == "classify" else ~target.isnan().any(dim=1)
    extra = rank_loss(head.confidence(logits), each, given.mask & known.unsqueeze(1))
    assert extra.max() > 0
    torch.testing.assert_close(head.train().row_loss(fused, target), plain + RANK * extra)


def test_numbers_have_no_energy():
    head, given = head_of("regress"), votes()
    fused = Fused(given.values.mean(1), votes=given, trust=given.mask.float(), rule="energy")
    target = torch.randn(ROWS)
    assert head.confidence(given.values[..., :1]) is None
    torch.testing.assert_close(head.train().row_loss(fused, target), head.row_loss(fused, target))
    assert torch.equal(head.row_loss(fused, target), head.eval().row_loss(fused, target))


def test_confidence_gets_no_gradient_from_the_answer():
    for head in (Classify(width=WIDTH, outputs=2), MultiLabel(width=WIDTH, outputs=2)):
        logits = torch.randn(1, 1, 2, requires_grad=True)
        head.combine(logits, torch.ones(1, 1), "energy")[0, 0].backward()
        sure = head.confidence(logits) if isinstance(head, Classify) else label_energy(logits)[0, 0]
        torch.testing.assert_close(
            logits.grad[0, 0], torch.tensor([float(sure.detach().flatten()[0]), 0.0])
        )


def test_emphasis_weighs_each_vote_and_the_pool():
    head, given = head_of("classify"), votes()
    target = torch.tensor([0, 3, -1, 2, 2, 0])
    fused = Fused(given.values.mean(1), votes=given, trust=given.mask.float())
    emphasis = torch.tensor([2.0, 0.5, 3.0])  # two streams and the pool; the last vote has factor 1
    logits = head.project(given.values)
    each = torch.stack([head.loss(logits[:, index], target) for index in range(3)], dim=1)
    alone = (each * given.mask * torch.tensor([2.0, 0.5, 1.0])).sum(1) / given.mask.sum(1)
    want = 3.0 * head.loss(head(fused), target) + alone
    torch.testing.assert_close(head.row_loss(fused, target, emphasis), want)
    single = Fused(given.values[:, 0])
    want = 3.0 * head.loss(head(single), target)
    torch.testing.assert_close(head.row_loss(single, target, emphasis), want)


def test_a_linear_pool_of_labels_is_one_of_probabilities():
    """Yes and no are pooled apart; together they are sure."""
    logits, trust = torch.randn(4, 3, 5), torch.rand(4, 3)
    yes = linear_pool(functional.logsigmoid(logits), trust).exp()
    no = linear_pool(functional.logsigmoid(-logits), trust).exp()
    torch.testing.assert_close(yes + no, torch.ones(4, 5))


# The fusions that use them.


def streams():
    mask = torch.ones(4, 3, dtype=torch.bool)
    return {
        name: Tokens(torch.randn(4, 3, width), mask.clone().index_fill(0, torch.tensor(row), False))
        for row, (name, width) in enumerate(WIDTHS.items())
    }


@pytest.mark.parametrize(
    ("name", "options", "rule", "trusts", "shares"),
    [
        ("late", {}, "product", True, True),
        ("late", {"mode": "weighted"}, "product", True, True),
        ("late", {"mode": "mean"}, "mean", False, True),
        ("late", {"mode": "stacked"}, "stacked", False, False),
        ("product", {}, "product", False, True),
        ("dempster", {}, "dempster", False, False),
        ("qmf", {}, "energy", True, False),
    ],
)
def test_a_late_fusion_says_its_rule(name, options, rule, trusts, shares):
    part = build_fusion(name, WIDTHS, width=WIDTH, dropout=0.0, options=options).eval()
    fused = part(streams())
    assert fused.rule == rule
    assert any(key.endswith("log_trust") for key, _ in part.named_parameters()) is trusts
    assert (fused.weights is not None) is shares
    assert part.voting
    assert part.stacks == (4 if rule == "stacked" else 0)
    assert torch.equal(fused.trust > 0, fused.votes.mask)
    if not trusts:
        assert set(fused.trust.unique().tolist()) <= {0.0, 1.0}
    if shares:
        torch.testing.assert_close(fused.weights[3], torch.full((3,), 1 / 3))


def test_the_modes_of_late_differ_in_their_rule_only():
    torch.manual_seed(0)
    one = Late(WIDTHS, width=WIDTH)
    torch.manual_seed(0)
    other = Late(WIDTHS, width=WIDTH, mode="mean")
    assert fusion_options("late") == {"mode": "weighted"}
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value)


def test_an_unknown_mode_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        build_fusion("late", WIDTHS, width=WIDTH, dropout=0.0, options={"mode": "stack"})
    assert str(caught.value) == (
        "1 option is wrong:\n  - fusion_options: late: unknown mode 'stack'. Did you mean 'stacked'? "
        "Choose from: mean, stacked, weighted."
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [("late", {"mode": "stacked"}), ("late", {"mode": "mean"}), ("qmf", {}), ("dempster", {})],
)
def test_every_parameter_learns_whatever_the_rule(name, options):
    size = {"width": WIDTH, "preset": "fast", "dropout": 0.0}
    encoders = {key: build_tabular([("numeric", {})], **size) for key in ("one", "two")}
    fusion = build_fusion(
        name, dict.fromkeys(encoders, WIDTH), width=WIDTH, dropout=0.0, options=options
    )
    model = Model(
        streams={"one": ["a"], "two": ["b"]},
        encoders=encoders,
        fusion=fusion,
        heads={
            "y": build_head("classify", width=WIDTH, outputs=2, dropout=0.0, votes=fusion.stacks)
        },
        unimodal_loss=0.3,
    )
    there = torch.ones(ROWS, dtype=torch.bool)
    there[0] = False
    columns = {name: ColumnBatch(torch.randn(ROWS, 1), there) for name in "ab"}
    target = {"y": torch.tensor([0, 1, 1, 0, -1, 1])}
    model.row_losses(columns, target)["y"].sum().backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all(), key


def test_regress_is_exported_with_a_stack():
    assert Regress(width=WIDTH, votes=2).stack.maps.shape == (2, 1, 1)
