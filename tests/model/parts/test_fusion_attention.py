"""What is special about each of the attention methods, the experts and the graph."""

import numpy as np
import pytest
import torch
from formulas.attention import (
    FORMULAS,
    attend,
    block,
    cross,
    graph_nodes,
    streams,
)
from formulas.parts import WIDTH, norm, numbers, softmax, vectors

from plait.errors import ConfigError
from plait.model.fusion import build_fusion
from plait.model.tokens import Tokens

WIDTHS = {"image": 8, "text": 12, "sound": 4}
COUNTS = {"image": 5, "text": 3, "sound": 6}


def make(name, widths=WIDTHS, **options):
    part = build_fusion(name, widths, width=WIDTH, dropout=0.0, options=options)
    with torch.no_grad():
        for weight in part.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return part.eval()


def streams_of(part, rows=5):
    """Ragged streams; row 0 lacks all, row 1 none, and others some."""
    tokens = {}
    for name, width in part.widths.items():
        mask = (torch.rand(rows, COUNTS[name]) < 0.7) & (torch.rand(rows, 1) < 0.7)
        mask[0], mask[1] = False, True
        tokens[name] = Tokens(torch.randn(rows, COUNTS[name], width), mask)
    return tokens


def close(got, want):
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mult", {"rounds": 1, "heads": 2}),
        ("onestream", {"rounds": 3, "heads": 1}),
        ("bottleneck", {"before": 0, "rounds": 3, "count": 1, "heads": 2}),
        ("bottleneck", {"before": 2}),
        ("perceiver", {"rounds": 3, "depth": 2, "shared": True}),
        ("perceiver", {"rounds": 3, "depth": 2, "shared": False, "count": 3}),
        ("perceiver", {"rounds": 1, "heads": 2}),
        ("qformer", {"rounds": 1, "count": 2, "heads": 8}),
        ("experts", {"top": 1}),
        ("experts", {"top": 3, "count": 3}),
        ("graph", {"rounds": 1, "heads": 1}),
        ("graph", {"rounds": 3, "heads": 8}),
    ],
)
def test_the_formula_holds_for_other_options(name, options):
    part = make(name, **options)
    tokens = streams_of(part)
    got, w = part(tokens).vector.detach().numpy(), numbers(part)
    told = {key: value for key, value in options.items() if key not in ("count", "balance")}
    for row in range(5):
        close(got[row], FORMULAS[name](w, tokens, row, **told))


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_holds_for_a_single_stream(name):
    part = make(name, {"image": 8})
    tokens = streams_of(part)
    got, w = part(tokens).vector.detach().numpy(), numbers(part)
    for row in range(5):
        close(got[row], FORMULAS[name](w, tokens, row))


OUT_OF_BOUNDS = {
    "coattention": [],
    "mult": [({"rounds": 0}, "rounds must be at least 1, got 0")],
    "onestream": [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"heads": 0}, "width 16 is not a multiple of heads 0"),
        ({"heads": -4}, "width 16 is not a multiple of heads -4"),
    ],
    "bottleneck": [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"before": -1}, "before must be at least 0, got -1"),
        ({"rounds": 1}, "rounds must be at least 2, got 1"),
    ],
    "perceiver": [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"heads": 3}, "width 16 is not a multiple of heads 3"),
    ],
    "qformer": [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"rounds": -1}, "rounds must be at least 1, got -1"),
    ],
    "experts": [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"top": 0}, "top must be at least 1, got 0"),
        ({"top": 5}, "top must be at most count, which is 4, got 5"),
        ({"balance": -0.1}, "balance must be at least 0, got -0.1"),
    ],
    "graph": [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"heads": 0}, "width 16 is not a multiple of heads 0"),
        ({"heads": 3}, "width 16 is not a multiple of heads 3"),
    ],
}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [(name, *case) for name, cases in OUT_OF_BOUNDS.items() for case in cases],
)
def test_an_option_out_of_bounds_is_explained(name, options, message):
    with pytest.raises(ConfigError) as caught:
        make(name, **options)
    assert str(caught.value) == f"1 option is wrong:\n  - fusion_options: {name}: {message}"


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("mult", 14),
        ("onestream", 14),
        ("bottleneck", 14),
        ("perceiver", 16),
        ("qformer", 8),
        ("graph", 3),
        ("coattention", None),
        ("experts", None),
    ],
)
def test_the_sequence_is_what_the_method_says(name, tokens):
    part = make(name)
    given = streams_of(part)
    sequence = part(given).sequence
    if tokens is None:
        assert sequence is None
        return
    assert sequence.values.shape == (5, tokens, WIDTH)
    if tokens == 14:
        want = torch.cat([given[key].mask for key in part.streams], dim=1)
    elif name == "graph":
        want = torch.stack([given[key].present for key in part.streams], dim=1)
    else:
        want = torch.ones(5, tokens, dtype=torch.bool)
    assert torch.equal(sequence.mask, want)


