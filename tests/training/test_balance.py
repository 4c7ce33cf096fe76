"""Streams balanced in training: each formula by hand, and resuming to the bit."""

import math

import numpy as np
import pytest
import torch
from several import (
    KINDS,
    batch,
    ends_at_the_same_bits,
    identical,
    make_model,
    make_trainer,
    seeded,
    table,
)

from plait.config import configure
from plait.errors import ConfigError
from plait.model.heads import Classify, MultiLabel, Regress
from plait.model.loader import Loader
from plait.training.balance import (
    Balance,
    build_balance,
    encoder_rates,
    stream_rates,
)
from plait.training.balance.blending import LEAST_OVERFITTING, Blending, Means, blend
from plait.training.balance.modulation import (
    AGM,
    OGM,
    Agm,
    OgmGe,
    agm_coefficients,
    likelihood,
    ogm_coefficients,
)
from plait.training.optim import build_optimizer
from plait.training.options import balance_problems

METHODS = ["blending", "ogm-ge", "agm"]


def quiet(**options):
    """A model without any randomness."""
    return make_model(dropout=0.0, modality_dropout=0.0, **options)


def held_out(rows=range(30, 40), streams=("one", "two")):
    columns, goals = table(streams)
    return Loader(columns, goals, np.array(rows), batch_size=4, seed=None)


def listened(method, model, rows):
    """Row losses of a batch, heard and observed by a method."""
    with method.listen():
        losses = model.row_losses(rows.columns, rows.targets)
    method.observe(rows.targets)
    return losses


def own_logits(model, rows, head):
    """Each stream's own logits, ``[rows, streams, outputs]``, and which streams are there."""
    tokens = model.encode(rows.columns)
    if model.voices is None:
        votes = model.fusion(tokens).votes
        vectors, there = votes.values[:, :2], votes.mask[:, :2]
    else:
        vectors, there = model.voices(tokens)
    return head.project(vectors).detach(), there


# OGM-GE.


@pytest.mark.parametrize(
    ("scores", "ratios"),
    [
        ([0.6, 0.4], [0.6 / 0.4, None]),
        ([0.5, 0.5], [None, None]),
        ([0.9, 0.4, 0.6], [0.9 / 0.5, None, None]),
        ([0.9, None, 0.3], [0.9 / 0.3, None, None]),
        ([0.9, None], [None, None]),
        ([0.5, 0.0], [0.5 / 1e-8, None]),
    ],
)
def test_the_coefficient_of_ogm_equals_the_formula(scores, ratios):
    """For two: k = 1 - tanh(α s_u / s_v) for the leader, and 1 for the other."""
    want = [1.0 if ratio is None else 1 - math.tanh(OGM * ratio) for ratio in ratios]
    np.testing.assert_allclose(ogm_coefficients(scores), want)


def test_likelihoods_are_the_probability_of_the_truth():
    logits = torch.randn(4, 3)
    truth = torch.tensor([2, 0, 1, -1])
    got = likelihood(Classify(width=4, outputs=3), logits, truth)
    torch.testing.assert_close(got[:3], logits.softmax(1)[[0, 1, 2], [2, 0, 1]])
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [torch.nan] * 3])
    got = likelihood(MultiLabel(width=4, outputs=3), logits, labels)
    chance = 1 / (1 + (-logits).exp())
    want = (labels * chance + (1 - labels) * (1 - chance)).mean(1)
    torch.testing.assert_close(got[:3], want[:3])
    assert got[3].isfinite()
    head = Regress(width=4)
    numbers = torch.tensor([0.1, -2.0, 0.0, 5.0])
    got = likelihood(head, logits[:, :1], numbers)
    torch.testing.assert_close(got, (-head.loss(logits[:, :1], numbers)).exp())


