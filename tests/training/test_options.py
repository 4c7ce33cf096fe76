"""Options are judged in one place: everything that is wrong is reported together, before any cell is read."""

import pytest

import plait
from plait.config import configure
from plait.errors import ConfigError
from plait.training.dataset import read_dataset
from plait.training.options import check_options, configured


def test_all_that_is_wrong_once_the_schema_is_known_is_reported_together(maker):
    rows = [row | {"number": index % 5 + 0.5} for index, row in enumerate(maker.plain(24))]
    with pytest.raises(ConfigError) as caught:
        maker.fit(
            rows, ["label", "number"], columns={"note": "text"}, ignore=("shop",), fusion="dempster",
            target_kinds={"lable": "binary"}, encoders={"shop": "gru", "note": "grru", "price": "cnn"},
            tune={"note": "full"}, align={"nope": "stn"}, task_weights={"lable": 2.0},
            lr_scale={"nots": 0.5},
        )  # fmt: skip
    starts = [
        "target_kinds: 'lable' is not a target",
        "encoders: 'shop' is not an input, it is ignored: ",
        "encoders: unknown text encoder 'grru'",
        "encoders: price is numeric; tabular columns have one encoder only",
        "tune: 'note' has no pretrained encoder to tune",
        "align: there is no column or modality 'nope'",
        "fusion: 'dempster' answers ",
        "task_weights: 'lable' is not a target",
        "lr_scale: unknown stream or modality 'nots'",
    ]
    assert len(caught.value.problems) == len(starts)
    for problem, start in zip(caught.value.problems, starts, strict=True):
        assert problem.startswith(start)


def test_before_a_table_is_opened_columns_are_not_judged():
    config, problems = configured({"encoders": {"photo": "vit"}, "align": {"photo": "stn"}})
    assert config is not None and problems == []
    config, problems = configured({"fusion": "latte", "share": ("txt",), "dropout": 2.0})
    assert config is None and len(problems) == 2
    config, problems = configured({"fusion": "latte", "share": ("txt",)})
    assert config is None and [problem.partition(":")[0] for problem in problems] == [
        "fusion",
        "share",
    ]


def test_what_is_right_passes(maker):
    config = configure(columns={"note": "text"}, encoders={"note": "gru"}, lr_scale={"text": 0.5})
    check_options(config, read_dataset(plait.open_table(maker.plain(24)), ["label"], config))


def test_a_comparison_refuses_before_its_first_run(maker):
    with pytest.raises(ConfigError) as caught:
        plait.compare(
            maker.plain(24), "label", fusion="late", seeds=1, columns={"note": "text"},
            lr_scale={"nots": 0.5}, align={"nope": "stn"},
        )  # fmt: skip
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["align", "lr_scale"]
