"""Several targets at once: weights and surgery against hand calculations, and resuming to the bit."""

import math

import numpy as np
import pytest
import torch
from several import KINDS, batch, ends_at_the_same_bits, make_model, make_trainer, seeded

from plait.config import configure
from plait.errors import ConfigError
from plait.training.loop import _mean_known
from plait.training.multitask import (
    ALPHA,
    LEAST,
    RATE,
    GradNorm,
    Tasks,
    Uncertainty,
    Weighting,
    gradnorm_goals,
    pcgrad,
)
from plait.training.options import task_problems

NAMES = tuple(KINDS)


def quiet(**options):
    """A model without any randomness."""
    return make_model(dropout=0.0, modality_dropout=0.0, **options)


def losses_of(model, rows=None):
    rows = rows or batch()
    found = model.row_losses(rows.columns, rows.targets)
    return {name: _mean_known(loss, rows.targets.get(name)) for name, loss in found.items()}


def backward(loss, retain_graph=False):
    loss.backward(retain_graph=retain_graph)


def gradients(model):
    return [None if w.grad is None else w.grad.clone() for w in model.parameters()]


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


# Weights.


def test_by_default_the_losses_are_added():
    model = quiet()
    tasks = Tasks(model, configure())
    sum(losses_of(model).values()).backward()
    want = gradients(model)
    model.zero_grad()
    tasks.backward(losses_of(model), NAMES, backward)
    assert all(torch.equal(a, b) for a, b in zip(want, gradients(model), strict=True))
    assert tasks.state() == {}
    tasks.load({})


@pytest.mark.parametrize("scale", [None, 0.5])
def test_fixed_weights_are_factors(scale):
    model = quiet()
    tasks = Tasks(model, configure(task_weights={"size": 3.0, "tags": 0.0}))
    losses = losses_of(model)
    ((losses["kind"] + 3 * losses["size"]) * (scale or 1)).backward()
    want = gradients(model)
    model.zero_grad()
    tasks.backward(losses_of(model), NAMES, backward, scale)
    tags = len(list(model.heads[2].parameters()))
    assert sum(grad is None for grad in want) == tags
    assert all((w.grad == 0).all() for w in model.heads[2].parameters())
    pairs = [pair for pair in zip(want, gradients(model), strict=True) if pair[0] is not None]
    same(*(list(side) for side in zip(*pairs, strict=True)))


def test_a_single_target_may_be_weighed_by_hand_and_not_otherwise():
    model = quiet(targets=("kind",))
    tasks = Tasks(model, configure(task_weights={"kind": 2.0}, gradient_surgery="pcgrad"))
    assert tasks.weighting.weights == {"kind": 2.0}
    assert not tasks.surgery
    assert type(Tasks(model, configure(task_weighting="gradnorm")).weighting) is Weighting


def test_auxiliary_losses_are_always_just_added():
    model = quiet()
    tasks = Tasks(model, configure(task_weights=dict.fromkeys(NAMES, 0.0)))
    aux = model.fusion.vectors.absent.square().sum()
    tasks.backward({**losses_of(model), "auxiliary/size": aux}, NAMES, backward)
    absent = model.fusion.vectors.absent
    torch.testing.assert_close(absent.grad, 2 * absent.detach())


def test_uncertainty_follows_the_formula():
    """Against autograd on Kendall's loss with log variances as parameters."""
    tasks = Uncertainty({"size": True, "kind": False})
    logs = {
        name: torch.nn.Parameter(torch.zeros((), dtype=torch.float64)) for name in tasks.weights
    }
    adam = torch.optim.Adam(logs.values(), lr=RATE)
    assert tasks.weights == {"size": 0.5, "kind": 1.0}
    for size, kind in ((4.0, 0.2), (3.0, 0.3), (0.1, 0.1)):
        adam.zero_grad()
        # 1 / (2 σ²) L + log σ for numbers, 1 / σ² L + log σ for classes; s = log σ².
        loss = (-logs["size"]).exp() / 2 * size + logs["size"] / 2
        loss = loss + (-logs["kind"]).exp() * kind + logs["kind"] / 2
        loss.backward()
        adam.step()
        tasks.learn({"size": torch.tensor(size), "kind": torch.tensor(kind)})
        for name, parameter in logs.items():
            assert math.isclose(tasks.numbers[name].item(), parameter.item(), rel_tol=1e-6)
        assert math.isclose(tasks.weights["size"], 0.5 * math.exp(-tasks.numbers["size"].item()))
    assert tasks.numbers["size"] > 0 > tasks.numbers["kind"]
    before = {name: number.item() for name, number in tasks.numbers.items()}
    tasks.learn({"kind": torch.tensor(1.0)})
    assert tasks.numbers["size"] == before["size"]
    assert tasks.numbers["kind"] != before["kind"]


