"""As many answers as rows, in their order, whatever the rows hold; and what is said about them."""

import inspect
import warnings

import numpy as np
import pandas
import pytest

import plait
import plait.answers.answerer
import plait.predictor.predictor
from plait.errors import ConfigError, PlaitWarning, TableError, UnreadableCellsWarning

pytestmark = pytest.mark.usefixtures("few_resamples")


def _frame(path):
    return pandas.read_csv(path)


@pytest.fixture(scope="module")
def known(fitted, braid):
    """The test table, absolute-pathed rows of it, and the answers of all rows together."""
    model, _ = fitted
    frame = _frame(braid / "test.csv")
    for column in ("photo", "voice", "pulse"):
        frame[column] = [None if pandas.isna(x) else str(braid / x) for x in frame[column]]
    return model, frame, model.predict_proba(braid / "test.csv")


def test_one_row_is_answered_as_it_is_among_others(known):
    model, frame, chances = known
    for row in (0, 7, 23):
        alone = model.predict_proba([frame.iloc[row].to_dict()])
        np.testing.assert_allclose(alone, chances[row : row + 1], atol=1e-5)
        assert model.predict([frame.iloc[row].to_dict()]).shape == (1,)


def test_a_bare_dict_is_no_table(known):
    model, frame, _ = known
    with pytest.raises(
        TableError, match=r"For a single row, pass a list that holds the dict: \[row\]"
    ):
        model.predict(frame.iloc[0].to_dict())


def test_order_of_rows_and_columns_and_other_columns_change_nothing(known):
    model, frame, chances = known
    names = list(frame.columns)[::-1]
    more = frame[names].assign(extra=range(24), blob=[b"x"] * 24, list=[[1, 2]] * 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(model.predict_proba(more), chances, atol=1e-6)
    turned = frame.iloc[::-1]
    np.testing.assert_allclose(model.predict_proba(turned), chances[::-1], atol=1e-5)
    assert model.predict(turned).tolist() == model.predict(frame).tolist()[::-1]


def test_answers_do_not_need_the_target(known):
    model, frame, chances = known
    asked = frame.drop(columns=["label", "score", "tags"])
    np.testing.assert_allclose(model.predict_proba(asked), chances, atol=1e-6)
    with pytest.raises(TableError, match=r"has no column 'label'"):
        model.evaluate(asked)


def test_a_missing_column_is_named_and_counts_as_missing(known):
    model, frame, _ = known
    with pytest.warns(
        PlaitWarning, match="the table has no column '.*'; it counted as missing in every row"
    ) as told:
        without = model.predict_proba(frame.drop(columns=["photo", "price"]))
    assert [str(warning.message).split("'")[1] for warning in told] == ["photo", "price"]
    empty = frame.assign(photo=None, price=np.nan)
    np.testing.assert_allclose(without, model.predict_proba(empty), atol=1e-6)
    with pytest.warns(PlaitWarning, match="no column 'note'"):
        model.embed(frame.drop(columns=["note"]))
    answers = model.answer(frame.drop(columns=["note"]))
    assert answers.absent == ["note"]
    assert answers.notes() == ["the table has no column 'note'; it counted as missing in every row"]
    assert model.evaluate(frame.drop(columns=["note"]), resamples=0).notes == [
        "no column 'note': it counted as missing in every row"
    ]


def test_no_column_that_the_model_knows(known):
    model, _, _ = known
    with pytest.raises(TableError, match="has none of the model's input columns .* it has other"):
        model.predict_proba([{"other": 1}, {"other": 2}])


def test_probabilities_are_in_the_order_of_the_classes(known):
    model, frame, chances = known
    assert model.classes_ == ["a", "b", "c"]
    assert chances.shape == (24, 3)
    assert chances.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-5)
    expected = [model.classes_[index] for index in chances.argmax(axis=1)]
    assert model.predict(frame).tolist() == expected
    right = np.mean(np.array(expected) == frame["label"])
    assert right > 0.6


