"""What fusions are trained on besides the target, each against numpy that knows nothing of them."""

import itertools

import numpy as np
import pytest
import torch
from formulas.generative import perceptron, scaled
from formulas.parts import linear, numbers
from scipy import stats

import plait.model.fusion.actionmae
import plait.model.fusion.mmvae
import plait.model.fusion.mopoe
import plait.model.fusion.mvae
from plait.errors import ConfigError
from plait.model.fusion import FUSIONS, build_fusion
from plait.model.fusion.contrastive import info_nce
from plait.model.fusion.dcca import canonical_correlations
from plait.model.fusion.gan import reverse
from plait.model.fusion.gaussians import divergence, draw, log_density, product_of_gaussians
from plait.model.fusion.misa import moment_discrepancy, overlap
from plait.model.fusion.mopoe import _subsets
from plait.model.fusion.pooled import shared_mean, stream_pairs
from plait.model.tokens import Tokens

WIDTH = 16
WIDTHS = {"image": 8, "text": 12, "sound": 4}
LOSSES = {
    "mvae": {"elbo": "weight"},
    "mmvae": {"elbo": "weight"},
    "mopoe": {"elbo": "weight"},
    "gan": {"translation": "translation", "adversarial": "adversarial"},
    "mctn": {"translation": "translation", "cycle": "cycle"},
    "dcca": {"correlation": "weight"},
    "contrastive": {"contrast": "weight"},
    "misa": {
        "similarity": "similarity",
        "difference": "difference",
        "reconstruction": "reconstruction",
    },
    "shaspec": {"alignment": "alignment", "domain": "domain"},
    "actionmae": {"reconstruction": "weight"},
}
"""Fusion → its losses → the option that weighs each."""
IMPUTING = [name for name in LOSSES if hasattr(FUSIONS[name], "impute")]
MIXED = [[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]

each = pytest.mark.parametrize("name", LOSSES)


def make(name, streams=3, **options):
    torch.manual_seed(1)
    widths = dict(itertools.islice(WIDTHS.items(), streams))
    return build_fusion(name, widths, width=WIDTH, dropout=0.0, options=options)


def tokens_of(present, seed=0):
    """Two tokens of each stream in the rows that have it."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.as_tensor(present, dtype=torch.bool)
    return {
        name: Tokens(
            torch.randn(len(present), 2, width, generator=generator),
            present[:, index, None].expand(-1, 2),
        )
        for index, (name, width) in enumerate(list(WIDTHS.items())[: present.shape[1]])
    }


def losses_of(part, tokens):
    torch.manual_seed(3)
    return {key: loss.detach().numpy() for key, loss in part(tokens).losses.items()}


def same(got, want, tolerance=1e-5):
    np.testing.assert_allclose(got, want, atol=tolerance, rtol=tolerance)


# Every loss.


@each
def test_the_losses_have_names_and_a_number_a_row_and_are_there_in_training_only(name):
    part, tokens = make(name), tokens_of(MIXED)
    losses = part(tokens).losses
    assert list(losses) == list(LOSSES[name])
    assert all(loss.shape == (len(MIXED),) for loss in losses.values())
    assert part.eval()(tokens).losses is None


@each
@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize(
    "pattern", [[1, 1, 1], [0, 0, 0], [0, 1, 1], [0, 0, 1]], ids=["all", "none", "two", "one"]
)
def test_losses_and_gradients_are_finite_whatever_is_missing(name, pattern, rows):
    part, tokens = make(name), tokens_of([pattern] * rows)
    values = [stream.values.requires_grad_() for stream in tokens.values()]
    losses = part(tokens).losses
    assert all(loss.isfinite().all() for loss in losses.values())
    sum(loss.sum() for loss in losses.values()).backward()
    for key, weight in part.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), key
    for there, value in zip(pattern, values, strict=True):
        assert value.grad.isfinite().all()
        assert there or (value.grad == 0).all()


@each
def test_rows_without_streams_cost_nothing(name):
    losses = make(name)(tokens_of([[0, 0, 0], [1, 1, 1], [0, 0, 0]])).losses
    assert all((loss[[0, 2]] == 0).all() for loss in losses.values())


@each
def test_masked_values_do_not_reach_the_losses(name):
    part, tokens = make(name), tokens_of(MIXED * 4)
    loud = {
        key: Tokens(values + 1e6 * ~mask.unsqueeze(-1), mask)
        for key, (values, mask) in tokens.items()
    }
    for key, loss in losses_of(part, loud).items():
        same(loss, losses_of(part, tokens)[key])


@each
def test_each_loss_is_weighed_by_its_option(name):
    tokens = tokens_of(MIXED * 8)
    for key, option in LOSSES[name].items():
        once, twice = (losses_of(make(name, **{option: size}), tokens) for size in (0.2, 0.4))
        assert np.abs(once[key]).max() > 0
        same(twice[key], 2 * once[key])
        assert (losses_of(make(name, **{option: 0}), tokens)[key] == 0).all()
        for other in set(once) - {key}:
            same(twice[other], once[other])


@each
def test_losses_are_finite_in_half_precision(name):
    part, tokens = make(name), tokens_of(MIXED * 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = part(tokens).losses
        total = sum(loss.sum() for loss in losses.values())
    total.backward()
    for key, loss in losses_of(part, tokens).items():
        assert losses[key].isfinite().all()
        assert losses[key].dtype == torch.float32
        if name not in ("mopoe", "mmvae", "mvae", "actionmae"):  # those draw
            same(losses[key].detach(), loss, 0.05)
    assert all(w.grad is None or w.grad.isfinite().all() for w in part.parameters())


@each
def test_a_single_stream_trains_too(name):
    losses = make(name, streams=1)(tokens_of([[1], [0], [1]])).losses
    assert all(loss.isfinite().all() for loss in (losses or {}).values())


def test_a_shared_mean_is_over_what_is_used():
    values = torch.tensor([[1.0, 2.0, 6.0], [1.0, torch.inf, 5.0]])
    used = torch.tensor([[True, True, False], [False, False, False]])
    assert shared_mean(values, used).tolist() == [1.5, 0.0]
    assert stream_pairs(3) == ([0, 0, 1], [1, 2, 2])


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("mvae", {"weight": -1.0}, "mvae: weight must be at least 0, got -1.0"),
        ("mvae", {"beta": float("nan")}, "mvae: beta must be at least 0, got nan"),
        ("mvae", {"subsets": -1}, "mvae: subsets must be at least 0, got -1"),
        ("mmvae", {"samples": 0}, "mmvae: samples must be at least 1, got 0"),
        (
            "mopoe",
            {"subsets": 3},
            "mopoe: subsets must be at least streams + 1 = 4, so that the whole and each single "
            "stream are among them, got 3",
        ),
        ("gan", {"reversal": -0.5}, "gan: reversal must be at least 0, got -0.5"),
        ("mctn", {"cycle": -1.0}, "mctn: cycle must be at least 0, got -1.0"),
        ("dcca", {"components": 0}, "dcca: components must be at least 1, got 0"),
        ("dcca", {"top": 9}, "dcca: top must be between 1 and components = 8, got 9"),
        (
            "dcca",
            {"ridge": 0.0},
            "dcca: ridge must be above 0, so that covariances invert, got 0.0",
        ),
        (
            "contrastive",
            {"join": "sum"},
            'contrastive: join must be "concat" or "mean", got \'sum\'',
        ),
        (
            "contrastive",
            {"temperature": 2.0},
            "contrastive: temperature must be between 0.01 and 1, got 2.0",
        ),
        ("misa", {"heads": 0}, "misa: heads must be at least 1, got 0"),
        ("misa", {"heads": 3}, "misa: width 16 is not a multiple of heads 3"),
        ("shaspec", {"domain": -1.0}, "shaspec: domain must be at least 0, got -1.0"),
        ("actionmae", {"memory": 0}, "actionmae: memory must be at least 1, got 0"),
        ("actionmae", {"drop": 1.0}, "actionmae: drop must be at least 0 and below 1, got 1.0"),
    ],
)
def test_an_option_out_of_bounds_is_refused(name, options, text):
    with pytest.raises(ConfigError) as caught:
        make(name, **options)
    assert str(caught.value) == f"1 option is wrong:\n  - fusion_options: {text}"


# Gaussians.


@pytest.mark.parametrize("prior", [True, False])
def test_a_product_of_gaussians_is_the_product_of_their_densities(prior):
    rng = np.random.default_rng(0)
    means, logs = rng.normal(0, 1, (1, 3, 2)), rng.normal(0, 0.7, (1, 3, 2))
    sets = torch.tensor([[[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]], dtype=torch.bool)
    mean, log_variance = product_of_gaussians(
        torch.tensor(means), torch.tensor(logs), sets, prior=prior
    )
    grid = np.linspace(-15, 15, 60001)
    for number, members in enumerate(sets[0].numpy()):
        for axis in range(2):
            density = stats.norm.pdf(grid) if prior or not members.any() else np.ones_like(grid)
            for m in np.flatnonzero(members):
                density = density * stats.norm.pdf(
                    grid, means[0, m, axis], np.exp(logs[0, m, axis] / 2)
                )
            density /= density.sum()
            centre = (grid * density).sum()
            same(mean[0, number, axis], centre)
            same(log_variance[0, number, axis].exp(), ((grid - centre) ** 2 * density).sum())


def test_a_product_keeps_its_digits_in_half_precision():
    means, logs = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    sets = torch.rand(4, 6, 3) < 0.6
    want = product_of_gaussians(means, logs, sets, prior=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = product_of_gaussians(means, logs, sets, prior=True)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


def test_the_divergence_and_the_density_are_those_of_the_textbook():
    mean, log_variance, z = torch.randn(3, 4, 5, dtype=torch.float64).unbind()
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    want = torch.distributions.kl_divergence(normal, standard).sum(-1)
    same(divergence(mean, log_variance), want, 1e-9)
    want = stats.norm.logpdf(z.numpy(), mean.numpy(), np.exp(log_variance.numpy() / 2)).sum(-1)
    same(log_density(z, mean, log_variance), want, 1e-9)


def test_draws_have_the_mean_and_the_variance_asked_for():
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 2.0]])
    drawn = draw(mean.expand(40000, -1), log_variance.expand(40000, -1))
    same(drawn.mean(dim=0), mean[0], 0.05)
    same(drawn.var(dim=0), log_variance[0].exp(), 0.1)


# The three variational fusions: their bounds with a z that is not drawn.


def posterior(w, v, m):
    said = perceptron(w, f"experts.{m}", v[m])
    return said[:WIDTH], np.exp(np.clip(said[WIDTH:], -8, 8))


def log_likelihood(w, v, members, z):
    """Of unit variance, without its constant."""
    return -sum(0.5 * ((v[m] - perceptron(w, f"decoders.{m}", z, 2)) ** 2).sum() for m in members)


def multiply(said, prior):
    precision = sum(1 / variance for _, variance in said) + prior
    return sum(mean / variance for mean, variance in said) / precision, 1 / precision


def kl(mean, variance):
    return 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum()


def test_the_bound_of_mvae(monkeypatch):
    monkeypatch.setattr(plait.model.fusion.mvae, "draw", lambda mean, log_variance: mean)
    part, tokens = make("mvae", subsets=0, beta=0.7, weight=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["elbo"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        terms = []
        whole = np.flatnonzero(there).tolist()
        for members in [whole, *([m] for m in whole)]:
            if members:
                mean, variance = multiply([posterior(w, v, m) for m in members], 1)
                bound = log_likelihood(w, v, members, mean) - 0.7 * kl(mean, variance)
                terms.append(-bound / WIDTH)
        same(got[row], np.mean(terms) if terms else 0)


def test_the_bound_of_mvae_with_a_random_subset(monkeypatch):
    monkeypatch.setattr(plait.model.fusion.mvae, "draw", lambda mean, log_variance: mean)
    part, tokens = make("mvae", subsets=1, weight=1.0), tokens_of([[1, 1, 1], [1, 1, 0]])
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.tensor([[[0.1, 0.9, 0.2]]] * 2))
    got, w = part(tokens).losses["elbo"].detach().numpy(), numbers(part)
    for row, sets in enumerate([[[0, 1, 2], [0, 2], [0], [1], [2]], [[0, 1], [0], [0], [1]]]):
        v, _ = scaled(w, tokens, row)
        terms = []
        for members in sets:
            mean, variance = multiply([posterior(w, v, m) for m in members], 1)
            terms.append(kl(mean, variance) - log_likelihood(w, v, members, mean))
        same(got[row], np.mean(terms) / WIDTH)


def test_mvae_adds_random_subsets_of_what_is_there():
    part = make("mvae", subsets=200)
    present = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    sets = part._sets(present)
    assert sets.shape == (3, 1 + 3 + 200, 3)
    assert not (sets & ~present.unsqueeze(1)).any()
    assert sets[2, 0].all()
    assert torch.equal(sets[2, 201:], torch.eye(3, dtype=torch.bool))
    same(sets[2, 1:201].float().mean(dim=0), [0.5] * 3, 0.15)


def test_the_bound_of_mmvae(monkeypatch):
    noise = torch.randn(len(MIXED), 3, 2, WIDTH)
    monkeypatch.setattr(
        plait.model.fusion.mmvae,
        "draw",
        lambda mean, log_variance: mean + (log_variance / 2).exp() * noise,
    )
    part, tokens = make("mmvae", samples=2, beta=0.7, weight=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["elbo"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        members = np.flatnonzero(there)
        said = {m: posterior(w, v, m) for m in members}
        bounds = []
        for m in members:
            ratios = []
            for k in range(2):
                z = said[m][0] + np.sqrt(said[m][1]) * noise[row, m, k].double().numpy()
                mixture = np.logaddexp.reduce(
                    [stats.norm.logpdf(z, mu, np.sqrt(s)).sum() for mu, s in said.values()]
                ) - np.log(len(members))
                ratio = 0.7 * (stats.norm.logpdf(z).sum() - mixture)
                ratios.append(log_likelihood(w, v, members, z) + ratio)
            bounds.append(np.logaddexp.reduce(ratios) - np.log(2))
        same(got[row], -np.mean(bounds) / WIDTH if bounds else 0)


def test_the_bound_of_mopoe(monkeypatch):
    monkeypatch.setattr(plait.model.fusion.mopoe, "draw", lambda mean, log_variance: mean)
    monkeypatch.setattr(  # the first subset that the row has, instead of any
        plait.model.fusion.mopoe,
        "pick",
        lambda values, allowed: values[torch.arange(len(values)), allowed.int().argmax(dim=1)],
    )
    part, tokens = make("mopoe", beta=0.7, weight=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["elbo"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        members = np.flatnonzero(there)
        found = {
            some: multiply([posterior(w, v, m) for m in some], 0)
            for size in range(1, len(members) + 1)
            for some in itertools.combinations(members, size)
        }
        want = 0
        if found:
            first = next(s for s in [(0, 1, 2), (0,), (1,), (2,), (0, 1)] if s in found)
            bound = log_likelihood(w, v, members, found[first][0])
            want = -(bound - 0.7 * np.mean([kl(*one) for one in found.values()])) / WIDTH
        same(got[row], want)


def test_the_subsets_of_mopoe_are_the_whole_the_single_ones_then_all_but_one_and_so_on():
    assert len(_subsets(5, 31).unique(dim=0)) == 31
    sizes = _subsets(6, 100).sum(dim=1).tolist()
    assert sizes == [6] + 6 * [1] + 6 * [5] + 15 * [2] + 15 * [4] + 20 * [3]
    assert torch.equal(_subsets(6, 10), _subsets(6, 100)[:10])
    assert _subsets(40, 50).shape == (50, 40)


def test_mopoe_with_few_subsets_is_between_product_and_mixture():
    part = make("mopoe", subsets=4).eval()
    tokens = tokens_of([[1, 1, 1], [1, 1, 0]])
    got, w = part(tokens).vector.detach().numpy(), numbers(part)
    v, _ = scaled(w, tokens, 0)
    said = [posterior(w, v, m) for m in range(3)]
    same(got[0], np.mean([multiply(said, 0)[0], *(mean for mean, _ in said)], axis=0))
    v, _ = scaled(w, tokens, 1)
    same(got[1], np.mean([posterior(w, v, m)[0] for m in range(2)], axis=0))


@pytest.mark.parametrize("name", ["mmvae", "mopoe"])
def test_a_mixture_is_sampled_in_training_from_what_is_there(name):
    part = make(name)
    with torch.no_grad():
        for index, expert in enumerate(part.experts):  # far from each other, without spread
            expert[3].weight.zero_()
            expert[3].bias[:WIDTH] = 10.0 * index
            expert[3].bias[WIDTH:] = -100.0
    drawn = part(tokens_of([[1, 0, 1]] * 300 + [[0, 0, 0]] * 300)).vector
    kinds = {"mmvae": {0.0, 20.0}, "mopoe": {0.0, 10.0, 20.0}}[name]  # 10 is the product of both
    assert set(drawn[:300].detach().round().abs().flatten().tolist()) == kinds
    same(drawn[300:].std().detach(), 1, 0.1)


def test_shares_of_the_product_are_those_of_the_precision():
    part, tokens = make("mvae").eval(), tokens_of(MIXED)
    got, w = part(tokens).weights.detach().numpy(), numbers(part)
    v, _ = scaled(w, tokens, 0)
    precision = np.array([(1 / posterior(w, v, m)[1]).mean() for m in range(3)])
    same(got[0], precision / precision.sum())
    assert (got[2] == 0).all()


# Translations.


def translated(w, v, n, m):
    code = perceptron(w, f"translators.encoders.{n}", v[n])
    return perceptron(w, f"translators.decoders.{m}", code, 2)


def ordered_pairs(there):
    return [(n, m) for n in np.flatnonzero(there) for m in range(len(there)) if m != n]


@pytest.mark.parametrize("name", ["gan", "mctn"])
def test_translations_are_compared_with_what_is_there(name):
    part, tokens = make(name, translation=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["translation"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        gaps = [
            ((translated(w, v, n, m) - v[m]) ** 2).mean()
            for n, m in ordered_pairs(there)
            if there[m]
        ]
        same(got[row], np.mean(gaps) if gaps else 0)


def test_the_cycle_comes_back_to_the_source_through_streams_that_need_not_be_there():
    part, tokens = make("mctn", cycle=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["cycle"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        gaps = []
        for n, m in ordered_pairs(there):
            code = perceptron(w, f"translators.encoders.{m}", translated(w, v, n, m))
            home = perceptron(w, f"translators.decoders.{n}", code, 2)
            gaps.append(((home - v[n]) ** 2).mean())
        same(got[row], np.mean(gaps) if gaps else 0)


def test_the_discriminators_tell_true_from_made():
    part, tokens = make("gan", adversarial=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["adversarial"], numbers(part)

    def chance(m, x):  # that x is true, by the discriminator of stream m
        hidden = linear(w, f"discriminators.{m}.0", x)
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
        return 1 / (1 + np.exp(-linear(w, f"discriminators.{m}.2", hidden)[0]))

    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        true = [-np.log(chance(m, v[m])) for m in np.flatnonzero(there)]
        made = [-np.log(1 - chance(m, translated(w, v, n, m))) for n, m in ordered_pairs(there)]
        same(got[row], np.mean(true) + np.mean(made) if true else 0)


def test_the_reversal_turns_the_gradient_of_the_generators_alone():
    values = torch.randn(3, 2, requires_grad=True)
    turned = reverse(values, 0.4)
    assert torch.equal(turned, values)
    turned.sum().backward()
    same(values.grad, np.full((3, 2), -0.4))

    def gradients(factor):
        part = make("gan", adversarial=1.0)
        part.reversal = factor  # -1 lets the gradient through
        part(tokens_of(MIXED)).losses["adversarial"].sum().backward()
        return {key: w.grad for key, w in part.named_parameters() if w.grad is not None}

    plain, against = gradients(-1.0), gradients(1.0)
    for key, gradient in plain.items():
        sign = 1 if key.startswith("discriminators") else -1
        same(against[key], sign * gradient)
    assert any(key.startswith("translators.decoders") for key in plain)


# Canonical correlation.


def by_qr(x, y):
    """The cosines of the angles between the two centred spans (Björck & Golub 1973)."""
    bases = [np.linalg.qr(view - view.mean(0))[0] for view in (x, y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def by_roots(x, y, ridge):
    """With each inverse square root from the eigenvalues, as in the paper."""
    x, y, n = x - x.mean(0), y - y.mean(0), len(x) - 1

    def root(view):
        values, vectors = np.linalg.eigh(view.T @ view / n + ridge * np.eye(view.shape[1]))
        return vectors / np.sqrt(values) @ vectors.T

    return np.linalg.svd(root(x) @ (x.T @ y / n) @ root(y), compute_uv=False)


def related(rows=60, p=4, q=6, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(rows, 3))
    x = common @ rng.normal(size=(3, p)) + 0.3 * rng.normal(size=(rows, p)) + 5
    y = common @ rng.normal(size=(3, q)) + 0.9 * rng.normal(size=(rows, q))
    return x, y


def correlations(x, y, used=None, ridge=1e-3):
    used = torch.ones(1, len(x), dtype=torch.bool) if used is None else torch.as_tensor(used)[None]
    return canonical_correlations(torch.tensor(x)[None], torch.tensor(y)[None], used, ridge=ridge)[
        0
    ]


def test_canonical_correlations_are_cosines_between_the_spans():
    x, y = related()
    same(correlations(x, y, ridge=1e-12), by_qr(x, y), 1e-8)
    turn, scale = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0], [1, 9, 0.2, 3]
    same(correlations(x @ turn * scale, y, ridge=1e-12), by_qr(x, y), 1e-8)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_canonical_correlations_with_a_ridge_take_the_root_of_the_matrix(ridge):
    x, y = related()
    same(correlations(x, y, ridge=ridge), by_roots(x, y, ridge), 1e-8)


def test_canonical_correlations_look_at_the_rows_used_only():
    x, y = related()
    used = np.arange(60) % 3 > 0
    same(
        correlations(x * 1e3 * ~used[:, None] + x, y, used), by_roots(x[used], y[used], 1e-3), 1e-8
    )


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_canonical_correlations_of_hardly_any_rows_are_finite(rows):
    x, y = related()
    one = torch.tensor(x)[None].requires_grad_()
    used = (torch.arange(60) < rows)[None]
    found = canonical_correlations(one, torch.tensor(y)[None], used, ridge=1e-3)
    found.sum().backward()
    assert found.isfinite().all()
    assert one.grad.isfinite().all()


def test_the_gradient_of_canonical_correlations_is_right_and_finite_where_they_are_equal():
    x, y = (torch.tensor(part)[None].requires_grad_() for part in related(20, 3, 3))
    used = torch.arange(20)[None] % 5 > 0
    assert torch.autograd.gradcheck(
        lambda a, b: canonical_correlations(a, b, used, ridge=1e-2)[:, :2].sum(), (x, y)
    )
    found = canonical_correlations(x, x.detach(), used, ridge=1e-9)
    same(found.detach(), np.ones((1, 3)))
    found.sum().backward()
    assert x.grad.isfinite().all()


def test_the_loss_of_dcca_is_minus_the_largest_correlations_of_rows_with_both():
    part = make("dcca", components=3, top=2, weight=1.0)
    present = torch.rand(40, 3) < 0.7
    present[7:, 2] = False  # too few rows with the third stream: at least seven are asked for
    present[:7, 2] = present[:7, 0] = True
    present[:, 1] = present[:, 1] & (torch.arange(40) > 0)
    tokens = tokens_of(present)
    got, seen = losses_of(part, tokens)["correlation"], present.numpy()
    with torch.no_grad():
        vectors, _ = part.vectors(tokens)
        views = [part.aligned[m](vectors[:, m]).double().numpy() for m in range(3)]
    rows = {(a, b): seen[:, a] & seen[:, b] for a, b in [(0, 1), (0, 2), (1, 2)]}
    assert [int(both.sum() >= 7) for both in rows.values()] == [1, 1, 0]
    totals = {
        (a, b): by_roots(views[a][both], views[b][both], 1e-3)[:2].sum()
        for (a, b), both in rows.items()
        if both.sum() >= 7
    }
    for row in range(40):
        mine = [-total for pair, total in totals.items() if rows[pair][row]]
        same(got[row], np.mean(mine) if mine else 0, 1e-4)


def test_few_rows_with_both_leave_dcca_without_a_loss():
    part = make("dcca", streams=2, components=3, top=3)
    assert (losses_of(part, tokens_of([[1, 1]] * 6 + [[1, 0]] * 30))["correlation"] == 0).all()
    got = losses_of(part, tokens_of([[1, 1]] * 7 + [[1, 0]] * 30))["correlation"]
    assert (got[:7] < -0.1).all()
    assert (got[7:] == 0).all()


# Contrast.


def test_info_nce_is_the_mean_of_both_cross_entropies():
    one, other = torch.randn(2, 6, 2, 5)
    both = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 1], [1, 0], [1, 0]], dtype=torch.bool)
    got = info_nce(one, other, both, torch.tensor(3.0)).numpy()
    for pair in range(2):
        rows = np.flatnonzero(both[:, pair])
        a, b = one[rows, pair].double().numpy(), other[rows, pair].double().numpy()
        scores = np.exp(3 * a @ b.T)
        true = np.diag(scores)
        want = -0.5 * (np.log(true / scores.sum(1)) + np.log(true / scores.sum(0)))
        same(got[rows, pair], want)


def test_the_contrast_is_between_unit_vectors_at_a_learned_temperature():
    part = make("contrastive", weight=1.0, temperature=0.2)
    tokens = tokens_of([[1, 1, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]])
    losses = part(tokens).losses["contrast"]
    w = numbers(part)
    units = []
    for row in (0, 1, 3):
        v, _ = scaled(w, tokens, row)
        h = [linear(w, f"project.{m}", v[m]) for m in range(2)]
        units.append([x / np.linalg.norm(x) for x in h])
    units = np.array(units)
    scores = np.exp(units[:, 0] @ units[:, 1].T / 0.2)
    true = np.diag(scores)
    want = -0.5 * (np.log(true / scores.sum(1)) + np.log(true / scores.sum(0)))
    same(losses.detach()[[0, 1, 3]], want, 1e-4)
    assert losses[2] == 0
    losses.sum().backward()
    assert part.log_scale.grad != 0
    with torch.no_grad():
        part.log_scale.fill_(50.0)  # the scale stays at 100
    assert part(tokens).losses["contrast"].max() < 2 * 100 + np.log(3)


def test_aligned_vectors_may_be_averaged():
    part = make("contrastive", join="mean").eval()
    tokens = tokens_of(MIXED)
    got, w = part(tokens).vector.detach().numpy(), numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        h = [linear(w, f"project.{m}", v[m]) for m in np.flatnonzero(there)]
        mean = np.mean([x / np.linalg.norm(x) for x in h], axis=0) if h else w["nothing"]
        same(got[row], perceptron(w, "mix", mean * WIDTH**0.5))


# Shared and private.


def test_the_discrepancy_is_that_of_five_central_moments():
    values = torch.rand(30, 3, 4, dtype=torch.float64)
    present = torch.rand(30, 3) < 0.6
    present[:, 2] &= torch.arange(30) < 10
    got, seen = moment_discrepancy(values, present).numpy(), present.numpy()
    of = [values[seen[:, m], m].numpy() for m in range(3)]

    def cmd(a, b):
        total = np.linalg.norm(a.mean(0) - b.mean(0))
        for k in range(2, 6):
            total += np.linalg.norm(stats.moment(a, k, axis=0) - stats.moment(b, k, axis=0))
        return total

    pairs = {(a, b): cmd(of[a], of[b]) for a, b in [(0, 1), (0, 2), (1, 2)]}
    for row in range(30):
        mine = [gap for (a, b), gap in pairs.items() if seen[row, a] or seen[row, b]]
        same(got[row], np.mean(mine) if mine else 0, 1e-9)


def test_a_stream_that_the_batch_lacks_has_no_discrepancy():
    present = torch.tensor([[True, False], [True, False]])
    assert moment_discrepancy(torch.rand(2, 2, 4), present).tolist() == [0.0, 0.0]


def test_the_overlap_is_the_squared_norm_of_the_mean_product():
    shared, private = torch.rand(2, 30, 3, 4, dtype=torch.float64)
    present = torch.rand(30, 3) < 0.6
    got, seen = overlap(shared, private, present).numpy(), present.numpy()

    def unit(values, m):
        rows = values[:, m].numpy() - values[seen[:, m], m].numpy().mean(0)
        return rows / np.sqrt((rows**2).sum(1, keepdims=True) + 1e-6)

    c, p = ([unit(values, m) for m in range(3)] for values in (shared, private))
    terms = [(seen[:, m], c[m], p[m]) for m in range(3)]
    terms += [(seen[:, a] & seen[:, b], p[a], p[b]) for a, b in itertools.combinations(range(3), 2)]
    norms = [
        (both, ((one[both].T @ other[both] / both.sum()) ** 2).sum()) for both, one, other in terms
    ]
    for row in range(30):
        mine = [value for both, value in norms if both[row]]
        same(got[row], np.mean(mine) if mine else 0, 1e-9)


def test_misa_rebuilds_each_vector_from_its_two_parts():
    part, tokens = make("misa", reconstruction=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens)["reconstruction"], numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        gaps = []
        for m in np.flatnonzero(there):
            shared, private = (
                1 / (1 + np.exp(-linear(w, key, v[m]))) for key in ("shared.0", f"private.{m}.0")
            )
            gaps.append(((linear(w, f"decoders.{m}", shared + private) - v[m]) ** 2).mean())
        same(got[row], np.mean(gaps) if gaps else 0)


def test_shaspec_draws_shared_features_together_and_tells_specific_ones_apart():
    part, tokens = make("shaspec", alignment=1.0, domain=1.0), tokens_of(MIXED)
    got, w = losses_of(part, tokens), numbers(part)
    for row in range(len(MIXED)):
        v, there = scaled(w, tokens, row)
        members = np.flatnonzero(there)
        shared = {m: perceptron(w, "shared", v[m]) for m in members}
        gaps = [np.abs(shared[a] - shared[b]).mean() for a, b in itertools.combinations(members, 2)]
        same(got["alignment"][row], np.mean(gaps) if gaps else 0)
        wrong = []
        for m in members:
            scores = linear(w, "tell", perceptron(w, f"specific.{m}", v[m]))
            wrong.append(np.logaddexp.reduce(scores) - scores[m])
        same(got["domain"][row], np.mean(wrong) if wrong else 0)


# Hidden streams.


def test_actionmae_hides_each_stream_at_the_rate_and_never_the_last():
    part = make("actionmae", drop=0.4)
    present = torch.rand(20000, 3) < 0.7
    hidden = part._hidden(present)
    assert not (hidden & ~present).any()
    shown = present & ~hidden
    assert torch.equal(shown.any(dim=1), present.any(dim=1))
    full = present.all(dim=1)
    # All three would be hidden with chance .4³, and then one of them is shown.
    assert abs(hidden[full].float().mean() - (0.4 - 0.4**3 / 3)) < 0.01
    assert not make("actionmae", drop=0.0)._hidden(present).any()


def test_actionmae_compares_what_it_hid_with_its_guess(monkeypatch):
    part, tokens = make("actionmae", weight=1.0), tokens_of([[1, 1, 1], [1, 1, 0], [0, 1, 0]])
    hidden = torch.tensor([[True, False, True], [False, True, False], [False] * 3])
    monkeypatch.setattr(part, "_hidden", lambda present: hidden)
    got = part(tokens)
    shown = {
        name: Tokens(stream.values, stream.mask & ~hidden[:, index, None])
        for index, (name, stream) in enumerate(tokens.items())
    }
    with torch.no_grad():
        vectors, _ = part.vectors(tokens)
        guess = torch.stack(list(part.impute(shown).values()), dim=1)
        # To impute is to hide the stream itself too, which changes nothing for those hidden already.
        wrong = (guess - vectors).square().mean(dim=-1)
    want = torch.stack([wrong[0, [0, 2]].mean(), wrong[1, 1], torch.zeros(())])
    same(got.losses["reconstruction"].detach(), want)
    assert torch.equal(got.sequence.mask, torch.stack([s.present for s in tokens.values()], dim=1))
    same(got.vector.detach(), part.eval()(shown).vector.detach())


# Imputation.


@pytest.mark.parametrize("name", IMPUTING)
def test_a_stream_is_imputed_from_the_others_alone(name):
    part, tokens = make(name).eval(), tokens_of(MIXED)
    made = part.impute(tokens)
    assert list(made) == list(WIDTHS)
    assert all(vector.shape == (len(MIXED), WIDTH) for vector in made.values())
    assert all(vector.isfinite().all() for vector in made.values())
    for key, (values, mask) in tokens.items():
        other = part.impute(tokens | {key: Tokens(torch.randn_like(values), mask)})
        gone = part.impute(tokens | {key: Tokens(values, mask & False)})
        same(other[key].detach(), made[key].detach())
        same(gone[key].detach(), made[key].detach())
        assert any(not torch.equal(other[one], made[one]) for one in WIDTHS if one != key)


@pytest.mark.parametrize("name", ["mvae", "mmvae", "mopoe"])
def test_without_others_the_mean_of_the_prior_is_decoded(name):
    part = make(name).eval()
    made = part.impute(tokens_of([[1, 0, 0]]))["image"]
    same(made[0].detach(), part.decoders[0](torch.zeros(WIDTH)).detach())


@pytest.mark.parametrize("name", ["gan", "mctn"])
def test_a_translation_is_the_mean_over_the_others(name):
    part, tokens = make(name).eval(), tokens_of([[1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    made, w = part.impute(tokens)["image"].detach().numpy(), numbers(part)
    for row, sources in enumerate([[1, 2], [1, 2], [1]]):
        v, _ = scaled(w, tokens, row)
        same(made[row], np.mean([translated(w, v, n, 0) for n in sources], axis=0))
    same(made[3], w["absent"][0] if name == "gan" else np.zeros(WIDTH))


def correlated(rows, seed):
    """Streams that are noisy linear maps of the same three numbers."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(100)
    hidden = torch.randn(rows, 1, 3, generator=generator)
    tokens = {}
    for name, width in WIDTHS.items():
        values = hidden @ torch.randn(3, width, generator=maps)
        values = values + 0.1 * torch.randn(rows, 2, width, generator=generator)
        tokens[name] = Tokens(values, torch.ones(rows, 2, dtype=torch.bool))
    return tokens


@pytest.mark.parametrize("name", IMPUTING)
def test_after_a_short_training_imputation_beats_the_mean(name):
    part = make(name).train()
    learn = torch.optim.Adam(part.parameters(), lr=5e-3)
    for step in range(100):
        sum(loss.mean() for loss in part(correlated(64, step)).losses.values()).backward()
        learn.step()
        learn.zero_grad()
    part.eval()
    with torch.no_grad():
        means = part.vectors(correlated(256, 1001))[0].mean(dim=0)
        tokens = correlated(256, 1000)
        vectors, _ = part.vectors(tokens)
        for index, key in enumerate(WIDTHS):
            made = part.impute(tokens)[key]
            error = (made - vectors[:, index]).square().mean()
            chance = (means[index] - vectors[:, index]).square().mean()
            assert error < 0.5 * chance, (key, float(error), float(chance))


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("mvae", "experts"),
        ("mmvae", "experts"),
        ("mopoe", "experts"),
        ("gan", "translators.encoders"),
        ("mctn", "translators.encoders"),
    ],
)
def test_what_is_to_be_rebuilt_is_held_fixed(name, readers):
    """With readers that ignore the vectors these enter as targets alone, and get no gradient."""
    part = make(name)
    with torch.no_grad():
        for reader in part.get_submodule(readers):
            reader[0].weight.zero_()
    losses = part(tokens_of(MIXED)).losses
    sum(loss.sum() for loss in losses.values()).backward()
    assert all((weight.grad == 0).all() for weight in part.vectors.parameters())
    assert any((weight.grad != 0).any() for weight in part.parameters() if weight.grad is not None)
