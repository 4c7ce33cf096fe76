"""The model composes; what it adds is modality dropout and the streams' own answers."""

import pytest
import torch

from plait.model.encoders.registry import build_encoder, build_tabular
from plait.model.fusion import FUSIONS, build_fusion
from plait.model.heads import build_head
from plait.model.model import Model, _keep_one
from plait.model.tokens import ColumnBatch, Tokens

WIDTH = 16


def make(fusion="concat", dropout=0.0, modality_dropout=0.0, unimodal_loss=0.0, shared=False):
    size = {"width": WIDTH, "preset": "fast", "dropout": dropout}
    text = build_encoder("text", "transformer", {"vocabulary": 20, "max_tokens": 9}, **size)
    other = (
        text
        if shared
        else build_encoder("text", "gru", {"vocabulary": 20, "max_tokens": 9}, **size)
    )
    table = build_tabular([("numeric", {}), ("categorical", {"values": ["a", "b"]})], **size)
    table.hide = 0.0
    return Model(
        streams={"first.note": ["first.note"], "second": ["second"], "tabular": ["price", "kind"]},
        encoders={"first.note": text, "second": other, "tabular": table},
        fusion=build_fusion(
            fusion,
            dict.fromkeys(["first.note", "second", "tabular"], WIDTH),
            width=WIDTH,
            dropout=dropout,
        ),
        heads={
            "label.x": build_head("classify", width=WIDTH, outputs=3, dropout=dropout),
            "size": build_head("regress", width=WIDTH, outputs=1, dropout=dropout),
        },
        modality_dropout=modality_dropout,
        unimodal_loss=unimodal_loss,
    )


def batch(rows=8):
    mask = torch.arange(9) < torch.randint(1, 9, (rows, 1))
    there = torch.ones(rows, dtype=torch.bool)
    ids = torch.randint(0, 20, (rows, 9), dtype=torch.int32) * mask
    return {
        "first.note": ColumnBatch(ids, mask),
        "second": ColumnBatch(ids.flip(0), mask.flip(0)),
        "price": ColumnBatch(torch.randn(rows, 1), there),
        "kind": ColumnBatch(torch.randint(0, 3, (rows,)), there),
    }


def goals(rows=8):
    return {"label.x": torch.randint(0, 3, (rows,)), "size": torch.randn(rows)}


numbers_too = pytest.mark.parametrize(
    "fusion", [name for name, kind in FUSIONS.items() if kind.heads is None]
)


@numbers_too
def test_it_is_encoders_then_fusion_then_heads(fusion):
    model, columns = make(fusion).eval(), batch()
    tokens = {
        "first.note": model.encoders[0](columns["first.note"]),
        "second": model.encoders[1](columns["second"]),
        "tabular": model.encoders[2](columns["price"], columns["kind"]),
    }
    fused = model.fusion(tokens)
    answers = model(columns)
    assert list(answers) == ["label.x", "size"]
    for head, logits in zip(model.heads, answers.values(), strict=True):
        assert torch.equal(logits, head(fused))


@numbers_too
def test_every_parameter_learns(fusion):
    model = make(fusion, unimodal_loss=0.3)
    losses = model.row_losses(batch(), goals())
    sum(loss.sum() for loss in losses.values()).backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None]
    if fusion in ("late", "hybrid"):  # these already make each stream answer alone
        silent = [name for name in silent if not name.startswith("voices.")]
    assert silent == []


def test_streams_may_share_an_encoder():
    model = make(shared=True)
    assert model.encoders[0] is model.encoders[1]
    assert sum(w.numel() for w in model.parameters()) < sum(w.numel() for w in make().parameters())


def test_keep_shows_the_named_streams_only():
    model, columns = make("weighted").eval(), batch()
    tokens = model.encode(columns)
    assert (model.fuse(tokens, ["second"]).weights > 0).tolist() == [[False, True, False]] * 8
    hidden = {
        name: stream if name == "second" else Tokens(stream.values, stream.mask & False)
        for name, stream in tokens.items()
    }
    assert torch.equal(model.fuse(tokens, ["second"]).vector, model.fusion(hidden).vector)
    assert torch.equal(model.fuse(tokens, list(tokens)).vector, model.fuse(tokens).vector)


