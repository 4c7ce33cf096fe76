"""What is special about the bilinear fusions; contract and formulas are checked in test_fusion."""

import pytest
import torch

from plait.errors import ConfigError
from plait.model.fusion import Mcb, TensorFusion, build_fusion
from plait.model.fusion.pairwise import Pairwise, power_normalised
from plait.model.fusion.registry import FUSIONS
from plait.model.tokens import Tokens

PAIRED = ("mcb", "mlb", "mfb", "mutan", "block")
WHOLE = ("tensor", "lowrank", "multiplicative")


def make(name, streams, width=8, **options):
    widths = {f"s{number}": 4 for number in range(streams)}
    return build_fusion(name, widths, width=width, dropout=0.0, options=options)


def one_token(*columns):
    """Streams of one token a row, in the given order."""
    there = torch.ones(len(columns[0]), 1, dtype=torch.bool)
    return {f"s{index}": Tokens(column[:, None], there) for index, column in enumerate(columns)}


# Options.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tensor", {"size": -1}, "size must be at least 1, or 0 to have it chosen, got -1"),
        (
            "tensor",
            {"size": 41},
            "size 41 over 3 streams makes an outer product of 74088 numbers, more than 65536; give a smaller "
            "size, or use lowrank, whose cost is linear in the streams",
        ),
        ("lowrank", {"rank": 0}, "rank must be at least 1, got 0"),
        ("multiplicative", {"size": 0}, "size must be at least 1, got 0"),
        ("mcb", {"size": 0}, "size must be at least 1, got 0"),
        ("mlb", {"size": -3}, "size must be at least 1, got -3"),
        ("mfb", {"factors": 0}, "factors must be at least 1, got 0"),
        ("mutan", {"rank": 0}, "rank must be at least 1, got 0"),
        ("block", {"blocks": 0}, "blocks must be at least 1, got 0"),
        ("block", {"size": 12}, "size 12 is not a multiple of blocks 8"),
    ],
)
def test_options_out_of_bounds_are_told(name, options, message):
    with pytest.raises(ConfigError) as caught:
        make(name, 3, **options)
    assert str(caught.value) == f"1 option is wrong:\n  - fusion_options: {name}: {message}"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tensor", {"size": 3}),
        ("lowrank", {"rank": 2}),
        ("multiplicative", {"size": 5}),
        ("mcb", {"size": 33}),
        ("mlb", {"size": 5}),
        ("mfb", {"size": 6, "factors": 2}),
        ("mutan", {"size": 5, "rank": 1}),
        ("block", {"size": 6, "blocks": 3, "rank": 2}),
    ],
)
def test_other_sizes_work(name, options):
    part = make(name, 4, **options)
    assert part(one_token(*torch.randn(4, 3, 4))).vector.isfinite().all()


@pytest.mark.parametrize(
    ("streams", "size"), [(1, 32), (2, 32), (3, 15), (4, 7), (5, 4), (6, 3), (12, 1), (13, 1)]
)
def test_the_size_of_a_tensor_is_chosen_by_the_number_of_streams(streams, size):
    part = make("tensor", streams)
    assert part.size == size
    assert part.mix[0].in_features == (size + 1) ** streams


def test_a_tensor_of_seventeen_streams_is_refused():
    with pytest.raises(ValueError, match="size 1 over 17 streams makes an outer product of 131072"):
        TensorFusion({f"s{number}": 4 for number in range(17)}, width=8)


# Which effects each can show.


def third_difference(part):
    """What the corners of a cube of three streams do not get from any two of them."""
    ends = torch.randn(2, 3, 4)
    total = torch.zeros(part.width)
    for corner in range(8):
        choice = [corner >> bit & 1 for bit in range(3)]
        tokens = one_token(*(ends[pick, stream][None] for stream, pick in enumerate(choice)))
        total += (-1) ** sum(choice) * part(tokens).vector[0]
    return total.abs().max()


@pytest.mark.parametrize("name", PAIRED)
def test_a_paired_fusion_is_a_sum_over_pairs(name):
    assert third_difference(make(name, 3).eval()) < 1e-5


@pytest.mark.parametrize("name", WHOLE)
def test_the_others_see_what_only_three_streams_show(name):
    assert third_difference(make(name, 3).eval()) > 1e-2


def learnt(part, tokens, goal, steps=150):
    """Share of right answers after some training."""
    head = torch.nn.Linear(part.width, 1)
    optimizer = torch.optim.Adam([*part.parameters(), *head.parameters()], lr=0.01)
    for _ in range(steps):
        logits = head(part(tokens).vector).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ((head(part(tokens).vector).squeeze(1) > 0) == (goal > 0)).float().mean()