@pytest.mark.parametrize("fusion", ["concat", "late", "hybrid"])
def test_ogm_scales_each_encoder_and_adds_noise_of_its_spread(fusion):
    model, rows = quiet(fusion=fusion), batch()
    method = build_balance(model, configure(balance="ogm-ge"))
    assert isinstance(method, OgmGe)
    sum(loss.sum() for loss in listened(method, model, rows).values()).backward()
    sums, counts = np.zeros(2), np.zeros(2)
    for head, target in zip(model.heads, rows.targets.values(), strict=True):
        logits, there = own_logits(model, rows, head)
        known = (
            target >= 0 if target.dtype == torch.int64 else ~target.reshape(12, -1).isnan().any(1)
        )
        for index in range(2):
            use = there[:, index] & known
            sums[index] += float(likelihood(head, logits[:, index], target)[use].sum())
            counts[index] += int(use.sum())
    np.testing.assert_allclose(method.sums, sums, rtol=1e-5)
    assert method.counts == counts.tolist()
    scores = (sums / counts).tolist()
    factors = ogm_coefficients(scores)
    assert min(factors) < 1
    before = {id(w): w.grad.clone() for w in model.parameters() if w.grad is not None}
    torch.manual_seed(3)
    method.modulate()
    torch.manual_seed(3)
    for encoder, factor in zip(model.encoders, factors, strict=True):
        for weight in encoder.parameters():
            old = before[id(weight)]
            want = old * factor
            if weight.ndim >= 2:
                want = want + torch.randn_like(old) * old.std(correction=0)
            torch.testing.assert_close(weight.grad, want, rtol=1e-4, atol=1e-6)
    for part in (model.fusion, model.heads):
        assert all(torch.equal(w.grad, before[id(w)]) for w in part.parameters())
    assert method.sums == [0.0, 0.0]


def test_an_encoder_that_streams_share_is_scaled_once_by_their_mean():
    model, rows = quiet(shared=True), batch()
    method = OgmGe(model)
    sum(loss.sum() for loss in listened(method, model, rows).values()).backward()
    scores = [s / c for s, c in zip(method.sums, method.counts, strict=True)]
    factor = sum(ogm_coefficients(scores)) / 2
    bias = next(w for w in model.encoders[0].parameters() if w.ndim < 2 and w.grad.any())
    before = bias.grad.clone()
    method.modulate()
    torch.testing.assert_close(bias.grad, before * factor)


