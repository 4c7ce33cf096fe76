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
from plait.model.fusion import FUSIONS, build_fusion
from plait.model.fusion.registry import check_fusion
from plait.model.heads import Classify, MultiLabel, Regress
from plait.model.tokens import Tokens

WIDTHS = {"image": 8, "text": 12, "a.b/c": 16, "sound": 4, "table": 20}
COUNTS = {"image": 5, "text": 7, "a.b/c": 1, "sound": 3, "table": 4}


def make(name, streams, dropout=0.0):
    widths = dict(list(WIDTHS.items())[:streams])
    part = build_fusion(name, widths, width=WIDTH, dropout=dropout)
    with torch.no_grad():  # so that no learned vector is small or zero by chance
        for weight in part.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return part


def streams_of(part, rows=6):
    """Ragged streams, in each of which some rows are missing; row 0 lacks all and row 1 none."""
    tokens = {}
    for name, width in part.widths.items():
        count = COUNTS[name]
        mask = torch.rand(rows, count) < 0.6
        mask &= torch.rand(rows, 1) < 0.7
        mask[0], mask[1] = False, True
        tokens[name] = Tokens(torch.randn(rows, count, width), mask)
    return tokens


def close(got, want, tolerance=1e-5):
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


def parts_of(fused):
    """Everything a fusion says that has a row a sample."""
    said = {"vector": fused.vector, "weights": fused.weights, "trust": fused.trust}
    if fused.sequence is not None:
        said["sequence"] = fused.sequence.values * fused.sequence.mask.unsqueeze(-1)
    if fused.votes is not None:
        said["votes"] = fused.votes.values * fused.votes.mask.unsqueeze(-1)
    said |= fused.losses or {}
    return {name: value for name, value in said.items() if value is not None}


def same(one, other):
    said, again = parts_of(one), parts_of(other)
    assert said.keys() == again.keys()
    if one.sequence is not None:  # padding may be longer in one; the real tokens may not differ
        said["sequence"] = one.sequence.values[one.sequence.mask]
        again["sequence"] = other.sequence.values[other.sequence.mask]
    for name in said:
        close(said[name], again[name])


every = pytest.mark.parametrize(
    ("name", "streams"), [(name, count) for name in FUSIONS for count in (2, 3, 5)]
)


@every
def test_answers_and_gradients_are_finite(name, streams):
    part = make(name, streams, dropout=0.1)
    tokens = streams_of(part)
    values = {key: stream.values.clone().requires_grad_() for key, stream in tokens.items()}
    fused = part({key: Tokens(values[key], stream.mask) for key, stream in tokens.items()})
    said = parts_of(fused)
    assert fused.vector.shape == (6, WIDTH)
    assert all(value.isfinite().all() for value in said.values())
    sum(value.square().sum() for value in said.values()).backward()
    for key, weight in part.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all(), key
    for key, value in values.items():
        assert value.grad.isfinite().all()
        assert (value.grad[~tokens[key].mask] == 0).all()


@every
def test_the_order_of_the_dict_does_not_matter(name, streams):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    same(part(tokens), part(dict(reversed(tokens.items()))))


@every
def test_streams_that_are_not_its_own_are_ignored(name, streams):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    same(
        part(tokens),
        part(tokens | {"other": Tokens(torch.randn(6, 2, 3), torch.ones(6, 2, dtype=torch.bool))}),
    )


@every
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_masked_tokens_never_matter(name, streams, size):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    noisy = {
        key: Tokens(torch.where(mask.unsqueeze(-1), values, size * torch.randn_like(values)), mask)
        for key, (values, mask) in tokens.items()
    }
    same(part(tokens), part(noisy))


@every
def test_more_masked_tokens_change_nothing(name, streams):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    longer = {
        key: Tokens(
            torch.nn.functional.pad(values, (0, 0, 0, 3), value=2.0),
            torch.nn.functional.pad(mask, (0, 3)),
        )
        for key, (values, mask) in tokens.items()
    }
    same(part(tokens), part(longer))


@every
def test_every_pattern_of_missing_streams_is_finite_and_a_row_of_its_own(name, streams):
    """Each row's answer is the one it gets when alone, whatever its neighbours lack."""
    part = make(name, streams).eval()
    patterns = torch.tensor(
        [[bool(number >> bit & 1) for bit in range(streams)] for number in range(2**streams)]
    )
    patterns = patterns[:: max(1, len(patterns) // 8)]
    patterns[-1] = True
    rows = len(patterns)
    tokens = {
        key: Tokens(
            torch.randn(rows, COUNTS[key], width),
            patterns[:, index : index + 1].expand(-1, COUNTS[key]),
        )
        for index, (key, width) in enumerate(part.widths.items())
    }
    whole = parts_of(part(tokens))
    for row in range(rows):
        alone = parts_of(
            part({k: Tokens(s.values[[row]], s.mask[[row]]) for k, s in tokens.items()})
        )
        for key, value in alone.items():
            assert value.isfinite().all()
            close(value[0], whole[key][row])


@every
def test_a_missing_stream_changes_the_answer(name, streams):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    first, (values, mask) = next(iter(tokens.items()))
    gone = part(tokens | {first: Tokens(values, torch.zeros_like(mask))}).vector
    assert (gone[1] - part(tokens).vector[1]).abs().max() > 1e-4


@every
def test_weights_are_shares_of_the_present_streams(name, streams):
    part = make(name, streams).eval()
    tokens = streams_of(part)
    weights = part(tokens).weights
    if weights is None:
        return
    present = torch.stack([tokens[key].present for key in part.streams], dim=1)
    assert (weights[~present] == 0).all()
    assert (weights >= 0).all()
    close(weights.sum(dim=1), present.any(dim=1).float())


@every
def test_save_and_load_gives_the_same_answers(name, streams):
    part, twin = make(name, streams).eval(), make(name, streams).eval()
    twin.load_state_dict(part.state_dict())
    tokens = streams_of(part)
    assert torch.equal(part(tokens).vector, twin(tokens).vector)


@every
def test_the_same_seed_gives_the_same_answers(name, streams):
    def run():
        torch.manual_seed(5)
        part = make(name, streams, dropout=0.3)
        return part(streams_of(part)).vector

    assert torch.equal(run(), run())


@every
def test_dropout_acts_in_training_only(name, streams):
    part = make(name, streams, dropout=0.5)
    tokens = streams_of(part)
    assert not torch.equal(part(tokens).vector, part(tokens).vector)
    part.eval()
    assert torch.equal(part(tokens).vector, part(tokens).vector)


@pytest.mark.parametrize("name", FUSIONS)
def test_it_can_lay_images_out_by_channels(name):
    """As every built model is; torch refuses it for weights of five axes."""
    part = make(name, 3).eval()
    tokens = streams_of(part)
    want = part(tokens).vector
    close(part.to(memory_format=torch.channels_last)(tokens).vector, want)


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
    assert part(streams_of(part)).vector.isfinite().all()


def test_an_unknown_fusion_lists_the_choices_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        check_fusion("atention")
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
    tokens = streams_of(part)
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
    tokens = streams_of(part)
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