def test_the_fused_vectors(known):
    model, frame, _ = known
    vectors = model.embed(frame)
    assert vectors.shape == (24, 64)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_what_was_never_seen_in_training(known):
    model, frame, _ = known
    odd = frame.assign(shop="the moon", note="完全未见过 🙂 zzz", day="1801-01-01", price=1e30)
    chances = model.predict_proba(odd)
    assert np.isfinite(chances).all()
    assert chances.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-4)


def test_nan_and_infinity_in_numbers(known):
    model, frame, _ = known
    nan = model.answer(frame.assign(price=np.nan))
    assert len(nan.quarantine) == 0
    endless = model.answer(frame.assign(price=[np.inf, -np.inf, *[1.0] * 22]))
    assert [(e.row, e.column) for e in endless.quarantine.entries] == [(0, "price"), (1, "price")]
    assert "inf" in endless.quarantine.entries[0].reason
    np.testing.assert_allclose(nan.scores["label"][:2], endless.scores["label"][:2], atol=1e-6)
    assert np.isfinite(endless.scores["label"]).all()


def test_text_where_numbers_belong(known):
    model, frame, _ = known
    with pytest.warns(
        UnreadableCellsWarning, match=r"price: 24 unreadable cells, the first in row 0: "
    ):
        chances = model.predict_proba(frame.assign(price="a lot"))
    assert np.isfinite(chances).all()


def test_unseen_classes_are_left_out_of_the_figures_and_said(known):
    model, frame, _ = known
    labels = ["new", *frame["label"][1:]]
    evaluation = model.evaluate(frame.assign(label=labels), resamples=0)
    assert evaluation.targets["label"].rows == 23
    assert evaluation.notes[0] == (
        "1 row was left out of the figures for 'label': row 0: the class 'new' was not in the "
        "training rows (a, b, c)"
    )
    with pytest.raises(
        TableError, match="has no row with a known answer in label: nothing can be measured"
    ):
        model.evaluate(frame.assign(label="new"))


def test_four_hundred_rows_with_one_broken_file_give_four_hundred_answers(fitted, braid, known):
    model, _ = fitted
    _, frame, chances = known
    picks = [n % 24 for n in range(400)]
    many = frame.iloc[picks].reset_index(drop=True)
    (braid / "broken.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEfmt not really")
    many.loc[123, "voice"] = str(braid / "broken.wav")
    with pytest.warns(
        UnreadableCellsWarning,
        match=r"unreadable cells counted as missing:\n  voice: 1 unreadable cell in row 123: '.*broken.wav'",
    ):
        answers = model.predict(many)
    assert answers.shape == (400,)
    expected = [model.classes_[index] for index in chances[picks].argmax(axis=1)]
    differing = {row for row in range(400) if answers[row] != expected[row]}
    assert differing <= {123}
    whole = model.answer(many)
    assert [(entry.row, entry.column) for entry in whole.quarantine.entries] == [(123, "voice")]
    silent = frame.iloc[[123 % 24]].assign(voice=None)
    np.testing.assert_allclose(
        whole.scores["label"][123], model.predict_proba(silent)[0], atol=1e-5
    )  # missing, not silence


def test_rows_are_answered_in_runs(known, monkeypatch):
    model, frame, chances = known
    vectors = model.embed(frame)
    wrong = frame.copy()
    wrong["price"] = wrong["price"].astype(object)
    wrong.loc[17, "price"] = "cheap"
    monkeypatch.setattr(plait.answers.answerer, "ROWS", 5)
    np.testing.assert_allclose(model.predict_proba(frame), chances, atol=1e-5)
    np.testing.assert_allclose(model.embed(frame), vectors, atol=1e-4)
    assert [entry.row for entry in model.answer(wrong).quarantine.entries] == [17]
    with pytest.warns(UnreadableCellsWarning, match="price: 1 unreadable cell in row 17: "):
        model.embed(wrong)
    assert model.evaluate(frame, resamples=0).targets["label"].rows == 24


