"""What is special about the basic fusions, beyond the contract and the formulas of test_fusion."""

import numpy as np
import pytest
import torch
from formulas.basic import channel_eca
from formulas.parts import numbers

from plait.errors import ConfigError
from plait.model.fusion import Embrace, Gmu, Max, build_fusion
from plait.model.tokens import Tokens

WIDTHS = {"image": 8, "text": 12, "sound": 4}


def streams(rows=6):
    torch.manual_seed(1)
    found = {}
    for name, width in WIDTHS.items():
        mask = torch.rand(rows, 4) < 0.6
        mask[0], mask[1] = False, True
        found[name] = Tokens(torch.randn(rows, 4, width), mask)
    return found


def test_channel_attention_of_the_eca_kind_equals_its_formula():
    part = build_fusion("channel", WIDTHS, width=16, dropout=0.0, options={"style": "eca"}).eval()
    tokens, w = streams(), numbers(part)
    got = part(tokens).vector.detach().numpy()
    for row in range(6):
        np.testing.assert_allclose(got[row], channel_eca(w, tokens, row), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("early", {"layers": 0}, "early: layers must be at least 1, got 0"),
        ("centralnet", {"layers": 0}, "centralnet: layers must be at least 1, got 0"),
        ("mmtm", {"layers": 0}, "mmtm: layers must be at least 1, got 0"),
        ("mmtm", {"reduction": 0}, "mmtm: reduction must be at least 1, got 0"),
        ("film", {"layers": 0}, "film: layers must be at least 1, got 0"),
        ("nlgate", {"inner": 0}, "nlgate: inner must be at least 1, got 0"),
        ("channel", {"style": "cbam"}, "channel: style must be se or eca, got 'cbam'"),
        ("channel", {"reduction": 0}, "channel: reduction must be at least 1, got 0"),
        ("channel", {"kernel": 0}, "channel: kernel must be at least 1, got 0"),
        ("channel", {"kernel": 4}, "channel: kernel must be odd, got 4"),
    ],
)
def test_an_option_out_of_bounds_is_refused(name, options, message):
    with pytest.raises(ConfigError) as caught:
        build_fusion(name, WIDTHS, width=16, dropout=0.0, options=options)
    assert str(caught.value) == f"1 option is wrong:\n  - fusion_options: {message}"


def test_embracing_draws_from_present_streams_and_is_its_expectation_in_use():
    part = Embrace(WIDTHS, width=16)
    docked = torch.arange(1.0, 4).view(1, 3, 1).expand(4000, 3, 16)
    present = torch.tensor([True, False, True]).expand(4000, 3)
    drawn = part.embrace(docked, present)
    assert drawn.unique().tolist() == [1.0, 3.0]
    assert (drawn != drawn[:, :1]).any()  # each number is a draw of its own
    want = part.eval().embrace(docked, present)
    assert (want == 2).all()
    torch.testing.assert_close(drawn.mean(dim=0), want[0], atol=0.1, rtol=0)


def test_gates_of_two_streams_are_shares_and_of_more_are_none():
    tokens = streams()
    pair = Gmu({"image": 8, "text": 12}, width=16).eval()
    weights = pair(tokens).weights
    assert ((weights[1] > 0) & (weights[1] < 1)).all()
    assert Gmu(WIDTHS, width=16).eval()(tokens).weights is None


def test_the_weights_of_max_count_the_numbers_each_stream_gave():
    part, tokens = Max(WIDTHS, width=16).eval(), streams()
    vectors, _ = part.vectors(tokens)
    giver = vectors[1].argmax(dim=0)
    want = [(giver == index).float().mean().item() for index in range(3)]
    assert part(tokens).weights[1].tolist() == pytest.approx(want)


def test_a_stream_alone_passes_the_non_local_gate_unchanged():
    """With no other stream there is nothing to take: what W holds does not matter."""
    part, tokens = build_fusion("nlgate", WIDTHS, width=16, dropout=0.0).eval(), streams()
    for name in ("text", "sound"):
        tokens[name] = Tokens(tokens[name].values, torch.zeros_like(tokens[name].mask))
    before = part(tokens).vector
    with torch.no_grad():
        part.back.weight.mul_(100)
    torch.testing.assert_close(part(tokens).vector, before)
