"""The shared torch parts against plain float64 numpy, or against torch's own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from plait.model.blocks import (
    Attention,
    AttentionPool,
    FeedForward,
    MaskedBatchNorm,
    TransformerBlock,
    attendable,
    masked_mean,
)
from plait.model.tokens import ColumnBatch, Tokens

ERF = np.vectorize(math.erf)


def weights_of(module):
    return {k: v.detach().double().numpy() for k, v in module.state_dict().items()}


def linear(weights, name, values):
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights, name, values):
    centred = values - values.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(values):
    return values * 0.5 * (1 + ERF(values / math.sqrt(2)))


def attention(weights, prefix, queries, keys, mask, heads):
    """softmax(Q Kᵀ / sqrt(d)) V, a row and a head at a time."""
    width = queries.shape[-1]
    size = width // heads
    q = linear(weights, f"{prefix}to_query", queries)
    k, v = np.split(linear(weights, f"{prefix}to_key_value", keys), 2, axis=-1)
    mixed = np.zeros_like(q)
    shares = np.zeros((len(q), q.shape[1], k.shape[1]))
    for row in range(len(q)):
        real = np.flatnonzero(mask[row])
        for head in range(heads if len(real) else 0):
            part = slice(head * size, (head + 1) * size)
            scores = q[row][:, part] @ k[row][real][:, part].T / math.sqrt(size)
            share = np.exp(scores)
            share /= share.sum(-1, keepdims=True)
            mixed[row][:, part] = share @ v[row][real][:, part]
            shares[row][:, real] += share / heads
    return linear(weights, f"{prefix}to_out", mixed), shares


@pytest.fixture
def tokens():
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    return Tokens(torch.randn(3, 4, 8), mask)


def test_masked_mean_is_over_real_tokens_and_zero_without_any(tokens):
    mean = masked_mean(tokens.values, tokens.mask).numpy()
    np.testing.assert_allclose(mean[0], tokens.values[0].numpy().mean(0), atol=1e-6)
    np.testing.assert_allclose(mean[1], tokens.values[1, [0, 2]].numpy().mean(0), atol=1e-6)
    assert (mean[2] == 0).all()


def test_attendable_opens_only_rows_without_tokens(tokens):
    opened = attendable(tokens.mask)
    assert (opened[:2] == tokens.mask[:2]).all()
    assert opened[2].all()


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_the_formula(tokens, heads):
    part = Attention(width=8, heads=heads).eval()
    queries = torch.randn(3, 2, 8)
    want, shares = attention(
        weights_of(part), "", queries.double().numpy(), tokens.values.double().numpy(),
        tokens.mask.numpy(), heads,
    )  # fmt: skip
    np.testing.assert_allclose(part(queries, *tokens).detach().numpy(), want, atol=1e-5)
    got = part.weights(queries, *tokens).detach().numpy()
    np.testing.assert_allclose(got[:2], shares[:2], atol=1e-5)


def test_attention_without_real_keys_gives_the_output_bias(tokens):
    part = Attention(width=8, heads=2).eval()
    got = part(tokens.values, *tokens)[2]
    torch.testing.assert_close(got, part.to_out.bias.expand(4, 8))


def test_attention_gradients_are_finite_when_every_key_is_masked():
    part = Attention(width=8, heads=2)
    part(
        torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool)
    ).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in part.parameters())


def test_attention_needs_a_width_that_heads_divide():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        Attention(width=10, heads=4)


def test_feed_forward_equals_the_formula():
    part = FeedForward(width=8, factor=3).eval()
    values = torch.randn(2, 4, 8)
    weights = weights_of(part)
    want = linear(weights, "3", gelu(linear(weights, "0", values.double().numpy())))
    np.testing.assert_allclose(part(values).detach().numpy(), want, atol=1e-5)


def test_transformer_block_equals_the_formula(tokens):
    part = TransformerBlock(width=8, heads=2).eval()
    weights = weights_of(part)
    values, mask = tokens.values.double().numpy(), tokens.mask.numpy()
    normed = layer_norm(weights, "attention_norm", values)
    values = values + attention(weights, "attention.", normed, normed, mask, 2)[0]
    inner = gelu(linear(weights, "feed.0", layer_norm(weights, "feed_norm", values)))
    want = values + linear(weights, "feed.3", inner)
    np.testing.assert_allclose(part(*tokens).detach().numpy(), want, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_attention_pool_equals_the_formula(tokens, count):
    part = AttentionPool(width=8, count=count).eval()
    weights = weights_of(part)
    values, mask = tokens.values.double().numpy(), tokens.mask.numpy()
    want = np.zeros((3, count, 8))
    for row in range(2):
        real = values[row][mask[row]]
        scores = np.exp(linear(weights, "score.2", np.tanh(linear(weights, "score.0", real))))
        want[row] = (scores / scores.sum(0)).T @ real
    np.testing.assert_allclose(part(tokens).detach().numpy(), want, atol=1e-5)


SHAPES = {
    "image": ((5, 3, 4, 4), (5, 1, 1, 1)),
    "audio": ((5, 3, 6, 4), (5, 1, 6, 1)),
    "signal": ((5, 3, 7), (5, 1, 7)),
}


def real_positions(values, mask):
    """``[positions, channels]`` where the mask is True."""
    last = values.movedim(1, -1)
    return last[mask.expand(values.shape[0], 1, *values.shape[2:])[:, 0]]


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("kind", SHAPES)
def test_masked_batch_norm_equals_torch_over_the_real_positions(kind, share):
    shape, mask_shape = SHAPES[kind]
    mine, theirs = MaskedBatchNorm(channels=3), nn.BatchNorm1d(3)
    for part in (mine, theirs):
        torch.manual_seed(1)
        nn.init.normal_(part.weight)
        nn.init.normal_(part.bias)
    mask = torch.rand(mask_shape) < share
    for _ in range(3):
        values = (torch.randn(shape) * 3 + 1).requires_grad_()
        twin = values.detach().clone().requires_grad_()
        pull = torch.randn(shape)
        got = mine(values, mask)
        want = theirs(real_positions(twin, mask))
        torch.testing.assert_close(real_positions(got, mask), want, atol=1e-5, rtol=1e-5)
        assert (real_positions(got, ~mask) == 0).all()
        for part in (mine, theirs):
            part.zero_grad()
        (got * pull).sum().backward()
        (want * real_positions(pull, mask)).sum().backward()
        torch.testing.assert_close(values.grad, twin.grad, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mine.weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mine.bias.grad, theirs.bias.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mine.running_mean, theirs.running_mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine.running_var, theirs.running_var, atol=1e-5, rtol=1e-5)
    mine.eval(), theirs.eval()
    got = real_positions(mine(values, mask), mask)
    torch.testing.assert_close(got, theirs(real_positions(values, mask)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("incoming", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape", [(5, 3, 4, 4), (5, 3, 1, 1), (1, 3, 6, 1), (1, 3, 1, 6), (1, 3, 4, 4)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_masked_batch_norm_gradient_does_not_depend_on_the_memory_layout(shape, layout, incoming):
    part = MaskedBatchNorm(channels=3)
    values = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    pull = torch.randn(shape).contiguous(memory_format=incoming)
    twin = values.detach().double().contiguous().requires_grad_()
    part(values, torch.ones(shape[0], 1, 1, 1, dtype=torch.bool)).backward(pull)
    flat = twin.movedim(1, -1).flatten(0, -2)
    (
        nn.functional.batch_norm(flat, None, None, training=True)
        * pull.movedim(1, -1).flatten(0, -2)
    ).sum().backward()
    torch.testing.assert_close(values.grad, twin.grad.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("real", [0, 1])
@pytest.mark.parametrize("batch", [1, 3])
def test_masked_batch_norm_with_hardly_any_position_keeps_its_statistics(batch, real):
    part = MaskedBatchNorm(channels=3)
    mask = torch.zeros(batch, 1, 1, dtype=torch.bool)
    mask[:real] = True
    got = part(torch.randn(batch, 3, 1), mask)
    assert got.isfinite().all()
    assert (part.running_mean == 0).all()
    assert (part.running_var == 1).all()


def test_a_column_batch_says_which_rows_are_present():
    ragged = torch.tensor([[True, False], [False, False]])
    assert ColumnBatch(torch.zeros(2, 2), ragged).present.tolist() == [True, False]
    assert ColumnBatch(torch.zeros(2), ragged[:, 0]).present.tolist() == [True, False]


def test_without_a_mask_every_token_is_real():
    part, values = TransformerBlock(width=8, heads=2), torch.randn(3, 5, 8)
    everything = torch.ones(3, 5, dtype=torch.bool)
    torch.testing.assert_close(part(values), part(values, everything))


@pytest.mark.parametrize("heads", [0, -2, 3])
def test_heads_have_to_divide_the_width(heads):
    with pytest.raises(ValueError, match=f"width 8 is not a multiple of heads {heads}"):
        Attention(width=8, heads=heads)
