"""Pretrained encoders as parts of a stream's graph."""

import numpy as np
import pytest
import torch
from checkpoints_image_text import save_text

from plait.export.parts import capped_always
from plait.model.frozen import capped
from plait.model.tokens import Tokens
from plait.runtime import Runtime


def test_a_frozen_encoder_with_its_cap(maker, unwatched_export, tmp_path):
    folder = save_text(tmp_path / "bert", "bert")
    rows = maker.plain(24)
    for number, row in enumerate(rows):
        row["note"] = f"bird {number} " + " ".join(["sings in the old tree"] * (number % 4))
    model = maker.fit(
        rows,
        "label",
        encoders={"note": str(folder)},
        frozen_tokens=5,
        golden_rows=2,
        fusion="concat",
    )
    assert model.frozen.encoders["note"].most == 5
    found = unwatched_export(model, tmp_path / "app")
    assert max(found.golden, found.random) < 1e-4
    runtime = Runtime(tmp_path / "app")
    np.testing.assert_allclose(runtime.predict_proba(rows), model.predict_proba(rows), atol=1e-4)
    lone = [runtime.predict_proba([row])[0] for row in rows[:4]]
    np.testing.assert_allclose(lone, model.predict_proba(rows[:4]), atol=1e-4)


@pytest.mark.parametrize("most", [1, 3, 8, 20])
def test_the_cap_without_a_look_at_the_values(most):
    mask = torch.arange(8) < torch.tensor([0, 1, 3, 4, 8])[:, None]
    values = torch.randn(5, 8, 6) * mask.unsqueeze(-1)
    want, got = capped(Tokens(values, mask), most), capped_always(Tokens(values, mask), most)
    count = min(most, 8)
    assert torch.equal(got.mask[:, :count], want.mask)
    assert not got.mask[:, count:].any()
    real = want.mask.unsqueeze(-1)
    torch.testing.assert_close(got.values[:, :count] * real, want.values * real)


def test_the_runtime_cuts_off_what_no_row_has(plain_app):
    graphs = Runtime(plain_app[1]).graphs

    class Padded:
        def run(self, outputs, feed):
            values = np.ones((len(feed["mask_0"]), 6, 4), np.float32)
            return values, np.arange(6) < feed["values_0"]

    graphs.sessions["padded"] = Padded()
    for counts, most in (([1, 3], 3), ([6, 2], 6), ([0, 0], 1)):
        cells = [(np.array(counts)[:, None], np.ones(2, bool))]
        values, mask = graphs._encode("padded", cells, 2, 4)
        assert values.shape == (2, most, 4)
        assert mask.sum(axis=1).tolist() == counts


def test_few_tokens_are_left_as_they_are():
    tokens = Tokens(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    assert capped_always(tokens, 3) is tokens
