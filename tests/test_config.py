"""Every option has bounds, a default and a description; what is wrong is told in words, all at once."""

import pytest

from plait.config import Config, configure, current_names, option_lines
from plait.errors import ConfigError

WRONG = {
    "preset": "huge",
    "dropout": 1.0,
    "modality_dropout": -0.1,
    "unimodal_loss": 11,
    "width": 7,
    "epochs": 0,
    "batch_size": 0,
    "accumulate": 0,
    "optimizer": "lion",
    "lr": 0,
    "momentum": 1.0,
    "weight_decay": -1,
    "schedule": "step",
    "warmup": 1.0,
    "clip": 0,
    "ema": 1.0,
    "patience": 0,
    "label_smoothing": 1.0,
    "class_weights": "heavy",
    "regression_loss": "l1",
    "augment": "perhaps",
    "precision": "int8",
    "threads": 0,
    "seed": -1,
    "checkpoint_seconds": -1,
    "max_minutes": 0,
    "target_kinds": "ordinal",
    "validation": 0.9,
    "max_unreadable": 1.1,
    "golden_rows": 65,
    "max_image_megapixels": 0,
    "max_audio_mb": 0,
    "max_audio_seconds": 0,
    "max_audio_decoded_mib": 0,
    "max_text_mb": 0,
    "max_signal_mb": 0,
    "max_decode_seconds": 0,
}


@pytest.mark.parametrize("name", WRONG)
def test_each_option_has_its_bounds(name):
    with pytest.raises(ConfigError) as caught:
        configure(**{name: WRONG[name]})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}={WRONG[name]!r}: ")
    assert (Config.model_fields[name].description or "") in problem


def test_all_of_them_are_told_together():
    with pytest.raises(ConfigError) as caught:
        configure(**WRONG, drpout=0.1, colums={})
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{len(WRONG) + 2} options are wrong:"
    assert lines[1] == "  - there is no option 'drpout'. Did you mean 'dropout'?"
    assert lines[2] == "  - there is no option 'colums'. Did you mean 'columns'?"
    assert len(lines) == len(WRONG) + 3


def test_unknown_names_alone():
    with pytest.raises(ConfigError) as caught:
        configure(qqqq=1)
    assert str(caught.value) == "1 option is wrong:\n  - there is no option 'qqqq'."


def test_words_have_suggestions():
    with pytest.raises(ConfigError) as caught:
        configure(optimizer="adamm", schedule="cosin")
    assert caught.value.problems == [
        "optimizer='adamm': input should be 'gd', 'sgd', 'rmsprop', 'adam' or 'adamw'. Did you mean 'adam'? "
        "(Optimizer; gd is gradient descent on the full batch.)",
        "schedule='cosin': input should be 'cosine', 'linear', 'constant' or 'onecycle'. Did you mean "
        "'cosine'? (How the learning rate falls after the warm-up.)",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite_where_it_matters(value):
    for name in ("lr", "weight_decay", "dropout"):
        with pytest.raises(ConfigError, match=f"{name}="):
            configure(**{name: value})


def test_the_defaults_are_within_their_bounds_and_travel_as_json():
    config = configure()
    assert config == Config(**config.model_dump(mode="json"))
    assert configure(seed=2**31 - 1, threads=256, lr=10, golden_rows=64).lr == 10
    with pytest.raises(Exception, match="frozen"):
        config.seed = 1


def test_every_option_is_explained():
    lines = option_lines()
    assert [name for name, _, _ in lines] == list(Config.model_fields)
    assert all(about for _, _, about in lines)
    assert ("batch_size", "64", "Rows per step (batch size).") in lines
    assert {name: default for name, default, _ in lines}["encoders"] == "{}"


def test_an_option_under_its_old_name_is_named_as_it_is_now() -> None:
    with pytest.raises(
        ConfigError, match="there is no option 'alone'. It is now called 'unimodal_loss'."
    ):
        configure(alone=0.1)


def test_saved_documents_keep_their_old_names() -> None:
    assert current_names({"clock": 4, "width": 8}) == {"tokens_per_stream": 4, "width": 8}
