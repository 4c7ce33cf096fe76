"""What a stranger did wrong, and the words that say so: no trace, no bug report, no silence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plait.cli.pairs import others
from plait.config import configure
from plait.data.features import Features, settings_for
from plait.data.table.source import open_table
from plait.display.progress import Silent
from plait.errors import AlignError, ConfigError
from plait.experiments.comparison.screen import left_out
from plait.model import assemble
from plait.model.align import LDA, CrossAlign, SpatialTransformer
from plait.model.blueprint import plan_model
from plait.model.fusion import FUSIONS, Bottleneck, Concat, build_fusion
from plait.model.tokens import Tokens, check_stream
from plait.training.dataset import read_dataset
from plait.training.options import without_effect

BIG = 100_000_000


def tokens(rows=2, count=3, width=8):
    return Tokens(torch.randn(rows, count, width), torch.ones(rows, count, dtype=torch.bool))


# Options


def test_a_fusion_of_absurd_size_is_refused():
    with pytest.raises(ConfigError) as caught:
        build_fusion(
            "perceiver", {"a": 8}, width=16, dropout=0.0, options={"count": BIG, "depth": 257}
        )
    assert caught.value.problems == [
        f"fusion_options: count of perceiver must be at most 65536, got {BIG}",
        "fusion_options: depth of perceiver must be at most 256, got 257",
    ]
    with pytest.raises(ValueError, match="^count must be at least 1, got 0$"):
        Bottleneck({"a": 8}, width=16, count=0)


@pytest.fixture(scope="module")
def drawn(maker):
    """Features and targets of a plain table, and how to draw a model of them."""
    table = open_table(maker.plain(40))

    def made(**options):
        config = configure(preset="fast", columns={"note": "text"}, **options)
        data = read_dataset(table, ["label"], config)
        features = Features.fit(table, data.schema.inputs, data.train, settings_for(table, config))
        return config, plan_model(config, features), features, data.targets

    return made


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"),
        RuntimeError("Storage size calculation overflowed with sizes=[1]"),
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
    ],
)
def test_a_model_too_large_for_the_memory_names_what_sizes_it(drawn, monkeypatch, error):
    def fails(*args, **named):
        raise error

    config, plan, features, targets = drawn(fusion="attention", fusion_options={"count": 7})
    monkeypatch.setattr(assemble, "build_fusion", fails)
    with pytest.raises(ConfigError) as caught:
        assemble.build(plan, features, targets, config=config)
    assert caught.value.problems == [
        "the model with fusion 'attention' does not fit into this machine's memory. What sizes it: "
        "width=64, preset=fast, fusion_options count=7. Choose smaller ones."
    ]


def test_other_failures_of_a_build_stay_what_they_are(drawn, monkeypatch):
    def fails(*args, **named):
        raise RuntimeError("something else")

    config, plan, features, targets = drawn()
    monkeypatch.setattr(assemble, "build_fusion", fails)
    with pytest.raises(RuntimeError, match="^something else$"):
        assemble.build(plan, features, targets, config=config)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (
            {"fusion_options": {"count": None}},
            "fusion_options: 'count'=None: input should be a number, a text, true or false. (",
        ),
        (
            {"lr_scale": {"image": -1}},
            "lr_scale: 'image'=-1: input should be greater than or equal to 0. (",
        ),
        (
            {"task_weights": {"label": "much"}},
            "task_weights: 'label'='much': input should be a valid number, unable to parse string as a "
            "number. (",
        ),
        ({"share": (1,)}, "share=1: input should be a valid string. ("),
        ({"reconstruct": float("nan")}, "reconstruct=nan: input should be a number, not NaN. ("),
        ({"lr_scale": 3}, "lr_scale=3: input should be a valid dictionary. ("),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key_in_one_line(options, start):
    with pytest.raises(ConfigError) as caught:
        configure(**options)
    (problem,) = caught.value.problems
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("{'rounds': 3}", '{"rounds": 3}'),
        ("{rounds: 3}", '{"name": 1}'),
        ("['text']", '["text"]'),
        ("[text", '["name"]'),
        ("{1}", '{"name": 1}'),
    ],
)
def test_what_looks_like_json_and_is_none_is_shown_as_json(text, example):
    with pytest.raises(ConfigError) as caught:
        others({"fusion_options": text}, ())
    assert caught.value.problems == [
        f"--set fusion_options: {text} is not valid JSON. Put names and texts in double quotes, and the "
        f"whole argument in single quotes for the shell: --set 'fusion_options={example}'"
    ]


def test_options_without_effect_are_noted(drawn):
    config, plan, features, _ = drawn(
        task_weighting="gradnorm", gradient_surgery="pcgrad", pretrain_epochs=2,
        encoders={"image": "vit", "note": "gru"}, align={"image": "stn"}, share=("image", "text"),
    )  # fmt: skip
    assert without_effect(config, plan, features, 1) == [
        "task_weighting=gradnorm has no effect: there is one target",
        "gradient_surgery=pcgrad has no effect: there is one target",
        "pretrain_epochs has no effect: pretrain is none",
        "encoders: image has no effect: no column is image",
        "align: image has no effect: no column is image",
        "share: image has no effect: no column is image",
        "share: text has no effect: one column is text",
    ]
    assert len(without_effect(config, plan, features, 2)) == 5
    config = config.model_copy(update={"pretrain": "masked", "share": (), "balance": "agm"})
    assert not [line for line in without_effect(config, plan, features, 2) if "pretrain" in line]
    one = replace(plan, streams={"note": ["note"]})
    assert "balance=agm has no effect: there is one stream" in without_effect(
        config, one, features, 2
    )
    config, plan, features, _ = drawn()
    assert without_effect(config, plan, features, 1) == []


def test_a_fit_tells_them(maker):
    told = []

    class Told(Silent):
        def note(self, text):
            told.append(text)

    maker.fit(maker.plain(40), "label", pretrain_epochs=2, progress=Told(), golden_rows=0)
    assert "pretrain_epochs has no effect: pretrain is none" in told


# Parts that are used alone


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (
            torch.ones(2, 3, 8), TypeError,
            "tokens['a'] is a Tensor of shape [2, 3, 8]; expected Tokens(values, mask) with values "
            "[batch, tokens, 8] and a mask [batch, tokens] that is True where a token is real.",
        ),
        (
            None, TypeError,
            "tokens['a'] is a NoneType; expected Tokens(values, mask) with values [batch, tokens, 8] and a "
            "mask [batch, tokens] that is True where a token is real.",
        ),
        (
            (torch.ones(2, 8), torch.ones(2, dtype=torch.bool)), ValueError,
            "tokens['a'] has values of shape [2, 8]; expected [batch, tokens, 8].",
        ),
        (
            (torch.ones(2, 3, 9), torch.ones(2, 3, dtype=torch.bool)), ValueError,
            "tokens['a'] has values of shape [2, 3, 9]; expected [batch, tokens, 8].",
        ),
        (
            (torch.ones(2, 3, 8).long(), torch.ones(2, 3, dtype=torch.bool)), TypeError,
            "tokens['a'] has values of torch.int64; expected floats: values.float().",
        ),
        (
            (torch.ones(2, 3, 8), torch.ones(2, 3)), TypeError,
            "tokens['a'] has a mask of torch.float32; expected torch.bool, True where a token is real: "
            "mask > 0 makes one of zeros and ones.",
        ),
        (
            (torch.ones(2, 3, 8), torch.ones(2, 4, dtype=torch.bool)), ValueError,
            "tokens['a'] has a mask of shape [2, 4] for values of shape [2, 3, 8]; expected "
            "[batch, tokens], like the first two axes of the values.",
        ),
        (
            (torch.ones(2, 3, 8), None), TypeError,
            "tokens['a'] has a NoneType as its mask; expected a torch.Tensor.",
        ),
    ],
)  # fmt: skip
def test_a_fusion_says_what_is_wrong_with_a_stream(given, kind, text, unchecked_shapes):
    fusion = Concat({"a": 8, "b": 8}, width=16)
    stream = Tokens(*given) if isinstance(given, tuple) else given
    with pytest.raises(kind) as caught:
        fusion({"a": stream, "b": tokens()})
    assert str(caught.value) == text


def test_a_fusion_says_what_is_wrong_with_the_streams_together(unchecked_shapes):
    fusion = Concat({"a": 8, "b": 8}, width=16)
    with pytest.raises(TypeError) as caught:
        fusion(torch.ones(2, 3, 8))
    assert (
        str(caught.value) == "a fusion takes a dict of Tokens by stream ('a', 'b'), got a Tensor."
    )
    with pytest.raises(ValueError) as caught:
        fusion({"a": tokens(), "b": tokens(rows=3)})
    assert str(caught.value) == (
        "tokens['a'] has 2 rows and tokens['b'] has 3; row i of every stream must belong to one sample."
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", FUSIONS)
def test_an_empty_batch_gives_an_empty_answer(name, training):
    fusion = build_fusion(name, {"a": 8, "b": 8}, width=16, dropout=0.1).train(training)
    assert fusion({"a": tokens(rows=0), "b": tokens(rows=0)}).vector.shape == (0, 16)


def test_cross_attention_says_what_it_cannot_align(unchecked_shapes):
    part = CrossAlign(source=8, target=6, width=16)
    for source, target, text in (
        (tokens(), tokens(), "target has values of shape [2, 3, 8]; expected [batch, tokens, 6]."),
        (
            tokens(rows=4), tokens(width=6),
            "source has 4 rows and target has 2; row i of both must belong to one sample.",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError) as caught:
            part(source, target)
        assert str(caught.value) == text
    with pytest.raises(TypeError, match="^source is a Tensor of shape"):
        part.weights(torch.ones(2, 3, 8), tokens(width=6))
    assert part(tokens(), tokens(width=6)).values.shape == (2, 3, 16)
    assert check_stream("source", tokens(), 8) is None


def test_a_spatial_transformer_says_what_it_cannot_straighten(unchecked_shapes):
    part = SpatialTransformer(channels=1)
    for images, text in (
        (
            torch.ones(2, 8, 8),
            "images has shape [2, 8, 8]; expected [batch, 1, height, width].",
        ),
        (
            torch.ones(2, 3, 8, 8),
            "images has shape [2, 3, 8, 8]; expected [batch, 1, height, width].",
        ),
        (
            torch.ones(2, 1, 8, 8, dtype=torch.uint8),
            "images holds torch.uint8; pass floats: images.float() / 255.",
        ),
    ):
        with pytest.raises(AlignError) as caught:
            part(images)
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (
            ["x", None, "y", "x"],
            "classes holds None in row 1; leave out the rows that have no class.",
        ),
        (
            [0.0, np.inf, 1.0, 0.0],
            "classes holds infinity; leave out the rows that have no class.",
        ),
        (
            ["x", 1, "y", "x"],
            "classes mixes int and str; pass all of one kind: [str(c) for c in classes].",
        ),
    ],
)
def test_discriminants_need_a_class_for_every_row(classes, text):
    mixed = object if isinstance(classes[0], str) else float
    with pytest.raises(AlignError) as caught:
        LDA().fit(np.random.default_rng(0).normal(size=(4, 2)), np.array(classes, dtype=mixed))
    assert str(caught.value) == text


# Commands


def test_a_narrow_terminal_is_told_what_it_lacks():
    assert left_out(120, "runs/c") == []
    assert left_out(80, "runs/c") == [
        "Left out, because they do not fit into 80 columns: 50 % gone, param, FLOPs, rows/s, ms. They are in "
        "runs/c/compare.html and compare.csv."
    ]


@pytest.fixture(scope="module")
def painter(maker, tmp_path_factory):
    """A folder with a table of photos and numbers, and a model that rebuilds both."""
    folder = tmp_path_factory.mktemp("painter")
    rows = maker.rows(folder, 24, seed=5)
    rows = [{name: row[name] for name in ("photo", "price", "label")} for row in rows]
    maker.csv(folder, "train.csv", rows)
    maker.fit(
        folder / "train.csv", "label", reconstruct=0.1, fusion="concat", unimodal_loss=0.0, golden_rows=0,
        out=folder / "run",
    )  # fmt: skip
    return folder, rows


def test_a_filled_table_in_another_folder_says_how_to_read_it(run, maker, painter):
    folder, rows = painter
    table = maker.csv(folder, "one.csv", [{"photo": rows[0]["photo"], "price": None}])
    (folder / "below").mkdir()
    code, out, err = run("impute", folder / "run", table, "-o", folder / "below" / "f.csv", "-q")
    assert code == 0 and f"1 cell filled: price 1; 1 row written to {folder}" in out
    assert (
        f"! paths in {folder}/below/f.csv are relative to '{folder}': read it with --root {folder}"
        in err.replace("\n", " ")
    )
    code, _, err = run("impute", folder / "run", table, "-o", folder / "f.csv", "-q")
    assert code == 0 and "--root" not in err


def test_media_of_which_none_can_be_read_are_not_made_up(run, maker, painter):
    folder, rows = painter
    lost = [{**row, "photo": f"gone/{row['photo']}"} for row in rows[:3]]
    table = maker.csv(folder, "lost.csv", lost)
    code, _, err = run("impute", folder / "run", table, "-o", folder / "g.csv", "-q")
    assert code == 1 and not (folder / "g.csv").exists()
    assert (
        "no cell of 'photo' could be read, so nothing was written: every value would be generated. Paths are "
        f"relative to '{folder}'; --root sets another folder. If the files are lost, empty those cells."
        in " ".join(err.split())
    )
    table = maker.csv(folder, "some.csv", [*lost, rows[3]])
    code, out, err = run("impute", folder / "run", table, "-o", folder / "h.csv", "-q")
    assert code == 0 and "3 cells filled: photo 3; 4 rows written" in out
    assert "unreadable, and filled" in err