def test_uncertainty_knows_which_targets_are_numbers():
    tasks = Tasks(quiet(), configure(task_weighting="uncertainty"))
    assert tasks.weighting.weights == {"kind": 1.0, "size": 0.5, "tags": 1.0}


def test_the_goals_of_gradnorm():
    goals = gradnorm_goals({"a": 1.0, "b": 3.0}, {"a": 0.5, "b": 1.5})
    assert math.isclose(goals["a"], 2.0 * 0.5**ALPHA)
    assert math.isclose(goals["b"], 2.0 * 1.5**ALPHA)


def test_gradnorm_follows_the_formula():
    """Against autograd on |G - Ḡ r^α|, with the weights as parameters."""
    torch.manual_seed(1)
    shared = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(2))]
    unused = torch.nn.Parameter(torch.randn(2))
    tasks = GradNorm(("a", "b"), [*shared, unused])
    weights = [torch.nn.Parameter(torch.ones(())) for _ in range(2)]
    adam = torch.optim.Adam(weights, lr=RATE)
    first = None
    for step in range(3):
        losses = [
            (shared[0].square().sum() + shared[1].sum()) * (1 + step),
            (shared[0].sum() * 5).square() / (1 + step),
        ]
        first = first or [float(loss.detach()) for loss in losses]
        norms = []
        for weight, loss in zip(weights, losses, strict=True):
            parts = torch.autograd.grad(
                weight * loss, shared, create_graph=True, retain_graph=True, allow_unused=True
            )
            norms.append(torch.cat([p.flatten() for p in parts if p is not None]).norm())
        pace = [loss.detach() / start for loss, start in zip(losses, first, strict=True)]
        ratios = [p / (sum(pace) / 2) for p in pace]
        goal = [(sum(norms) / 2).detach() * ratio**ALPHA for ratio in ratios]
        adam.zero_grad()
        error = sum((norm - g).abs() for norm, g in zip(norms, goal, strict=True))
        grads = torch.autograd.grad(error, weights)
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad
        adam.step()
        with torch.no_grad():
            total = sum(weights)
            for weight in weights:
                weight.mul_(2 / total)
        tasks.learn(dict(zip("ab", losses, strict=True)))
        for name, weight in zip("ab", weights, strict=True):
            assert math.isclose(tasks.weights[name], weight.item(), rel_tol=1e-4)
    assert tasks.weights["a"] != 1.0


def test_gradnorm_leaves_what_a_batch_lacks():
    shared = [torch.nn.Parameter(torch.ones(2))]
    tasks = GradNorm(("a", "b", "c"), shared)
    tasks.learn({"a": shared[0].sum(), "b": 9 * shared[0].sum()})
    assert tasks.weights["c"] == 1.0
    assert "c" not in tasks.first
    assert math.isclose(tasks.weights["a"] + tasks.weights["b"], 2.0)
    assert tasks.weights["a"] > 1 > tasks.weights["b"]
    before = dict(tasks.weights)
    tasks.learn({"c": shared[0].sum()})
    tasks.learn({})
    assert tasks.weights == before


def test_gradnorm_stands_still_where_nothing_can_be_said():
    shared = [torch.nn.Parameter(torch.ones(2))]
    tasks = GradNorm(("a", "b"), shared)
    tasks.learn({"a": shared[0].sum(), "b": shared[0].sum()})  # both at their goals
    assert tasks.weights == {"a": 1.0, "b": 1.0}
    tasks.learn({"a": shared[0].sum(), "b": torch.inf * shared[0].sum()})
    assert tasks.weights == {"a": 1.0, "b": 1.0}
    other = torch.nn.Parameter(torch.ones(2))
    tasks.learn({"a": other.sum(), "b": other.sum()})  # nothing shared: no gradient at all
    assert tasks.weights == {"a": 1.0, "b": 1.0}


def test_gradnorm_keeps_every_weight_above_zero():
    shared = [torch.nn.Parameter(torch.ones(2))]
    tasks = GradNorm(("a", "b"), shared)
    for _ in range(200):
        tasks.learn({"a": shared[0].sum(), "b": 1e4 * shared[0].sum()})
    assert math.isclose(sum(tasks.weights.values()), 2.0)
    assert LEAST / 4 < tasks.weights["b"] < 0.1


# Surgery.