def test_encoders_without_a_gradient_are_left():
    model, rows = quiet(), batch()
    method = OgmGe(model)
    listened(method, model, rows)
    method.modulate()
    assert all(w.grad is None for w in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_listening_leaves_no_trace(name):
    model, rows = quiet(), batch()
    plain = model.row_losses(rows.columns, rows.targets)
    method = build_balance(model, configure(balance=name), held_out())
    heard = listened(method, model, rows)
    assert all(torch.equal(plain[key], heard[key]) for key in plain)
    assert not model.fusion._forward_hooks
    assert not model.fusion._forward_pre_hooks
    assert not model.voices._forward_hooks
    assert (method.tokens, method.fused, method.voices) == ({}, None, None)
    assert all(part.training for part in model.modules())


# AGM.


def test_the_coefficient_of_agm_equals_the_formula():
    scores, running = [-0.2, -0.8], [-0.5, -0.6]
    got = agm_coefficients(scores, running)
    want = [math.exp(AGM * (math.exp(d) - math.exp(s))) for s, d in ((0.6, 0.1), (-0.6, -0.1))]
    np.testing.assert_allclose(got, want)
    assert got[0] < 1 < got[1]
    assert agm_coefficients([-0.3, -0.4], [-0.3, -0.4]) == [1.0, 1.0]
    three = agm_coefficients([-0.1, -0.3, -0.8], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(three[0], math.exp(AGM * (1 - math.exp(0.45))))
    assert agm_coefficients([-0.3, None], [-0.5, -0.1]) == [1.0, 1.0]
    assert agm_coefficients([-0.3, math.nan, -0.2], [0.0] * 3)[1] == 1.0
    assert agm_coefficients([-5.0, 0.0], [5.0, 0.0])[0] == math.e  # no more than e
    assert agm_coefficients([900.0, 0.0], [0.0, 0.0])[0] == 0.0


@pytest.mark.parametrize("fusion", ["concat", "late"])
def test_agm_scores_the_shapley_value_of_each_stream(fusion):
    model, rows = quiet(fusion=fusion), batch()
    method = build_balance(model, configure(balance="agm"))
    assert isinstance(method, Agm)
    sum(loss.sum() for loss in listened(method, model, rows).values()).backward()
    with torch.no_grad():
        tokens = model.encode(rows.columns)
        seen = {
            keep: model.answer(model.fuse(tokens, list(keep)))
            for keep in ((), ("one",), ("two",), ("one", "two"))
        }
    scores = []
    for index, (own, other) in enumerate((("one", "two"), ("two", "one"))):
        there = tokens[own].present
        total, count = 0.0, 0
        for name, head in zip(model.targets, model.heads, strict=True):
            target = rows.targets[name]
            whole = seen["one", "two"][name]
            # Over both orders, what the stream adds: first of all, and after the other.
            share = ((seen[(own,)][name] - seen[()][name]) + (whole - seen[(other,)][name])) / 2
            known = (
                target >= 0
                if target.dtype == torch.int64
                else ~target.reshape(12, -1).isnan().any(1)
            )
            use = there & known
            total -= float(head.loss(share, target)[use].sum())
            count += int(use.sum())
        np.testing.assert_allclose(method.sums[index], total, rtol=1e-4)
        assert method.counts[index] == count
        scores.append(total / count)
    before = next(w for w in model.encoders[0].parameters() if w.grad.any())
    old = before.grad.clone()
    method.running, method.seen = [0.0, -1.0], [3, 3]
    method.modulate()
    running = [
        start + (score - start) / 4 for start, score in zip([0.0, -1.0], scores, strict=True)
    ]
    np.testing.assert_allclose(method.running, running, rtol=1e-4)
    factor = agm_coefficients(scores, running)[0]
    torch.testing.assert_close(before.grad, old * factor, rtol=1e-3, atol=1e-7)
    assert method.state() == {"running": method.running, "seen": [4, 4]}


def test_agm_counts_updates_that_saw_a_stream():
    method = Agm(quiet())
    assert method.coefficients([None, -0.5]) == [1.0, 1.0]
    assert method.seen == [0, 1]
    assert method.running == [0.0, -0.5]
    method.coefficients([math.nan, -1.0])
    assert method.running == [0.0, -0.75]


# Gradient-Blending.


def test_a_blend_is_generalisation_over_overfitting_squared():
    first = [[1.0, 1.0, 1.0], [1.1, 1.1, 1.2]]  # training, then held out
    now = [[0.4, 0.8, 0.2], [0.9, 1.0, 0.7]]
    gains = np.array([0.2, 0.1, 0.5])
    overfit = np.array([(0.9 - 0.4) - 0.1, (1.0 - 0.8) - 0.1, (0.7 - 0.2) - 0.2])
    want = gains / overfit**2
    np.testing.assert_allclose(blend(first, now), want / want.sum())
    # No rise in overfitting counts as the least; a loss that got worse counts nothing.
    now = [[1.0, 0.5, 1.0], [0.9, 1.4, 1.1]]
    np.testing.assert_allclose(
        blend(first, now), [0.2 / (0.2 / LEAST_OVERFITTING**2 + 0.1 / LEAST_OVERFITTING**2)
        / LEAST_OVERFITTING**2, 0, 1 / 3], rtol=1e-6,
    )  # fmt: skip
    assert blend(first, first) == []
    assert blend(first, [[1.0, 1, 1], [math.nan] * 3]) == []


def test_means_are_over_the_rows_that_have_a_target_added_over_targets():
    means = Means(2)
    yes, no = True, False
    means.add("a", torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[yes, yes], [yes, no]]))
    means.add("a", torch.tensor([[5.0, 6]]), torch.tensor([[yes, no]]))
    means.add("b", torch.tensor([[7.0, 8]]), torch.tensor([[no, yes]]))
    assert means.means() == [3.0, 10.0]


@pytest.mark.parametrize("fusion", ["concat", "late"])
def test_blending_measures_each_stream_and_the_fused_answer(fusion):
    model = quiet(fusion=fusion)
    method = Blending(model, held_out())
    rows = batch()
    listened(method, model, rows)
    model.eval()
    want = np.zeros(3)
    with torch.no_grad():
        for head, (name, target) in zip(model.heads, rows.targets.items(), strict=True):
            known = (
                target >= 0
                if target.dtype == torch.int64
                else ~target.reshape(12, -1).isnan().any(1)
            )
            logits, there = own_logits(model, rows, head)
            for index in range(2):
                loss = head.loss(logits[:, index], target)
                want[index] += float(loss[known & there[:, index]].mean())
            want[2] += float(head.loss(model(rows.columns)[name], target)[known].mean())
    np.testing.assert_allclose(method.train.means(), want, rtol=1e-5)
    assert model.emphasis is None
    method.close_epoch()
    np.testing.assert_allclose(method.first[0], want, rtol=1e-5)
    assert model.training
    assert model.emphasis is None  # one epoch says nothing about what changes
    assert method.train.sums == {}