def parity(streams, rows=128):
    """Streams whose first number is a fair sign; the goal is whether the product is positive."""
    signs = torch.randint(2, (streams, rows)) * 2.0 - 1
    columns = 0.3 * torch.randn(streams, rows, 4)
    columns[:, :, 0] += signs
    return one_token(*columns), (signs.prod(dim=0) > 0).float()


@pytest.mark.parametrize("name", [*PAIRED, *WHOLE])
def test_xor_of_two_streams_is_learnt(name):
    tokens, goal = parity(2)
    options = {"size": 64} if name == "mcb" else {}
    assert learnt(make(name, 2, **options), tokens, goal) > 0.95


def test_xor_of_two_streams_is_beyond_a_sum_over_streams():
    """So the data need a product."""
    tokens, goal = parity(2, rows=512)
    assert learnt(make("mapping", 2), tokens, goal) < 0.75


@pytest.mark.parametrize("name", WHOLE)
def test_parity_of_three_streams_is_learnt(name):
    tokens, goal = parity(3)
    assert learnt(make(name, 3), tokens, goal) > 0.95


# Each method's own.


def test_the_factors_of_lowrank_are_parameters_and_all_of_them_learn():
    part = make("lowrank", 3)
    assert "factors" in dict(part.named_parameters())
    before = part.factors.detach().clone()
    tokens, goal = parity(3)
    learnt(part, tokens, goal, steps=3)
    assert part.factors.shape == (3, 9, 4 * 8)
    assert (part.factors != before).all()


@pytest.mark.parametrize("name", PAIRED)
def test_with_every_stream_missing_the_answer_is_the_constant(name):
    part = make(name, 3).eval()
    tokens = {
        key: Tokens(stream.values, torch.zeros_like(stream.mask))
        for key, stream in one_token(*torch.randn(3, 5, 4)).items()
    }
    assert torch.equal(part(tokens).vector, part.out.bias.expand(5, -1))


@pytest.mark.parametrize("name", PAIRED)
def test_a_row_with_one_stream_tells_of_it_from_the_start(name):
    """A product with a tiny absent vector would hide what is there."""
    part = make(name, 3, width=16).eval()
    tokens = one_token(*torch.randn(3, 64, 4))
    for key in ("s1", "s2"):
        tokens[key] = Tokens(tokens[key].values, torch.zeros_like(tokens[key].mask))
    assert part(tokens).vector.std(dim=0).mean() > 0.01


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_are_all_pairs(name):
    part = make(name, 4)
    assert isinstance(part, Pairwise)
    assert part.pairs == 6
    told = list(zip(part.left.tolist(), part.right.tolist(), strict=True))
    assert told == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert make(name, 1).pairs == 1


def test_the_hashes_of_mcb_are_fixed_and_saved():
    part = make("mcb", 2)
    saved = part.state_dict()
    assert {"places", "signs"} <= saved.keys()
    assert saved["places"].min() >= 0
    assert saved["places"].max() < 512
    assert set(saved["signs"].unique().tolist()) == {-1.0, 1.0}
    before = saved["places"].clone(), saved["signs"].clone()
    tokens, goal = parity(2)
    learnt(part, tokens, goal, steps=2)
    assert torch.equal(part.places, before[0])
    assert torch.equal(part.signs, before[1])


def test_sketches_keep_the_inner_product_of_outer_products():
    """E⟨Ψ(x⊗y), Ψ(x'⊗y')⟩ = ⟨x, x'⟩⟨y, y'⟩ over the hashes (Pham & Pagh 2013)."""
    vectors = torch.rand(2, 2, 6)
    found = []
    for _ in range(400):
        one, other = Mcb({"a": 4, "b": 4}, width=6, size=64).sketch(vectors)[:, 0]
        found.append((one * other).sum())
    products = torch.stack(found)
    want = (vectors[0, 0] @ vectors[1, 0]) * (vectors[0, 1] @ vectors[1, 1])
    error = products.std() / len(products) ** 0.5
    assert abs(products.mean() - want) < 4 * error
    assert error < 0.1 * want


def test_the_softened_root_is_the_signed_root_of_all_but_tiny_numbers():
    values = torch.tensor([[4.0, -9.0, 0.25, 0.0]])
    root = torch.tensor([[2.0, -3.0, 0.5, 0.0]])
    torch.testing.assert_close(power_normalised(values), root / root.norm(), atol=1e-4, rtol=0)
    zeros = torch.zeros(2, 3, requires_grad=True)
    power_normalised(zeros).sum().backward()
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("name", [*PAIRED, *WHOLE])
def test_half_precision_is_finite(name):
    part = make(name, 3)
    with torch.autocast("cpu", torch.bfloat16):
        vector = part(one_token(*torch.randn(3, 6, 4))).vector
    vector.float().square().sum().backward()
    assert vector.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in part.parameters())


def test_all_eight_are_registered():
    assert {*PAIRED, *WHOLE} <= FUSIONS.keys()