def test_gradients_that_agree_are_added():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert pcgrad([one, other]).tolist() == [2.0, 1.0]
    assert pcgrad([one, torch.zeros(2)]).tolist() == [1.0, 0.0]


def test_gradients_that_oppose_are_projected():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    # g₁ - (g₁·g₂ / ‖g₂‖²) g₂ = (1, 0) + ½ (-1, 1); g₂ - (g₁·g₂ / ‖g₁‖²) g₁ = (-1, 1) + (1, 0).
    assert pcgrad([one, other]).tolist() == [0.5, 1.5]


def test_three_gradients_are_projected_in_a_random_order():
    torch.manual_seed(3)
    given = list(torch.randn(3, 4, dtype=torch.float64))
    given[2] = -given[0] - given[1]  # opposes both
    torch.manual_seed(5)
    got = pcgrad(given).numpy()
    torch.manual_seed(5)
    want = np.zeros(4)
    for i in range(3):
        g = given[i].numpy().copy()
        for j in torch.randperm(3).tolist():
            rival = given[j].numpy()
            if j != i and g @ rival < 0:
                g = g - (g @ rival) / (rival @ rival) * rival
        want += g
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("fusion", ["concat", "late"])
def test_surgery_is_on_what_targets_share(fusion, scale):
    model = quiet(fusion=fusion)
    tasks = Tasks(model, configure(gradient_surgery="pcgrad", task_weights={"kind": 2.0}))
    heads = {id(w) for w in model.heads.parameters()}
    shared = [w for w in model.parameters() if id(w) not in heads]
    own = [w for w in model.parameters() if id(w) in heads]
    losses = losses_of(model)
    factor = {"kind": 2.0, "size": 1.0, "tags": 1.0}
    aux = model.fusion.vectors.absent.square().sum()
    parts, known = [], [False] * len(shared)
    for name, loss in losses.items():
        grads = torch.autograd.grad(
            loss * factor[name] * (scale or 1), shared, retain_graph=True, allow_unused=True
        )
        known = [k or g is not None for k, g in zip(known, grads, strict=True)]
        parts.append(
            torch.cat(
                [
                    (torch.zeros_like(w) if g is None else g).flatten()
                    for w, g in zip(shared, grads, strict=True)
                ]
            )
        )
    torch.manual_seed(7)
    freed = pcgrad(parts).split([w.numel() for w in shared])
    total = sum(loss * factor[name] for name, loss in losses.items()) * (scale or 1)
    heads_want = torch.autograd.grad(total, own)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)  # waits from an earlier batch
    torch.manual_seed(7)
    tasks.backward({**losses_of(model), "auxiliary/x": aux}, NAMES, backward, scale)
    for weight, want in zip(own, heads_want, strict=True):
        torch.testing.assert_close(weight.grad, want + 1, atol=1e-5, rtol=1e-4)
    for weight, want in zip(shared, freed, strict=True):
        want = want.view_as(weight) + 1
        if weight is model.fusion.vectors.absent:
            want = want + 2 * weight.detach() * (scale or 1)
        torch.testing.assert_close(weight.grad, want, atol=1e-5, rtol=1e-4)


def test_surgery_leaves_weights_that_no_loss_reaches_without_a_gradient():
    model = quiet()
    idle = torch.nn.Parameter(torch.ones(2))
    model.fusion.idle = idle
    tasks = Tasks(model, configure(gradient_surgery="pcgrad"))
    tasks.backward(losses_of(model), NAMES, backward)
    assert idle.grad is None
    assert all(w.grad is not None for w in model.encoders.parameters())
    assert [w is idle for w in tasks.shared].count(True) == 1


@pytest.mark.parametrize("there", [("kind",), ("kind", "tags"), ()])
def test_surgery_survives_targets_that_a_batch_lacks(there):
    model = quiet()
    rows = batch()
    for name in NAMES:
        if name not in there:
            rows.targets[name].fill_(-1 if name == "kind" else torch.nan)
    losses_of(model, rows)
    sum(losses_of(model, rows).values()).backward()
    plain = gradients(model)
    model.zero_grad()
    Tasks(model, configure(gradient_surgery="pcgrad")).backward(
        losses_of(model, rows), there, backward
    )
    got = gradients(model)
    assert all(g.isfinite().all() for g in got if g is not None)
    if len(there) < 2:
        same(plain, got)


def test_which_targets_are_there_is_asked_only_where_it_matters():
    targets = {"kind": torch.tensor([-1, -1]), "size": torch.tensor([torch.nan, 1.0])}
    model = quiet(targets=("kind", "size"))
    assert Tasks(model, configure()).there(targets) == ["kind", "size"]
    for options in ({"gradient_surgery": "pcgrad"}, {"task_weighting": "uncertainty"}):
        assert Tasks(model, configure(**options)).there(targets) == ["size"]