# Weights.


def summed(shares, found):
    ends = np.cumsum([len(stream) for stream in found])[:-1]
    return [part.sum() for part in np.split(shares, ends)]


def test_onestream_weights_are_the_class_tokens_last_attention():
    part = make("onestream", rounds=2)
    tokens = streams_of(part)
    w, got = numbers(part), part(tokens).weights.detach().numpy()
    for row in range(1, 5):
        found = streams(w, tokens, row)
        x = block(w, "rounds.0", np.concatenate([w["lead"][None], *found]), 4)
        x = norm(w, "rounds.1.attention_norm", x)
        close(got[row], summed(attend(w, "rounds.1.attention", x[:1], x[1:], 4)[1], found))


@pytest.mark.parametrize("shared", [True, False])
def test_perceiver_weights_are_the_latents_last_attention(shared):
    part = make("perceiver", rounds=2, shared=shared)
    tokens = streams_of(part)
    w, got = numbers(part), part(tokens).weights.detach().numpy()
    for row in range(1, 5):
        found = streams(w, tokens, row)
        seen = np.concatenate(found)
        latents = block(w, "between.0.0", cross(w, "cross.0", w["latents"], seen, 4), 4)
        normed = norm(w, "cross.1.query_norm", latents), norm(w, "cross.1.key_norm", seen)
        close(got[row], summed(attend(w, "cross.1.attention", *normed, 4)[1], found))


def test_graph_weights_are_what_present_streams_took_from_each_other():
    part = make("graph")
    tokens = streams_of(part)
    w, got = numbers(part), part(tokens).weights.detach().numpy()
    for row in range(1, 5):
        shares, _, there = graph_nodes(w, tokens, row)
        close(got[row][there], shares.mean(axis=0))


# Bottleneck.


def heard_from_another(rounds):
    """How much the image's tokens change with the text's."""
    part = make("bottleneck")
    part.rounds = part.rounds[:rounds]
    tokens = streams_of(part)
    values, mask = tokens["text"]
    other = part(tokens | {"text": Tokens(torch.randn_like(values), mask)}).sequence
    change = (part(tokens).sequence.values - other.values)[1].abs().amax(dim=1)
    assert (change[5:8] > 1e-3).all()
    return change[:5]


def test_streams_hear_of_each_other_through_the_bottleneck_alone():
    """The first round writes into the bottleneck; only the next reads what others wrote."""
    assert (heard_from_another(1) == 0).all()
    assert (heard_from_another(2) > 1e-4).all()


def test_a_missing_stream_leaves_the_bottleneck_to_the_others():
    """Its parameters do not matter to a row that lacks it."""
    part = make("bottleneck")
    tokens = streams_of(part)
    values, mask = tokens["sound"]
    tokens["sound"] = Tokens(values, mask & False)
    before = part(tokens).vector
    with torch.no_grad():
        for layer in (*part.before, *part.rounds):
            for weight in layer[2].parameters():
                weight += 1.0
    assert torch.equal(part(tokens).vector, before)


# Perceiver.


def test_sharing_makes_the_size_independent_of_the_rounds():
    def size(**options):
        return sum(weight.numel() for weight in make("perceiver", **options).parameters())

    assert size(rounds=2) == size(rounds=6)
    assert size(rounds=2, shared=False) < size(rounds=3, shared=False)
    assert size(rounds=2) < size(rounds=2, shared=False)


# Experts.


def experts_batch(rows=64, **options):
    part = make("experts", **options)
    tokens = {
        name: Tokens(torch.randn(rows, 2, width), torch.ones(rows, 2, dtype=torch.bool))
        for name, width in part.widths.items()
    }
    return part, tokens


def test_the_gate_is_noisy_in_training_only():
    part, tokens = experts_batch()
    assert torch.equal(part(tokens).vector, part(tokens).vector)
    part.train()
    assert not torch.equal(part(tokens).vector, part(tokens).vector)


