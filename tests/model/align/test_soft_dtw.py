"""Soft-DTW against its recursion in plain numpy, and its gradient against finite differences."""

import numpy as np
import pytest
import torch

from plait.errors import AlignError
from plait.model.align import SoftDTW, dtw


def slow(a, b, gamma):
    """Cuturi & Blondel 2017, equation 1 and section 2.2, cell by cell."""
    table = np.full((len(a) + 1, len(b) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            three = np.array([table[i, j], table[i, j + 1], table[i + 1, j]])
            least = three.min()
            soft = least - gamma * np.log(np.exp(-(three - least) / gamma).sum())
            table[i + 1, j + 1] = np.square(a[i] - b[j]).sum() + soft
    return table[-1, -1]


def pair(rows=4, n=7, m=5, channels=3):
    return (torch.randn(rows, steps, channels, dtype=torch.double) for steps in (n, m))


@pytest.mark.parametrize("gamma", [0.01, 1.0, 50.0])
@pytest.mark.parametrize(("n", "m"), [(7, 5), (3, 9), (1, 4), (4, 1), (1, 1), (6, 6)])
def test_it_is_the_recursion(n, m, gamma):
    a, b = pair(n=n, m=m)
    want = [slow(x, y, gamma) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(SoftDTW(gamma=gamma)(a, b).numpy(), want, rtol=1e-10)


@pytest.mark.parametrize("divergence", [False, True])
@pytest.mark.parametrize("gamma", [0.1, 2.0])
def test_the_gradient_is_that_of_finite_differences(gamma, divergence):
    a, b = (part.requires_grad_() for part in pair(rows=3))
    mask_a = torch.arange(7) < torch.tensor([[7], [4], [0]])
    mask_b = torch.arange(5) < torch.tensor([[5], [2], [3]])
    part = SoftDTW(gamma=gamma, divergence=divergence)
    assert torch.autograd.gradcheck(lambda x, y: part(x, y, mask_a, mask_b), (a, b))
    assert torch.autograd.gradcheck(part, (a, b))


def test_a_small_gamma_is_dtw():
    a, b = pair(n=12, m=9)
    want = [dtw(x, y, metric="squared").cost for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(SoftDTW(gamma=1e-5)(a, b).numpy(), want, atol=1e-3)


def test_padding_and_neighbours_change_nothing():
    part = SoftDTW()
    a, b = pair(rows=4)
    lengths = torch.tensor([[7, 5], [2, 5], [6, 1], [3, 3]])
    mask_a = torch.arange(7) < lengths[:, :1]
    mask_b = torch.arange(5) < lengths[:, 1:]
    a[~mask_a], b[~mask_b] = 1e6, float("nan")
    a.requires_grad_()
    got = part(a, b, mask_a, mask_b)
    got.sum().backward()
    assert (a.grad[~mask_a] == 0).all()
    for row, (n, m) in enumerate(lengths.tolist()):
        alone = part(a[row : row + 1, :n], b[row : row + 1, :m])
        torch.testing.assert_close(got[row : row + 1], alone)


def test_gaps_are_closed_up():
    a, b = pair(rows=1, n=4)
    mask = torch.tensor([[True, False, True, True]])
    torch.testing.assert_close(SoftDTW()(a, b, mask), SoftDTW()(a[:, [0, 2, 3]], b))


@pytest.mark.parametrize("divergence", [False, True])
def test_a_missing_sequence_is_zero_with_no_gradient(divergence):
    a, b = (part.requires_grad_() for part in pair(rows=2))
    mask = torch.tensor([[True] * 7, [False] * 7])
    got = SoftDTW(divergence=divergence)(a, b, mask)
    got.sum().backward()
    assert got[0] != 0
    assert got[1] == 0
    assert (a.grad[1] == 0).all()
    assert (b.grad[1] == 0).all()
    assert (b.grad[0] != 0).any()


def test_the_divergence_is_zero_for_equal_sequences_and_positive_for_others():
    a, b = pair(n=6, m=6)
    part = SoftDTW(gamma=1.0, divergence=True)
    torch.testing.assert_close(part(a, a), torch.zeros(4, dtype=torch.double))
    assert (part(a, b) > 0).all()
    assert (SoftDTW(gamma=1.0)(a, a) < 0).all()


def test_half_precision_is_computed_in_single():
    a, b = (part.to(torch.bfloat16) for part in pair())
    got = SoftDTW()(a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, SoftDTW()(a.float(), b.float()))


def test_a_delay_costs_next_to_nothing():
    """What moves in time is still near, where a plain squared error calls it as far as can be."""
    time = torch.arange(40.0)
    early, late = (torch.exp(-((time - at) ** 2) / 8).view(1, -1, 1) for at in (12, 26))
    assert (early - late).square().sum() > 5
    assert SoftDTW(gamma=1e-4)(early, late) < 0.05


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("inf"), float("nan")])
def test_gamma_is_above_zero(gamma):
    with pytest.raises(AlignError) as caught:
        SoftDTW(gamma=gamma)
    assert str(caught.value) == f"gamma={gamma}; choose a number above 0."


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (
            torch.randn(3, 1),
            torch.randn(3, 1),
            "a is [3, 1]; SoftDTW compares [batch, steps, channels]",
        ),
        (torch.randn(2, 0, 1), torch.randn(2, 3, 1), "with at least one step"),
        (torch.randn(2, 3, 1), torch.randn(3, 3, 1), "they need one batch size"),
        (torch.randn(2, 3, 1), torch.randn(2, 3, 1).double(), "and one dtype"),
        (torch.full((1, 3, 1), torch.nan), torch.randn(1, 3, 1), "a holds NaN or infinity"),
    ],
)
def test_what_cannot_be_compared_is_said(a, b, text, unchecked_shapes):
    with pytest.raises(AlignError) as caught:
        SoftDTW()(a, b)
    assert text in str(caught.value)