def test_the_weights_move_half_way_and_keep_their_sum():
    model = quiet()
    method = Blending(model, held_out())
    assert method.weights == [0.15, 0.15, 1.0]
    listened(method, model, batch())
    method.close_epoch()
    method.first[1] = [loss + 0.3 * (place + 1) for place, loss in enumerate(method.first[1])]
    listened(method, model, batch())
    train = method.train.means()
    method.close_epoch()
    held = [loss - 0.3 * (place + 1) for place, loss in enumerate(method.first[1])]
    shares = blend(method.first, [train, held])
    want = [0.5 * (old + 1.3 * share) for old, share in zip([0.15, 0.15, 1.0], shares, strict=True)]
    np.testing.assert_allclose(method.weights, want, rtol=1e-4)
    np.testing.assert_allclose(sum(method.weights), 1.3)
    factors = [want[0] / 0.15, want[1] / 0.15, want[2]]
    np.testing.assert_allclose(model.emphasis, factors, rtol=1e-4)
    # And the model's losses follow: each weight times its own loss.
    rows = batch(gaps=False)
    got = model.row_losses(rows.columns, rows.targets)["kind"]
    head, target = model.heads[0], rows.targets["kind"]
    logits, _ = own_logits(model, rows, head)
    joint = head.loss(model(rows.columns)["kind"], target)
    each = [head.loss(logits[:, index], target) for index in range(2)]
    expected = want[0] * each[0] + want[1] * each[1] + want[2] * joint
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_weights_stay_where_nothing_generalises():
    model = quiet()
    method = Blending(model, held_out())
    listened(method, model, batch())
    method.close_epoch()
    method.first[1] = [-100.0] * 3
    listened(method, model, batch())
    method.close_epoch()
    assert method.weights == [0.15, 0.15, 1.0]
    assert model.emphasis.tolist() == [1.0, 1.0, 1.0]


# Learning rates.


def test_streams_and_modalities_have_rates():
    modality = {"photo": "image", "scan": "image", "note": "text", "tabular": "tabular"}
    owner = {"photo": "photo", "scan": "scan", "note": "note", "tabular": "tabular"}
    rates, problems = stream_rates({"image": 0.1, "scan": 0.5, "note": 1.0}, modality, owner)
    assert rates == {"photo": 0.1, "scan": 0.5}
    assert problems == []
    _, problems = stream_rates({"foto": 0.1}, modality, owner)
    assert problems == [
        "lr_scale: unknown stream or modality 'foto'. Did you mean 'photo'? "
        "Choose from: image, note, photo, scan, tabular, text."
    ]
    _, problems = stream_rates({"scan": 0.5}, modality, {**owner, "scan": "photo"})
    assert problems == [
        "lr_scale: 'scan' and 'photo' share an encoder and need one factor, got 0.5 and 1."
    ]


def test_an_encoder_has_its_own_learning_rate():
    model = make_model()
    config = configure(lr=0.01, lr_scale={"two": 0.5})
    groups = build_optimizer(model, config).param_groups
    assert [group["lr"] for group in groups] == [0.01, 0.01, 0.005, 0.005]
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0, 0.05, 0.0]
    slow = {id(w) for group in groups[2:] for w in group["params"]}
    assert slow == {id(w) for w in model.encoders[1].parameters()}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert encoder_rates(torch.nn.Linear(1, 1), {"two": 0.5}) == {}


def test_a_rate_of_zero_freezes_an_encoder():
    trainer = make_trainer(seeded(), epochs=1, lr_scale={"two": 0.0}, ema=None)
    before = [w.clone() for w in trainer.model.encoders.parameters()]
    one = len(list(trainer.model.encoders[0].parameters()))
    trainer.run()
    after = list(trainer.model.encoders.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before[one:], after[one:], strict=True))
    assert not any(
        torch.equal(a, b) for a, b in zip(before[:one], after[:one], strict=True) if a.ndim > 1
    )


# In training.


@pytest.mark.parametrize("stop", [2, 4, 5, 8])
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_ends_at_the_same_bits(tmp_path, name, stop, unwatched):
    whole, resumed = ends_at_the_same_bits(
        tmp_path, stop, {"balance": name, "epochs": 3}, fusion="late" if stop == 4 else "concat"
    )
    assert whole.balance.state() == resumed.balance.state()


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"lr_scale": {"two": 0.2}}])
@pytest.mark.parametrize("name", ["ogm-ge", "agm"])
def test_it_goes_with_accumulation_and_rates(tmp_path, name, options, unwatched):
    ends_at_the_same_bits(tmp_path, 3, {"balance": name, **options})