# In training.


STRATEGIES = [
    {"task_weights": {"size": 2.5}},
    {"task_weighting": "uncertainty"},
    {"task_weighting": "gradnorm"},
    {"gradient_surgery": "pcgrad"},
    {"task_weighting": "gradnorm", "gradient_surgery": "pcgrad", "accumulate": 2},
]


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_run_ends_at_the_same_bits(tmp_path, options, stop):
    whole, resumed = ends_at_the_same_bits(tmp_path, stop, options)
    assert whole.tasks.weighting.weights == resumed.tasks.weighting.weights
    assert whole.tasks.state() == resumed.tasks.state()


@pytest.mark.parametrize("options", STRATEGIES[1:4], ids=lambda o: "-".join(o.values()))
def test_a_strategy_changes_the_training_and_the_default_does_not(options):
    plain, again, other = (
        make_trainer(seeded(), epochs=1, **chosen)
        for chosen in ({}, {"task_weights": {"kind": 1.0}}, options)
    )
    for trainer in (plain, again, other):
        trainer.run()
    name = next(iter(plain.model.state_dict()))
    one, two, three = (t.model.state_dict()[name] for t in (plain, again, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


@pytest.mark.parametrize("options", STRATEGIES[1:], ids=lambda o: "-".join(map(str, o.values())))
def test_a_target_that_no_row_has_breaks_nothing(options):
    model = seeded()
    goals = {
        "kind": np.arange(40) % 3,
        "size": np.full(40, np.nan, np.float32),
        "tags": np.full((40, 2), 1.0, np.float32),
    }
    trainer = make_trainer(model, goals=goals, epochs=1, **options)
    trainer.run()
    assert trainer.reporter.notes == []
    assert all(w.isfinite().all() for w in model.parameters())


def test_the_loss_that_is_shown_is_the_plain_sum():
    plain = make_trainer(seeded(), epochs=1, batch_size=30)
    weighed = make_trainer(
        seeded(), epochs=1, batch_size=30, task_weights=dict.fromkeys(NAMES, 9.0)
    )
    shown = [trainer.run().history[0]["train_loss"] for trainer in (plain, weighed)]
    assert shown[0] == shown[1]


# Errors.


def test_a_weight_for_no_target_is_refused():
    config = configure(task_weights={"sise": 2.0, "kind": 1.0})
    assert task_problems(config, NAMES) == [
        "task_weights: 'sise' is not a target. Did you mean 'size'? The targets: kind, size, tags."
    ]
    assert task_problems(configure(task_weights={"kind": 1.0}), NAMES) == []


def test_weights_and_learned_weights_exclude_each_other():
    config = configure(task_weights={"kind": 2.0}, task_weighting="gradnorm")
    assert task_problems(config, NAMES) == [
        "task_weights: task_weighting='gradnorm' learns the weights; leave task_weights out, or set "
        "task_weighting='fixed'."
    ]


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_a_weight_is_a_number_of_zero_or_more(weight):
    with pytest.raises(ConfigError, match="task_weights: 'kind'="):
        configure(task_weights={"kind": weight})


def test_a_fit_of_two_targets_with_learned_weights(maker):
    rows = [row | {"number": index % 5 + 0.5} for index, row in enumerate(maker.plain(40))]
    for row in rows[::4]:
        row["number"] = None
    for options in ({"task_weighting": "uncertainty"}, {"gradient_surgery": "pcgrad"}):
        model = maker.fit(rows, ["label", "number"], golden_rows=1, **options)
        assert set(model.predict(rows[:3])) == {"label", "number"}
    with pytest.raises(ConfigError) as caught:
        maker.fit(rows, ["label", "number"], task_weights={"lable": 2.0})
    assert str(caught.value) == (
        "1 option is wrong:\n  - task_weights: 'lable' is not a target. Did you mean 'label'? "
        "The targets: label, number."
    )


def test_dempster_refuses_numbers_and_says_what_to_take(maker):
    rows = [row | {"number": index % 5 + 0.5} for index, row in enumerate(maker.plain(40))]
    with pytest.raises(ConfigError) as caught:
        maker.fit(rows, ["label", "number"], fusion="dempster")
    assert str(caught.value) == (
        "1 option is wrong:\n  - fusion: 'dempster' answers binary and multiclass targets only, and "
        "'number' is regression. Take another, for instance product, late, qmf, hybrid."
    )
