"""Token streams on a common clock, and on each other's."""

import pytest
import torch

from plait.errors import AlignError
from plait.model.align import Clock, CrossAlign, resample_tokens
from plait.model.align.streams import part_means, places, shares
from plait.model.tokens import Tokens


def stream(lengths, tokens=8, width=6):
    mask = torch.arange(tokens) < torch.tensor(lengths).unsqueeze(1)
    return Tokens(torch.randn(len(lengths), tokens, width), mask)


def test_shares_are_overlaps():
    mask = torch.tensor([[True, True, True, False]])
    assert shares(mask, 2)[0].tolist() == [[1, 0.5, 0, 0], [0, 0.5, 1, 0]]
    assert shares(mask, 3)[0].tolist() == torch.eye(3, 4).tolist()
    torch.testing.assert_close(shares(mask, 5).sum(dim=2), torch.full((1, 5), 0.6))
    assert (shares(mask & False, 3) == 0).all()


def test_parts_are_means_of_their_steps():
    values = torch.arange(12.0).view(1, 6, 2)
    mask = torch.ones(1, 6, dtype=torch.bool)
    assert part_means(values, mask, 2).tolist() == [[[2, 3], [8, 9]]]
    torch.testing.assert_close(part_means(values, mask, 6), values)
    torch.testing.assert_close(part_means(values, mask, 12), values.repeat_interleave(2, dim=1))
    short = part_means(values[:, :1].expand(1, 6, 2), mask & (torch.arange(6) == 3), 3)
    torch.testing.assert_close(short, values[:, :1].expand(1, 3, 2))


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_a_resampled_stream_has_as_many_tokens_as_asked(count):
    values, mask = resample_tokens(stream([8, 5, 2, 1, 0]), count)
    assert values.shape == (5, count, 6)
    assert mask.sum(dim=1).tolist() == [count, count, count, 1, 0]
    assert (values[4] == 0).all()


def test_padding_and_rubbish_change_nothing():
    tokens = stream([5, 3, 1, 0])
    got = resample_tokens(tokens, 4)
    values = torch.where(tokens.mask.unsqueeze(-1), tokens.values, torch.nan)
    again = resample_tokens(Tokens(values[:, :5], tokens.mask[:, :5]), 4)
    torch.testing.assert_close(got.values, again.values)
    assert torch.equal(got.mask, again.mask)
    alone = resample_tokens(Tokens(tokens.values[1:2, :3], tokens.mask[1:2, :3]), 4)
    torch.testing.assert_close(alone.values, got.values[1:2])


def test_a_stream_of_one_token_stays_as_it_is():
    tokens = stream([1, 0], tokens=1)
    assert resample_tokens(tokens, 5) is tokens


def test_a_clock_puts_all_streams_on_one():
    streams = {"a": stream([8, 3]), "b": stream([4, 4], tokens=4), "c": stream([1, 1], tokens=1)}
    got = Clock(count=5)(streams)
    assert [part.values.shape[1] for part in got.values()] == [5, 5, 1]
    torch.testing.assert_close(got["a"].values, resample_tokens(streams["a"], 5).values)


def make(dropout=0.0):
    return CrossAlign(source=6, target=4, width=8, heads=2, dropout=dropout)


def test_cross_alignment_keeps_the_targets_clock():
    part = make()
    source, target = stream([8, 3, 0]), stream([5, 2, 4], tokens=5, width=4)
    got = part(source, target)
    assert got.values.shape == (3, 5, 8)
    assert got.mask.sum(dim=1).tolist() == [5, 2, 0]  # nothing to align in the last sample
    assert got.values.isfinite().all()
    weights = part.weights(source, target)
    assert weights.shape == (3, 5, 8)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 5))
    assert (weights[1, :, 3:] == 0).all()


def test_masked_tokens_never_matter_to_cross_alignment():
    part = make().eval()
    source, target = stream([8, 3, 5]), stream([5, 2, 4], tokens=5, width=4)
    want = part(source, target)
    spoilt = [
        Tokens(torch.where(tokens.mask.unsqueeze(-1), tokens.values, 1e30), tokens.mask)
        for tokens in (source, target)
    ]
    got = part(*spoilt)
    torch.testing.assert_close(got.values[got.mask], want.values[want.mask])
    alone = part(*(Tokens(v[1:2], m[1:2]) for v, m in (source, target)))
    torch.testing.assert_close(alone.values[alone.mask], want.values[1][want.mask[1]])


def test_cross_alignment_learns_a_delay():
    """What the source says at t the target should hear at t: only the place in time tells."""
    part = CrossAlign(source=4, target=4, width=16, heads=1)
    read = torch.nn.Linear(16, 4)
    weights = [*part.parameters(), *read.parameters()]
    optimiser = torch.optim.Adam(weights, lr=0.01)
    there = torch.ones(32, 12, dtype=torch.bool)
    blank = Tokens(torch.zeros(32, 12, 4), there)
    for _ in range(150):
        said = torch.randn(32, 12, 4)
        heard = torch.roll(said, 3, dims=1)
        loss = (read(part(Tokens(said, there), blank).values) - heard)[:, 3:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.7  # 1 is what is left when nothing is aligned
    shown = part.weights(Tokens(said, there), blank)[0].argmax(dim=1)[4:]
    assert (shown - torch.arange(4, 12) + 3).abs().float().mean() <= 1


def test_every_weight_of_cross_alignment_learns():
    part = make(dropout=0.1)
    part(stream([8, 3]), stream([5, 2], tokens=5, width=4)).values.square().sum().backward()
    assert all((weight.grad != 0).any() for name, weight in part.named_parameters())


def test_places_run_from_start_to_end():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    got = places(mask, 2)
    want = torch.tensor([0.25, 0.75]) * torch.pi
    torch.testing.assert_close(got[0, :2], torch.stack([want.sin(), want.cos()], dim=1))
    assert got.isfinite().all()


def test_options_have_bounds():
    with pytest.raises(AlignError) as caught:
        Clock(count=0)
    assert str(caught.value) == "count=0; choose a whole number of tokens, 1 or more."
    with pytest.raises(AlignError) as caught:
        CrossAlign(source=4, target=4, width=10, heads=4)
    assert str(caught.value) == "width=10 with heads=4; choose an even multiple of the heads."
