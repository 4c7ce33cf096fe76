"""One contract for every registered fusion, and each formula in plain float64 numpy."""

import inspect

import numpy as np
import pytest
import torch
from formulas import FORMULAS
from formulas.first import VOTES
from formulas.parts import WIDTH, linear, norm, numbers, softmax

import plait.model.fusion
from plait.errors import ConfigError
from plait.model.fusion import FUSIONS, build_fusion, registry
from plait.model.fusion.contract import make_fusion, random_tokens
from plait.model.heads import Classify, MultiLabel, Regress
from plait.model.tokens import Tokens
from plait.testing import check_fusion


def make(name, streams, dropout=0.0):
    return make_fusion(FUSIONS[name], streams, dropout)


def close(got, want, tolerance=1e-5):
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


every = pytest.mark.parametrize(
    ("name", "streams"), [(name, count) for name in FUSIONS for count in (2, 3, 5)]
)


@every
def test_it_keeps_the_contract(name, streams):
    check_fusion(FUSIONS[name], streams=[streams])


@pytest.mark.parametrize("name", FUSIONS)
def test_it_is_used_alone_in_a_line(name):
    tokens = {
        "image": Tokens(torch.randn(2, 5, 64), torch.ones(2, 5, dtype=torch.bool)),
        "text": Tokens(torch.randn(2, 3, 32), torch.ones(2, 3, dtype=torch.bool)),
    }
    kind = getattr(plait.model.fusion, FUSIONS[name].__name__)
    fused = kind(widths={"image": 64, "text": 32}, width=64)(tokens)
    assert fused.vector.shape == (2, 64)


@pytest.mark.parametrize("name", FUSIONS)
def test_it_says_its_formula_or_source_and_cost(name):
    text = inspect.getdoc(FUSIONS[name])
    assert "Cost:" in text
    assert any(mark in text for mark in ("``", "et al."))


@pytest.mark.parametrize("name", FUSIONS)
def test_no_stream_at_all_is_refused(name):
    with pytest.raises(ValueError, match="a fusion needs at least one stream in widths, got none"):
        FUSIONS[name]({}, width=WIDTH)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_single_stream_is_enough(name):
    part = make(name, 1).eval()
    assert part(random_tokens(part)).vector.isfinite().all()


def test_an_unknown_fusion_lists_the_choices_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        registry.check_fusion("atention")
    assert str(caught.value) == (
        "1 option is wrong:\n  - fusion: unknown fusion 'atention'. Did you mean 'attention'? "
        f"Choose from: {', '.join(sorted(FUSIONS))}."
    )


OPEN = {}
"""Fusions without a formula to compare with, and why."""


def test_every_fusion_has_a_formula_or_a_reason():
    assert sorted([*FORMULAS, *OPEN]) == sorted(FUSIONS)


@every
def test_the_vector_equals_the_formula(name, streams):
    if name in OPEN:
        return
    part = make(name, streams).eval()
    tokens = random_tokens(part)
    got = part(tokens).vector.detach().numpy()
    w = numbers(part)
    for row in range(6):
        # The formula is in float64; a product of five float32 spectra (mcb) is off by 1.2e-5 on some CPUs.
        np.testing.assert_allclose(got[row], FORMULAS[name](w, tokens, row), atol=3e-5, rtol=1e-5)


voting = pytest.mark.parametrize(
    ("name", "streams"), [(name, count) for name in VOTES for count in (2, 3, 5)]
)


def pooled_logits(name, streams, head):
    part = make(name, streams).eval()
    head.eval()
    with torch.no_grad():
        for key, weight in part.named_parameters():
            if key.endswith("log_trust"):
                weight.normal_()
    tokens = random_tokens(part)
    w, h = numbers(part), numbers(head)
    got = head(part(tokens)).detach().numpy()
    votes = []
    for row in range(6):
        vectors_, trust = VOTES[name](w, tokens, row)
        votes.append((linear(h, "project.2", norm(h, "project.0", vectors_)), trust))
    return got, votes


@voting
def test_voted_classes_are_a_logarithmic_opinion_pool(name, streams):
    got, votes = pooled_logits(name, streams, Classify(width=WIDTH, outputs=4))
    for row, (logits, trust) in enumerate(votes):
        pool = np.prod(softmax(logits) ** trust[:, None], axis=0)
        np.testing.assert_allclose(softmax(got[row].astype(float)), pool / pool.sum(), atol=1e-5)


@voting
def test_voted_labels_are_a_logarithmic_opinion_pool_each(name, streams):
    got, votes = pooled_logits(name, streams, MultiLabel(width=WIDTH, outputs=3))
    for row, (logits, trust) in enumerate(votes):
        chance = 1 / (1 + np.exp(-logits))
        yes, no = (np.prod(part ** trust[:, None], axis=0) for part in (chance, 1 - chance))
        np.testing.assert_allclose(
            1 / (1 + np.exp(-got[row].astype(float))), yes / (yes + no), atol=1e-5
        )


@voting
def test_voted_numbers_are_a_mean_weighted_by_trust(name, streams):
    got, votes = pooled_logits(name, streams, Regress(width=WIDTH))
    for row, (logits, trust) in enumerate(votes):
        np.testing.assert_allclose(
            got[row, 0], trust @ logits[:, 0] / trust.sum(), atol=1e-5, rtol=1e-5
        )


def test_an_option_of_a_fusion_is_checked_by_name_kind_and_bounds():
    widths = {"image": 8, "text": 12}
    part = build_fusion("attention", widths, width=WIDTH, dropout=0.0, options={"rounds": 3})
    assert len(part.rounds) == 3
    with pytest.raises(ConfigError) as caught:
        build_fusion(
            "attention", widths, width=WIDTH, dropout=0.0, options={"round": 3, "heads": "many"}
        )
    assert str(caught.value) == (
        "2 options are wrong:\n"
        "  - fusion_options: attention has no option 'round'. Did you mean 'rounds'? "
        "(its options: rounds, heads, count)\n"
        "  - fusion_options: heads of attention must be int, got 'many'"
    )
    with pytest.raises(ConfigError, match="attention: width 16 is not a multiple of heads 3"):
        build_fusion("attention", widths, width=WIDTH, dropout=0.0, options={"heads": 3})
    with pytest.raises(ConfigError, match=r"concat has no option 'rounds'\. \(it has none\)"):
        build_fusion("concat", widths, width=WIDTH, dropout=0.0, options={"rounds": 3})


def test_a_stream_that_was_not_passed_is_named_with_how_to_say_missing():
    part = build_fusion("concat", {"image": 8, "text": 12}, width=WIDTH, dropout=0.0)
    with pytest.raises(ValueError) as caught:
        part({"image": Tokens(torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool))})
    assert str(caught.value) == (
        "tokens lack 'text'; got 'image'. "
        "A stream that is missing is passed with a mask that is False throughout."
    )
