"""Late fusion from the command line to the bundle, in each of its modes."""

import json

import numpy as np
import pytest
import torch
from several import batch, make_model, table
from typer.testing import CliRunner

import plait
from plait.cli.app import app
from plait.errors import ConfigError
from plait.model.fusion import build_fusion
from plait.model.heads import build_head
from plait.model.model import Model
from plait.training.trust import fit_trust


def test_the_mode_is_set_on_the_command_line(maker, tmp_path):
    path = maker.csv(tmp_path, "train.csv", maker.plain(40))
    options = ["--preset", "fast", "--epochs", "1", "--column", "note=text", "--quiet"]
    options += ["--set", "golden_rows=1", "--set", 'fusion_options={"mode":"mean"}']
    arguments = ["fit", str(path), "--target", "label", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*arguments, "--fusion", "late", *options])
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "mean" in json.dumps(saved)
    model = plait.load(tmp_path / "run")
    assert model.model.fusion.rule == "mean"
    assert model.verify() <= 1e-4


@pytest.mark.parametrize(
    ("fusion", "options"),
    [("late", {"mode": "stacked"}), ("product", {}), ("dempster", {}), ("qmf", {})],
)
def test_a_bundle_keeps_its_answers(maker, tmp_path, fusion, options):
    rows = maker.plain(40)
    for row in rows[::5]:
        row["note"] = None
    model = maker.fit(
        rows,
        "label",
        fusion=fusion,
        fusion_options=options,
        columns={"note": "text"},
        out=tmp_path / "run",
        golden_rows=2,
    )
    twin = plait.load(tmp_path / "run")
    assert twin.verify() <= 1e-4
    asked = [*rows[:6], {"price": None, "shop": None, "note": None}]
    chances = model.predict_proba(asked)
    np.testing.assert_allclose(chances, twin.predict_proba(asked), atol=1e-6)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)


def test_every_kind_of_target_is_stacked(maker):
    rows = [
        row | {"number": index % 5 + 0.5, "tags": ("a;b", "b")[index % 2]}
        for index, row in enumerate(maker.plain(40))
    ]
    model = maker.fit(
        rows,
        ["label", "number", "tags"],
        fusion="late",
        fusion_options={"mode": "stacked"},
        columns={"note": "text"},
        target_kinds={"tags": "multilabel"},
        separator=";",
        golden_rows=1,
    )
    assert [head.stack.maps.shape[0] for head in model.model.heads] == [3, 3, 3]


def test_an_unknown_mode_stops_a_fit_with_its_name(maker):
    with pytest.raises(ConfigError, match="unknown mode 'median'"):
        maker.fit(maker.plain(40), "label", fusion="late", fusion_options={"mode": "median"})


def test_stacks_are_fitted_to_held_out_rows_and_nothing_else_is():
    torch.manual_seed(0)
    plain = make_model(fusion="late", targets=("kind",))
    fusion = build_fusion(
        "late", plain.fusion.widths, width=8, dropout=0.0, options={"mode": "stacked"}
    )
    head = build_head("classify", width=8, outputs=3, dropout=0.0, votes=fusion.stacks)
    model = Model(
        streams=plain.streams,
        encoders=dict(zip(plain.streams, plain.encoders, strict=True)),
        fusion=fusion,
        heads={"kind": head},
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    columns, goals = table()
    goal = torch.from_numpy(goals["kind"])
    found = fit_trust(model, columns, np.arange(40), {"kind": goal})
    assert found == []  # no trust to report
    moved = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    assert moved == ["heads.0.stack.maps", "heads.0.stack.bias"]
    assert all(weight.requires_grad for weight in model.parameters())
    rows = batch(40).columns
    after = head.loss(model(rows)["kind"], goal).mean()
    model.load_state_dict(before)
    assert after < head.loss(model(rows)["kind"], goal).mean()
