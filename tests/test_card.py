"""The model card says what the model answers, from what, how well, and what it cannot."""

import re

from markdown_it import MarkdownIt

from plait.card import model_card


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
    assert "Measure on rows the model has never seen" in card


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
