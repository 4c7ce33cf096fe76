"""Requests nobody plans for: what they answer, and what they say."""

import io

import numpy as np
import pytest

import plait
from plait.answers.answers import Answers
from plait.config import configure, within_caps
from plait.data.media import Limits
from plait.data.modalities import audio
from plait.data.table.answers import check_output
from plait.data.table.quarantine import Quarantine
from plait.data.table.source import open_table
from plait.data.targets.classes import Classes
from plait.data.targets.registry import propose_target, read_target
from plait.errors import (
    BundleError,
    CellError,
    ConfigError,
    SchemaError,
    TableError,
    TrainError,
)
from plait.pipeline import _names as named
from plait.training.run_folder import claim

ROWS = [
    {"size": i % 7 + 0.5, "note": ("red", "blue", "green")[i % 3], "y": int(i % 7 > 3)}
    for i in range(60)
]


@pytest.fixture(scope="module")
def model():
    return plait.fit(ROWS, "y", preset="fast", epochs=2)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        ([0, 1, 1], [0, 1]),
        (["0", "1", "1"], [0, 1]),
        ([True, False, True], [False, True]),
        ([1.0, 2.0, 2.0], [1.0, 2.0]),
        ([0.5, 1.0, 1.0], [0.5, 1.0]),
        (["007", "008", "008"], ["007", "008"]),
        (["a", "b", "b"], ["a", "b"]),
    ],
)
def test_answers_are_what_the_column_held(cells, classes):
    target = propose_target("y", cells)
    found = read_target(target.to_json()).natural(range(2))
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


def test_predictions_compare_with_the_column(model):
    answers = model.predict(ROWS)
    assert answers.dtype.kind == "i"
    assert model.classes_ == [0, 1]
    assert (answers == [row["y"] for row in ROWS]).mean() > 0.5


def test_no_rows_give_no_answers(model):
    empty = open_table({"size": [1.0], "note": ["red"]}).slice(0, 0)
    assert len(model.predict(empty)) == 0
    assert model.predict_proba(empty).shape == (0, 2)
    assert model.embed(empty).shape == (0, 64)


def test_a_table_of_other_columns_is_refused(model):
    with pytest.raises(TableError, match=r"has none of the model's input columns \(size, note\)"):
        model.predict([{"weight": 3.0}])


@pytest.mark.parametrize("target", [None, 2.5, ["y", None]])
def test_a_target_is_a_name(target):
    with pytest.raises(ConfigError, match="name a column, or a list of columns"):
        named(target)  # `fit` itself would be stopped here by the checked signatures of the tests


def test_a_target_is_needed():
    with pytest.raises(ConfigError, match="name at least one column to predict"):
        plait.fit(ROWS, [])


def test_a_frame_may_have_numbers_for_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({0: [row["size"] for row in ROWS], 1: [row["y"] for row in ROWS]})
    fitted = plait.fit(frame, 1, preset="fast", epochs=1)
    assert fitted.targets[0].name == "1"


def test_a_diverged_training_says_so():
    with pytest.raises(TrainError, match=r"no longer finite|not finite"):
        plait.fit(ROWS, "y", preset="fast", epochs=6, lr=10.0, optimizer="sgd", clip=None)


def test_width_and_separator_are_checked_with_the_rest():
    with pytest.raises(ConfigError) as caught:
        plait.fit(ROWS, "y", width=9, separator="")
    assert "width=9: input should be a multiple of 8" in str(caught.value)
    assert "separator=''" in str(caught.value)


def test_a_group_is_one_value_a_row():
    rows = [{**row, "who": [1, 2]} for row in ROWS]
    with pytest.raises(SchemaError, match=r"the group 'who' holds (ndarray|list) cells"):
        plait.fit(rows, "y", group="who")


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_numbers_beyond_reckoning_are_refused_as_targets(size):
    with pytest.raises(SchemaError, match="beyond what can be computed with"):
        propose_target("y", [size * i for i in range(1, 60)])


def test_numbers_that_only_look_alike_are_told_apart():
    with pytest.raises(SchemaError, match="values that differ too little for a 64-bit float"):
        propose_target("y", [10**18 + i for i in range(60)], kind="regression")


def test_a_metric_is_suggested(model):
    with pytest.raises(KeyError, match="Did you mean 'accuracy'"):
        model.evaluate(ROWS, resamples=0)["acuracy"]


