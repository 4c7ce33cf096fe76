"""Structured pruning: what is dead goes first, and then nothing changes."""

import pytest
import torch
from torch import nn

from plait.model.blocks import Attention, FeedForward, TransformerBlock
from plait.model.encoders.registry import build_encoder
from plait.model.tokens import ColumnBatch
from plait.training.compress.slices import inherit

WIDTH = 16


class Holder(nn.Module):
    """A part under the names that a whole model gives it."""

    def __init__(self, part, name="feed"):
        super().__init__()
        self.encoders = nn.ModuleList([nn.ModuleDict({name: part})])


def matters(model):
    """A weight counts as much as it is large."""
    return {name: weight.detach().abs() for name, weight in model.named_parameters()}


def test_hidden_units_that_say_nothing_go():
    wide, narrow = FeedForward(width=WIDTH), FeedForward(width=WIDTH, factor=1)
    live = torch.tensor([1, 2, 5, 8, 9, 11, 14, 17, 18, 20, 21, 25, 27, 28, 30, 31])
    dead = [unit for unit in range(32) if unit not in live]
    with torch.no_grad():
        for part in (wide[0].weight, wide[0].bias):
            part[dead] = 0
        wide[3].weight[:, dead] = 0
    found = inherit(Holder(narrow), Holder(wide), matters(Holder(wide)), width=WIDTH)
    assert found.fresh == [] and found.taken == sum(w.numel() for w in narrow.parameters())
    values = torch.randn(3, 4, WIDTH)
    torch.testing.assert_close(narrow.eval()(values), wide.eval()(values))
    assert torch.equal(narrow[0].weight, wide[0].weight[live])


@pytest.mark.parametrize("dead", [(0, 1), (1, 3), (0, 2)])
def test_heads_that_say_nothing_go_whole(dead):
    wide = Attention(width=WIDTH, heads=4)
    with torch.no_grad():
        for head in dead:
            rows = slice(4 * head, 4 * head + 4)
            wide.to_out.weight[:, rows] = 0
            wide.to_query.weight[rows] = wide.to_query.bias[rows] = 0
            for start in (0, WIDTH):  # keys, then values
                both = slice(start + rows.start, start + rows.stop)
                wide.to_key_value.weight[both] = wide.to_key_value.bias[both] = 0
    narrow = Attention(width=WIDTH, heads=2)
    narrow.to_query = nn.Linear(WIDTH, 8)
    narrow.to_key_value = nn.Linear(WIDTH, 16)
    narrow.to_out = nn.Linear(8, WIDTH)
    inherit(Holder(narrow, "mix"), Holder(wide, "mix"), matters(Holder(wide, "mix")), width=WIDTH)
    values, mask = torch.randn(3, 5, WIDTH), torch.rand(3, 5) < 0.8
    mask[:, 0] = True
    torch.testing.assert_close(
        narrow.eval()(values, values, mask), wide.eval()(values, values, mask)
    )


def test_inner_channels_of_a_residual_block_go_alone():
    """And the sizes that others see keep their order."""
    state = {"channels": 1, "size": 13}
    size = {"width": WIDTH, "preset": "fast", "dropout": 0.0}
    wide = build_encoder("image", "resnet", state, **size).eval()
    same = build_encoder("image", "resnet", state, **size).eval()
    found = inherit(same, wide, matters(wide), width=WIDTH)
    assert found.fresh == []
    column = ColumnBatch(
        torch.randint(0, 256, (2, 13, 13, 1), dtype=torch.uint8), torch.ones(2) > 0
    )
    assert torch.equal(same(column).values, wide(column).values)


def test_the_axes_of_a_group_keep_the_same_members():
    """A transformer that is narrower everywhere: what is added to one another stays together."""
    wide, narrow = TransformerBlock(width=16, heads=4), TransformerBlock(width=8, heads=2)
    alive = torch.tensor([0, 3, 4, 7, 8, 10, 13, 15])
    with torch.no_grad():
        for weight in wide.parameters():
            weight.abs_().add_(0.1)
        wide.attention_norm.weight[alive] += 100
    wide_in, narrow_in = nn.Module(), nn.Module()
    wide_in.encoders = nn.ModuleList([wide])
    narrow_in.encoders = nn.ModuleList([narrow])
    wide_in.fusion, narrow_in.fusion = nn.Identity(), nn.Identity()
    narrow_in.fusion.width = 8
    found = inherit(narrow_in, wide_in, matters(wide_in), width=16)
    assert found.fresh == []
    assert torch.equal(narrow.attention_norm.weight, wide.attention_norm.weight[alive])
    assert torch.equal(narrow.feed_norm.bias, wide.feed_norm.bias[alive])
    assert torch.equal(narrow.attention.to_out.bias, wide.attention.to_out.bias[alive])
    assert torch.equal(narrow.feed[3].bias, wide.feed[3].bias[alive])


def test_shapes_that_tell_nothing_start_anew():
    wide, narrow = nn.Module(), nn.Module()
    wide.heads, narrow.heads = nn.ModuleList([nn.Linear(7, 5)]), nn.ModuleList([nn.Linear(3, 5)])
    narrow.odd = nn.Parameter(torch.ones(2))
    wide.odd = nn.Parameter(torch.ones(2, 2))
    narrow.new = nn.Parameter(torch.ones(1))
    before = narrow.heads[0].weight.detach().clone()
    found = inherit(narrow, wide, {}, width=16)
    assert sorted(found.fresh) == ["heads.0.weight", "new", "odd"]
    assert torch.equal(narrow.heads[0].weight, before)
    assert torch.equal(narrow.heads[0].bias, wide.heads[0].bias) and found.taken == 5