def test_keep_nothing_is_finite():
    model = make("attention").eval()
    assert model.fuse(model.encode(batch()), []).vector.isfinite().all()


def test_keep_goes_before_modality_dropout():
    model = make("weighted", modality_dropout=0.9).train()
    tokens = model.encode(batch())
    assert (model.fuse(tokens, list(tokens)).weights > 0).all()


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.6])
def test_modality_dropout_hides_at_about_the_rate_and_never_the_last_stream(rate):
    rows = 20000
    chance, present = torch.rand(rows, 3), torch.rand(rows, 3) < 0.7
    shown = _keep_one(chance, present, rate)
    some = present.any(dim=1)
    assert (shown & present)[some].any(dim=1).all()
    assert (shown & present).sum(dim=1)[present.sum(dim=1) == 1].eq(1).all()
    full = present.all(dim=1)
    hidden = (~shown[full]).float().mean()
    # A row would hide all three with chance rate³, and then shows one of them again.
    assert abs(hidden - (rate - rate**3 / 3)) < 0.01


def test_modality_dropout_acts_in_training_only():
    model, columns = make("weighted", modality_dropout=0.6), batch(64)
    tokens = model.encode(columns)
    assert (model.train().fuse(tokens).weights == 0).any()
    assert (model.fuse(tokens).weights.sum(dim=1) > 0.99).all()
    assert (model.eval().fuse(tokens).weights > 0).all()


def test_modality_dropout_leaves_missing_streams_missing():
    model, columns = make("weighted", modality_dropout=0.5).train(), batch(64)
    columns["second"] = ColumnBatch(columns["second"].values, columns["second"].mask & False)
    weights = model.fuse(model.encode(columns)).weights
    assert (weights[:, 1] == 0).all()


def test_the_loss_alone_is_added_by_its_weight():
    plain, columns, targets = make("concat").eval(), batch(), goals()
    model = make("concat", unimodal_loss=0.5).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    vectors, present = model.voices(model.encode(columns))
    for head, (name, loss) in zip(
        model.heads, model.row_losses(columns, targets).items(), strict=True
    ):
        own = torch.stack(
            [head.loss(head.project(vectors[:, i]), targets[name]) for i in range(3)], dim=1
        )
        want = plain.row_losses(columns, targets)[name] + 0.5 * (own * present).sum(
            1
        ) / present.sum(1)
        torch.testing.assert_close(loss, want)


def test_streams_learn_alone_even_while_hidden():
    """The streams' own answers see what modality dropout hides from the fusion."""
    model = make("concat", modality_dropout=0.99, unimodal_loss=1.0).train()
    model.row_losses(batch(), goals())["size"].sum().backward()
    assert (model.voices.project[0][1].weight.grad != 0).any()


@pytest.mark.parametrize("fusion", ["concat", "late"])
def test_rows_without_a_target_teach_nothing(fusion):
    model, targets = make(fusion, unimodal_loss=0.3), goals()
    targets["label.x"][:] = -1
    targets["size"][:] = torch.nan
    losses = model.row_losses(batch(), targets)
    sum(loss.sum() for loss in losses.values()).backward()
    assert all((loss == 0).all() for loss in losses.values())
    assert all(w.grad is None or (w.grad == 0).all() for w in model.parameters())


def test_a_single_stream_needs_no_loss_alone():
    model = Model(
        streams={"note": ["note"]},
        encoders={"note": make().encoders[0]},
        fusion=build_fusion("concat", {"note": WIDTH}, width=WIDTH, dropout=0.0),
        heads={"y": build_head("regress", width=WIDTH, outputs=1, dropout=0.0)},
        unimodal_loss=0.3,
    )
    assert model.voices is None
    assert model({"note": batch()["first.note"]})["y"].shape == (8, 1)


def test_save_and_load_gives_the_same_answers():
    model, twin, columns = make(unimodal_loss=0.3).eval(), make(unimodal_loss=0.3).eval(), batch()
    twin.load_state_dict(model.state_dict())
    assert all(
        torch.equal(a, b)
        for a, b in zip(model(columns).values(), twin(columns).values(), strict=True)
    )