def test_absurd_samples_are_no_sound():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.full(4000, 1e38, np.float32), 8000, format="WAV", subtype="FLOAT")
    with pytest.raises(CellError, match=r"holds samples up to 1e\+38; sound lies between -1 and 1"):
        audio.load(file.getvalue(), 8000, 1.0, Limits())


def test_whole_numbers_written_as_floats_are_sound():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.full(400, 3e4, np.float32), 8000, format="WAV", subtype="FLOAT")
    assert len(audio.load(file.getvalue(), 8000, 1.0, Limits())) == 400


def test_columns_of_answers_never_collide():
    targets = [Classes(name, ("n", "p")) for name in ("y", "y_confidence")]
    scores = np.array([[0.25, 0.75]], np.float32)
    values = {target.name: np.array(["p"], dtype=object) for target in targets}
    answers = Answers(targets, values, {t.name: scores for t in targets}, Quarantine())
    columns = answers.to_columns()
    assert columns["y"] == ["p"] and columns["y_confidence"] == ["p"]
    assert columns["y_confidence_"] == [0.75]
    assert columns["y_p_p"] == [0.75]


def test_an_empty_line_is_a_row_where_there_is_one_column(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("note\nred\n\nblue\n", encoding="utf-8")
    assert open_table(path).cells("note") == ["red", None, "blue"]


def test_chinese_text_is_told_from_western(tmp_path):
    path = tmp_path / "gb.csv"
    path.write_bytes("名字,值\n数字,3\n".encode("gb18030"))
    with pytest.raises(TableError, match="iconv -f GB18030"):
        open_table(path)


def test_trust_leaves_other_weights_alone(model):
    from plait.data.features import settings_for
    from plait.training.trust import fit_trust

    torch = pytest.importorskip("torch")
    table = open_table(ROWS)
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    goals = {"y": torch.tensor([row["y"] for row in ROWS])}
    told = fit_trust(model.model, columns, np.arange(60), goals)
    after = model.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.endswith("log_trust") for name in moved)
    assert all(value > 0 for trust in told for value in trust)
    model.model.load_state_dict(before)


def test_answers_never_replace_their_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(TableError, match="is the table that is being answered"):
        check_output(table, tmp_path / "." / "t.csv")
    with pytest.raises(TableError, match=r"end its name in \.csv, \.tsv"):
        check_output(tmp_path / "answers.xlsx", table)
    with pytest.raises(TableError, match="it is a folder"):
        check_output(_folder(tmp_path / "out.csv"), table)
    check_output(tmp_path / "answers.csv", table)


def _folder(path):
    path.mkdir()
    return path


def test_the_usual_words_for_missing_are_missing_in_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\nNA,"NA"\nnan,none\nN/A,x\n', encoding="utf-8")
    table = open_table(path)
    assert table.cells("a") == [None, None, None]
    assert table.cells("b") == ["NA", "none", "x"]


def test_stray_text_among_numbers_is_named():
    cells = [str(i / 7) for i in range(59)] + ["about 3"]
    with pytest.raises(SchemaError, match="holds numbers in 59 of 60 cells, but 'about 3' is none"):
        propose_target("y", cells)


def test_a_separator_has_to_occur():
    with pytest.raises(SchemaError, match="no cell holds the separator ';', such as 'a b'"):
        propose_target("y", ["a b", "b c", "a"] * 5, separator=";")


def test_a_bundle_cannot_lift_a_cap():
    bold = configure(max_image_megapixels=1e6, max_text_mb=0.5)
    config = within_caps(bold, {})
    assert config.max_image_megapixels == 64 and config.max_text_mb == 0.5
    assert within_caps(bold, {"max_image_megapixels": 100.0}).max_image_megapixels == 100
    with pytest.raises(
        ConfigError, match=r"max_minutes is not a cap|max_tect_mb is not a cap.*max_text_mb"
    ):
        within_caps(bold, {"max_tect_mb": 3.0})


def test_two_fits_do_not_share_a_folder(tmp_path):
    busy = pytest.raises(ConfigError, match="another fit is writing to")
    with claim(tmp_path), busy, claim(tmp_path):
        pass
    with claim(tmp_path):
        assert (tmp_path / "training" / "lock").exists()


def test_names_may_come_with_commas():
    config = configure(share="text", ignore="id, date")
    assert config.share == ("text",) and config.ignore == ("id", "date")


def test_a_model_is_not_saved_onto_a_file(model, tmp_path):
    file = tmp_path / "taken"
    file.write_text("x", encoding="utf-8")
    with pytest.raises(BundleError, match="is a file; name a folder"):
        model.save(file)