@pytest.mark.parametrize("fusion", ["concat", "hybrid"])
@pytest.mark.parametrize("name", METHODS)
def test_it_changes_the_training_and_repeats_itself(name, fusion, unwatched):
    def run(**options):
        trainer = make_trainer(seeded(fusion=fusion), epochs=3, **options)
        trainer.run()
        return trainer

    one, again, plain = run(balance=name), run(balance=name), run()
    identical(one.model, again.model)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(one.model.parameters(), plain.model.parameters(), strict=True)
    )
    assert all(w.isfinite().all() for w in one.model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_with_a_single_stream_it_does_nothing(name):
    model = make_model(streams=("one",))
    assert type(build_balance(model, configure(balance=name))) is Balance
    runs = [
        make_trainer(seeded(streams=("one",)), streams=("one",), epochs=1, balance=balance)
        for balance in (name, "none")
    ]
    for trainer in runs:
        trainer.run()
    identical(runs[0].model, runs[1].model)
    assert runs[0].balance.state() == {}


@pytest.mark.parametrize("name", METHODS)
def test_three_streams_are_balanced_too(name):
    streams = ("one", "two", "three")
    trainer = make_trainer(
        seeded(streams=streams, targets=("kind",)), streams=streams, epochs=2, balance=name
    )
    trainer.run()
    assert trainer.reporter.notes == []
    assert all(w.isfinite().all() for w in trainer.model.parameters())


# Errors.


@pytest.mark.parametrize("name", ["blending", "ogm-ge"])
def test_streams_must_answer_alone(name):
    asked = {"balance": name, "unimodal_loss": 0.0}
    config = configure(**asked, fusion="concat")
    text = (
        f"balance='{name}' needs what each stream answers by itself, and with unimodal_loss=0 the fusion "
        "'concat' has no such answers. Set unimodal_loss above 0, or take balance='agm'."
    )
    assert balance_problems(config, ["one", "two"]) == [text]
    assert balance_problems(configure(**asked, fusion="late"), ["one", "two"]) == []
    assert balance_problems(config, ["one"]) == []
    assert type(build_balance(make_model(unimodal_loss=0.0), configure(balance="agm"))) is Agm
    assert (
        type(build_balance(make_model("late", unimodal_loss=0.0), config, held_out()))
        is not Balance
    )


def test_blending_needs_held_out_rows():
    with pytest.raises(ConfigError) as caught:
        build_balance(make_model(), configure(balance="blending"))
    assert caught.value.problems == [
        "balance='blending' needs held-out rows: pass held to the trainer."
    ]


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_is_balanced(maker, tmp_path, name):
    rows = maker.plain(40)
    options = {"columns": {"note": "text"}, "epochs": 2, "golden_rows": 1}
    model = maker.fit(rows, "label", balance=name, lr_scale={"text": 0.5}, out=tmp_path, **options)
    assert model.config.lr_scale == {"text": 0.5}
    assert model.config.balance == name
    assert len(model.predict(rows[:3])) == 3


def test_unknown_streams_and_needs_are_told_together(maker):
    with pytest.raises(ConfigError) as caught:
        maker.fit(
            maker.plain(40),
            "label",
            columns={"note": "text"},
            fusion="concat",
            balance="ogm-ge",
            unimodal_loss=0.0,
            lr_scale={"nota": 0.1, "numeric": 2.0},
            task_weights={"labels": 1.0},
        )
    assert str(caught.value) == (
        "4 options are wrong:\n"
        "  - task_weights: 'labels' is not a target. Did you mean 'label'? The targets: label.\n"
        "  - balance='ogm-ge' needs what each stream answers by itself, and with unimodal_loss=0 the fusion "
        "'concat' has no such answers. Set unimodal_loss above 0, or take balance='agm'.\n"
        "  - lr_scale: unknown stream or modality 'nota'. Did you mean 'note'? "
        "Choose from: note, tabular, text.\n"
        "  - lr_scale: unknown stream or modality 'numeric'. Choose from: note, tabular, text."
    )


def test_every_kind_of_target_was_tried():
    assert {kind for kind, _ in KINDS.values()} == {"multiclass", "multilabel", "regression"}