def test_a_new_gate_chooses_by_noise_alone():
    part = build_fusion("experts", WIDTHS, width=WIDTH, dropout=0.0)
    assert not part.gate.weight.any()
    assert not part.noise.weight.any()


def test_noise_is_scaled_by_softplus(monkeypatch):
    part, tokens = experts_batch(rows=4, top=4)
    part.train()
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    got, w = part(tokens).vector.detach().numpy(), numbers(part)
    for row in range(4):
        x = vectors(w, tokens, row)[0].reshape(-1)
        noise = np.log1p(np.exp(w["noise.weight"] @ x))
        # A gate that gives these scores for this x.
        gate = np.outer(w["gate.weight"] @ x + noise, x) / (x @ x)
        close(got[row], FORMULAS["experts"](w | {"gate.weight": gate}, tokens, row, top=4))


@pytest.mark.parametrize("top", [1, 2])
def test_the_balancing_loss_is_that_of_the_paper(monkeypatch, top):
    part, tokens = experts_batch(top=top, balance=0.5)
    assert part(tokens).losses is None
    part.train()
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    losses = part(tokens).losses
    assert list(losses) == ["balance"]
    w = numbers(part)
    scores = np.stack([w["gate.weight"] @ vectors(w, tokens, r)[0].reshape(-1) for r in range(64)])
    share = np.zeros(4)
    for row in scores:
        share[np.argsort(-row)[:top]] += 1 / (64 * top)
    chance = softmax(scores)
    close(losses["balance"].detach().numpy(), 0.5 * 4 * chance @ share)
    close(losses["balance"].mean().item(), 0.5 * 4 * (share * chance.mean(0)).sum())


def test_the_balancing_loss_spreads_the_rows():
    part, tokens = experts_batch(top=1)
    with torch.no_grad():  # all rows to expert 0
        direction = part.vectors(tokens)[0].flatten(1).mean(dim=0)
        part.gate.weight.zero_()
        part.gate.weight[0] = 5 * direction / direction.square().sum()

    def busiest():
        scores = part.gate(part.vectors(tokens)[0].flatten(1))
        return scores.argmax(dim=1).bincount(minlength=4).max().item() / 64

    before = busiest()
    part.train()
    optimiser = torch.optim.Adam([part.gate.weight], lr=0.04)
    for _ in range(30):
        optimiser.zero_grad()
        part(tokens).losses["balance"].mean().backward()
        optimiser.step()
    assert before > 0.95
    assert busiest() < 0.6


# Graph.


def test_an_edge_weight_can_silence_an_edge():
    part = make("graph", rounds=1)
    tokens = streams_of(part)
    with torch.no_grad():
        part.rounds[0].edges[:, 0, 1] = -1e4
    values, mask = tokens["text"]
    changed = part(tokens | {"text": Tokens(torch.randn_like(values), mask)}).sequence.values[1]
    same = part(tokens).sequence.values[1]
    assert torch.equal(same[0], changed[0])
    assert (same[2] - changed[2]).abs().max() > 1e-4


# What only two streams together show.


@pytest.mark.parametrize("name", FORMULAS)
def test_it_learns_an_exclusive_or_across_two_streams(name):
    part = build_fusion(name, {"image": 4, "text": 6}, width=WIDTH, dropout=0.0)
    head = torch.nn.Linear(WIDTH, 1)
    optimiser = torch.optim.Adam([*part.parameters(), *head.parameters()], lr=0.003)

    def batch(rows):
        bits = torch.randint(0, 2, (2, rows))
        tokens = {}
        for bit, (key, width) in zip(bits, part.widths.items(), strict=True):
            values = 0.3 * torch.randn(rows, 2, width)
            values[:, :, 0] += (2.0 * bit - 1).unsqueeze(1)
            tokens[key] = Tokens(values, torch.ones(rows, 2, dtype=torch.bool))
        return tokens, (bits[0] ^ bits[1]).float()

    losses = []
    for _ in range(150):
        tokens, target = batch(64)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            head(part(tokens).vector).squeeze(1), target
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if max(losses[-5:]) < 0.2:
            break
    part.eval()
    tokens, target = batch(256)
    right = ((head(part(tokens).vector).squeeze(1) > 0) == (target > 0.5)).float().mean()
    assert right > 0.95
