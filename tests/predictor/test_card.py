"""The model card says what the model answers, from what, how well, and what it cannot."""

import re

from markdown_it import MarkdownIt

from plait.predictor.card import model_card


def test_the_card_of_a_model(fitted):
    model, out = fitted
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card == model_card(model.targets, model.features, model.blueprint, model.metrics)
    assert card.startswith("# A plait model for label (multiclass)\n")
    assert "plait predict folder table.csv" in card
    for name, kind in model.schema.inputs.items():
        assert re.search(rf"^\| {name} \| {kind} \| .+ \|$", card, re.MULTILINE)
    for stream in model.blueprint.streams:
        assert f"| alone {stream} | " in card
        assert f"| without {stream} | " in card
    accuracy = model.metrics["targets"]["label"]["metrics"]["accuracy"]
    assert f"| all | {accuracy:.4g} | " in card
    assert "held out for validation with seed 0" in card
    assert "Classes of label: a, b, c" in card
    assert "Measure on unseen rows" in card


def test_it_is_markdown_with_every_table_whole(fitted):
    card = (fitted[1] / "README.md").read_text(encoding="utf-8")
    html = MarkdownIt("gfm-like", {"linkify": False}).render(card)
    assert html.count("<table>") == 2
    widths = {
        len(re.split(r"(?<!\\)\|", line)) for line in card.splitlines() if line.startswith("| all")
    }
    assert len(widths) == 1


def test_names_are_shown_as_they_are_and_are_never_markup(maker, tmp_path):
    rows = [
        {
            "a_b*c": row["note"],
            "x|y": row["price"],
            "`code` <img src=x onerror=alert(1)>": row["shop"],
            "my_label": {"no": "<script>alert(1)</script>", "yes": "[a](javascript:alert(1))"}[
                row["label"]
            ],
        }
        for row in maker.plain(24)
    ]
    table = maker.csv(tmp_path, "<b>_t_.csv", rows)
    maker.fit(table, "my_label", out=tmp_path / "run", golden_rows=0)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(card)
    assert not re.search(r"<(script|img|b|a)\b", html)
    for shown in (
        "a_b*c",
        "x|y",
        "`code` &lt;img",
        "my_label",
        "&lt;script&gt;",
        "[a](javascript:",
        "&lt;b&gt;_t_.csv",
    ):
        assert shown in html
    assert "\\" not in re.sub(r"<[^>]*>", "", html)


def test_several_targets_and_none_measured(maker, braid):
    model = maker.fit(
        braid / "train.csv", ["label", "score"], ignore=("photo", "voice", "pulse", "tags")
    )
    card = model_card(model.targets, model.features, model.blueprint, model.metrics)
    assert card.startswith("# A plait model for label (multiclass), score (regression)\n")
    assert "| score | r2 | mae | rmse |" in card
    assert "Classes of score" not in card
    assert "None were measured." in model_card(model.targets, model.features, model.blueprint, {})


def found(figures):
    from plait.predictor.card import _found

    return "\n".join(_found(figures))


SLICE = {"column": "a|b", "rows": 40, "error": 0.5, "rest": 0.1, "p": 0.0, "q": 0.0}


def test_the_card_tells_contributions_calibration_and_slices(fitted):
    model, out = fitted
    card = (out / "README.md").read_text(encoding="utf-8")
    told = model.metrics["figures"]["label"]
    shares = told["contributions"]
    assert "## Contributions, calibration and weak slices" in card
    for stream, value in shares["values"].items():
        assert f"{stream} {value:+.3f}" in card
    assert f"which is {shares['fused']:.4g} with all streams" in card
    assert "Calibration: 'label' is not calibrated" in card
    assert (
        f"Of {told['slices_looked_at']} slices of single columns, none does significantly worse"
        in card
    )
    assert "figures" not in card.split("## Metrics")[0]


def test_slices_and_unknown_figures_on_the_card():
    slices = [
        {**SLICE, "how": "value", "value": "<x>"},
        {**SLICE, "how": "range", "low": 1.0, "high": 2.5},
        {**SLICE, "how": "missing"},
    ]
    shares = {"metric": "r2", "fused": 0.5, "empty": None, "values": {"one": None, "two": 0.25}}
    text = found({"y": {"slices": slices, "slices_looked_at": 9, "contributions": shares}})
    assert (
        "Slices with more errors, of 9: a\\|b = \\<x\\>: error 0.5 on 40 rows, 0.1 elsewhere; "
        in text
    )
    assert "a\\|b from 1 to 2.5" in text and "a\\|b missing" in text
    assert "two +0.250, one unknown" in text and "Calibration" not in text
    bare = found({"y": {"slices": [], "slices_looked_at": 0, "reliability": {"error": 0.125}}})
    assert "Expected calibration error: 0.125." in bare and "Contributions to" not in bare
    assert found({}) == ""