def test_some_streams_only(known):
    model, frame, chances = known
    alone = model.answer(frame, streams=["note"]).scores["label"]
    assert not np.allclose(alone, chances)
    hidden = frame.assign(photo=None, voice=None, pulse=None, price=None, shop=None, day=None)
    np.testing.assert_allclose(alone, model.predict_proba(hidden), atol=1e-5)
    with pytest.raises(
        ConfigError, match=r"streams: unknown stream 'phot'. Did you mean 'photo'\?"
    ):
        model.answer(frame, streams=["phot"])


def test_vectors_from_some_streams_only(known):
    model, frame, _ = known
    alone = model.embed(frame, streams=["note"])
    assert not np.allclose(alone, model.embed(frame), atol=1e-2)
    hidden = frame.assign(photo=None, voice=None, pulse=None, price=None, shop=None, day=None)
    np.testing.assert_allclose(alone, model.embed(hidden), atol=1e-5)
    every = list(model.model.streams)
    np.testing.assert_allclose(model.embed(frame, streams=every), model.embed(frame), atol=1e-5)
    with pytest.raises(
        ConfigError, match=r"streams: unknown stream 'phot'. Did you mean 'photo'\?"
    ):
        model.embed(frame, streams=["phot"])


def test_an_editor_shows_how_the_methods_are_called(known):
    model, _, _ = known
    for name in (
        "embed",
        "evaluate",
        "predict_set",
        "contributions",
        "explain",
        "impute",
        "report",
    ):
        method = getattr(type(model), name)
        assert method.__qualname__ == f"Predictor.{name}"
        assert list(inspect.signature(method).parameters)[:2] == ["self", "source"]
        assert "source: anything `plait.fit` takes" in (method.__doc__ or "")


def test_numbers_have_no_probabilities(maker):
    rows = maker.plain(24)
    model = maker.fit(rows, "price", target_kinds={"price": "regression"})
    with pytest.raises(
        TableError, match="'price' is a number and has no probabilities; use predict"
    ):
        model.predict_proba(rows)
    assert model.answer(rows).to_columns().keys() == {"price"}
    assert model.classes_ == []


def test_answers_as_columns(plain_run, maker):
    columns = plain_run[0].answer(maker.plain(5)).to_columns()
    assert list(columns) == ["label", "label_confidence", "label_p_no", "label_p_yes"]
    for row in range(5):
        chances = {"no": columns["label_p_no"][row], "yes": columns["label_p_yes"][row]}
        assert columns["label"][row] == max(chances, key=chances.get)
        assert columns["label_confidence"][row] == max(chances.values())


def test_a_column_called_like_the_tabular_stream(maker):
    rows = [{"tabular": row.pop("note"), **row} for row in maker.plain(24)]
    model = maker.fit(rows, "label")
    assert model.blueprint.streams == {"tabular": ["price", "shop"], "tabular (text)": ["tabular"]}
    assert len(model.predict(rows)) == 24


def test_names_with_dots_slashes_and_emoji(maker, tmp_path):
    rows = [
        {"a.b": row["note"], "c/d 🙂": row["price"], "клас": row["label"]}
        for row in maker.plain(24)
    ]
    model = maker.fit(rows, "клас", out=tmp_path / "run 🙂")
    again = plait.load(tmp_path / "run 🙂")
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))


def test_texts_beyond_the_model_s_length_are_counted_and_said(plain_run):
    model, _ = plain_run
    most = model.features.states["note"]["max_tokens"]
    rows = [{"note": "cheap"}, {"note": "cheap thing " * most}, {"note": "dear " * (most + 1)}]
    told = "note: 2 texts are longer than the model reads; the rest of each was left out"
    assert told in model.answer(rows).notes()
    many = model.answer(rows * 700)  # several runs of rows
    assert many.notes()[-1].startswith("note: 1,400 texts are longer")
    assert model.answer(rows[:1]).quarantine.cut() == []
    one = model.answer(rows[:2]).quarantine.cut()
    assert one == ["note: 1 text is longer than the model reads; the rest of each was left out"]
    tested = [{**row, "label": "no"} for row in rows]
    assert told in model.evaluate(tested, resamples=0).notes
