"""`plait.compare` from a table to files, in one process unless marked slow."""

import csv
import json
import sys

import numpy as np
import pytest

import plait
from plait.cli import main as cli
from plait.data.table.source import open_table
from plait.data.targets.classes import classification
from plait.data.targets.registry import KINDS
from plait.display.progress import Silent
from plait.errors import ConfigError, TableError, TrainError
from plait.experiments.comparison import compare as module
from plait.experiments.comparison import data, run
from plait.experiments.comparison.compare import Comparison, compare
from plait.experiments.comparison.run import Run
from plait.model.fusion.registry import FUSIONS

QUICK = {"preset": "fast", "epochs": 1, "batch_size": 16, "columns": {"note": "text"}}


def test_rows_files_and_a_second_call_without_a_run(inline, maker, tmp_path):
    asked = {"fusion": ["late"], "seeds": 2, "test": maker.plain(20, seed=5), "out": tmp_path / "c"}
    found = compare(maker.plain(40), "label", **asked, **QUICK)
    assert isinstance(found, Comparison)
    assert sorted(row.method for row in found.rows) == [
        "concat", "late", "majority", "note alone", "tabular alone",
    ]  # fmt: skip
    assert len(inline) == 8  # two fusions and two streams alone, two seeds
    assert found["late"].seeds == 2 and found["majority"].mean == 0.5
    assert 0 <= found["late"].low <= found["late"].high <= 1
    assert found["late"].parameters > found["late"].fusion_parameters > 0
    assert found["late"].flops > found["late"].fusion_flops > 0
    assert found["late"].rows_per_second > 0
    assert set(found["late"].without) == {"note", "tabular"}
    assert set(found["late"].gaps) == {"0.25", "0.5", "0.75"}
    # A stream alone does not miss the other one.
    alone = found["note alone"]
    assert alone.without["tabular"] == pytest.approx(alone.mean)
    assert found.about["test"] == "this list of 20 rows" and found.about["rows"]["test"] == 20
    with pytest.raises(KeyError, match="unknown method 'lat'. Did you mean 'late'?"):
        found["lat"]
    whole = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert [row["method"] for row in whole["rows"]] == [row.method for row in found.rows]
    with (tmp_path / "c" / "compare.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row.method for row in found.rows]
    assert float(lines[0]["without note"]) == pytest.approx(found.rows[0].without["note"])
    assert "<!doctype html>" in (tmp_path / "c" / "compare.html").read_text()
    inline.clear()
    again = compare(maker.plain(40), "label", **asked, **QUICK)
    assert inline == [] and again.rows[0].mean == found.rows[0].mean
    # One more method makes only its own runs; other data make all anew.
    compare(maker.plain(40), "label", **{**asked, "fusion": "late,weighted"}, **QUICK)
    assert {made.method for made in inline} == {"weighted"} and len(inline) == 2
    inline.clear()
    compare(maker.plain(42), "label", **{**asked, "seeds": 1}, **QUICK)
    assert len(inline) == 4
    inline.clear()
    compare(maker.plain(42), "label", **{**asked, "seeds": 1}, **{**QUICK, "epochs": 2})
    assert len(inline) == 4


def test_a_run_equals_its_saved_answers(inline, maker, tmp_path):
    compare(maker.plain(40), "label", fusion="concat", seeds=1, out=tmp_path, **QUICK)
    ready = data.load(tmp_path)
    found = json.loads((tmp_path / "runs" / "concat.0.json").read_text())
    values, present = ready.truth["label"]
    scores = np.eye(2)[found["answers"]]
    plain = classification(values[present], scores)["balanced_accuracy"]
    assert plain == pytest.approx(found["metrics"]["balanced_accuracy"])
    assert found["fingerprint"] and found["epochs"] == 1


def test_a_failed_run_is_a_row_with_its_reason(inline, maker, monkeypatch):
    whole = run.train_model

    def train(job):
        plan = job.plan
        if plan.fusion == "late":
            raise TrainError("the loss was not finite")
        if plan.fusion == "weighted":
            raise ZeroDivisionError("by nil")
        return whole(job)

    monkeypatch.setattr(run, "train_model", train)
    found = compare(maker.plain(40), "label", fusion="late,weighted", seeds=1, **QUICK)
    assert found["late"].problems == ["seed 0: the loss was not finite"]
    assert found["weighted"].problems == ["seed 0: ZeroDivisionError: by nil"]
    assert found["concat"].seeds == 1 and found["late"].seeds == 0


def test_without_a_test_table_rows_are_held_out_and_it_says_so(inline, maker):
    rows = [{**row, "who": f"p{number // 4}"} for number, row in enumerate(maker.plain(60))]
    found = compare(rows, "label", fusion="concat", seeds=1, group="who", **QUICK)
    about = found.about
    counts = about["rows"]
    assert sum(counts.values()) == 60 and 8 <= counts["test"] <= 16
    assert all(count % 4 == 0 for count in counts.values())  # whole groups
    assert about["test"] == "held out of this list of 60 rows"
    assert any(
        "rows (20%) were held out to test on, whole groups of 'who'" in n for n in about["notes"]
    )


@pytest.mark.parametrize(("target", "kind"), [("tags", "multilabel"), ("score", "regression")])
def test_other_kinds_of_target(inline, maker, tmp_path, target, kind):
    rows = [
        {"price": row["price"], "shop": row["shop"], "score": row["score"], "tags": row["tags"]}
        for row in maker.rows(tmp_path, 60)
    ]
    options = {"separator": ";"} if kind == "multilabel" else {}
    found = compare(
        rows, target, fusion="concat", seeds=1, target_kinds={target: kind}, preset="fast",
        epochs=1, batch_size=16, ignore=("tags" if target == "score" else "score",), **options,
    )  # fmt: skip
    assert found.about["kind"] == kind and found.about["metric"] == KINDS[kind].primary
    named = {"multilabel": "label frequencies", "regression": "mean"}[kind]
    assert [row.method for row in found.rows] == ["concat", named]  # one stream: none alone
    assert np.isfinite(found["concat"].low) and found["concat"].low <= found["concat"].high
    assert found[named].mean == pytest.approx(0, abs=0.3) or kind == "multilabel"


def test_of_several_targets_the_first_counts(inline, maker):
    rows = [{**row, "size": float(n)} for n, row in enumerate(maker.plain(40))]
    found = compare(rows, ["label", "size"], fusion="concat", seeds=1, **QUICK)
    assert found.about["metric"] == "balanced_accuracy" and found.about["others"] == ["size"]


def test_notes_name_what_is_absent_and_unseen(inline, maker):
    test = [
        {"price": 1.0, "shop": "north", "label": "no"},
        {"price": 1.0, "shop": "north", "label": "perhaps"},
    ]
    found = compare(maker.plain(40), "label", fusion="concat", seeds=1, test=test, **QUICK)
    notes = "\n".join(found.about["notes"])
    assert "test has no column 'note'" in notes
    assert "test: 1 row left out, the first of them row 1: the class 'perhaps' was not in" in notes


def test_a_test_table_without_answers_is_an_error(inline, maker):
    test = [{"price": 1.0, "shop": "north", "note": "x", "label": None}]
    with pytest.raises(
        TableError, match="has no row with a known answer in 'label': nothing can be"
    ):
        compare(maker.plain(40), "label", fusion="concat", test=test, **QUICK)
    with pytest.raises(TableError, match="no column 'label'"):
        compare(maker.plain(40), "label", fusion="concat", test=[{"price": 1.0}], **QUICK)


def test_all_that_is_wrong_is_told_at_once(maker):
    with pytest.raises(ConfigError) as caught:
        compare(
            maker.plain(8), "label", fusion="concatt,late,mapp", seeds=0, jobs=0, dropout=2,
            lrr=1, fusion_options={"a": 1}, threads=2,
        )  # fmt: skip
    problems = "\n".join(caught.value.problems)
    for text in (
        "fusion: unknown fusion 'concatt'. Did you mean 'concat'?",
        "fusion: unknown fusion 'mapp'.",
        "seeds=0: it must be 1 or more.",
        "jobs=0: it must be 1 or more.",
        "dropout=2: ",
        "there is no option 'lrr'.",
        "fusion_options: every fusion is compared with its default options; leave it out.",
        "threads: every run computes with one thread; leave it out.",
    ):
        assert text in problems
    with pytest.raises(ConfigError, match="fusion: name at least one, or 'all'."):
        compare(maker.plain(8), "label", fusion=[])


def test_all_means_all():
    names, config = module._checked(module.Design("all", 1), {})
    assert set(names) == set(module.FUSIONS) and names[0] == "concat"
    assert config.fusion == "concat"


def test_it_is_part_of_the_public_face():
    assert plait.compare is compare and plait.Comparison is Comparison
    assert plait.compare is compare  # also once its module has been imported


# What is prepared


def test_a_prepared_table_comes_back_as_it_was(maker, braid, tmp_path):
    from plait.config import configure
    from plait.display.progress import Silent

    config = configure(preset="fast", ignore=("score", "tags"))
    tables = [open_table(braid / name) for name in ("train.csv", "test.csv")]
    ready = data.make_ready(tables[0], tables[1], ["label"], config, Silent())
    mark = data.save(ready, tmp_path)
    assert data.save(ready, tmp_path) == mark  # over the first
    back = data.load(tmp_path)
    assert back.fingerprint == mark
    assert back.features == ready.features and back.plan == ready.plan
    assert (back.train == ready.train).all() and (back.validation == ready.validation).all()
    rows = np.arange(24)
    for side in ("columns", "test"):
        for name, column in getattr(ready, side).items():
            for one, other in zip(
                column.batch(rows), getattr(back, side)[name].batch(rows), strict=True
            ):
                assert one.dtype == other.dtype and (one == other).all()
    for columns in ready.plan.streams.values():  # one row that has every stream
        assert any(ready.test[name].rows_present[ready.row] for name in columns)
    assert back.cells.cells().keys() == ready.features.modalities.keys()
    assert [p.name for p in tmp_path.iterdir()] == ["prepared"]
    other = data.make_ready(
        tables[0], tables[1], ["label"], config.model_copy(update={"lr": 0.1}), Silent()
    )
    assert data.save(other, tmp_path) != mark


def test_times_of_one_row(maker, tmp_path, monkeypatch):
    from plait.config import configure
    from plait.display.progress import Silent

    monkeypatch.setattr(run, "CALLS", 2)
    config = configure(preset="fast", columns={"note": "text"})
    ready = data.make_ready(
        open_table(maker.plain(40)), open_table(maker.plain(8)), ["label"], config, Silent()
    )
    data.save(ready, tmp_path)
    runs = [
        Run("fusion", "late", 0, "p"),
        Run("alone", "note", 0, "p"),
        Run("fusion", "gone", 0, "p"),
    ]
    asked = {"folder": str(tmp_path), "out": str(tmp_path / "t.json")}
    run.main(json.dumps({**asked, "runs": [vars(each) for each in runs]}))
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["fingerprint"] == "p"
    late = found["times"]["late"]
    assert late["latency_ms"] > 0 and late["forward_ms"] > 0
    assert found["times"]["note alone"]["forward_ms"] > 0
    assert found["times"]["gone"] == {"latency_ms": None, "forward_ms": None}


def test_gaps_are_alike_for_every_method_of_a_seed():
    streams = ["a", "b", "c"]
    masks = run._masks(streams, 4000, seed=1)
    assert all((masks[k] == run._masks(streams, 4000, seed=1)[k]).all() for k in masks)
    assert (masks["gaps 0.5"] != run._masks(streams, 4000, seed=2)["gaps 0.5"]).any()
    for share in run.GAPS:
        assert 1 - masks[f"gaps {share}"].mean() == pytest.approx(share, abs=0.02)
    assert (masks["without b"] == [True, False, True]).all() and masks["all"].all()


def test_a_clock_takes_the_median_and_says_nothing():
    clock = run.Clock()
    assert clock.rate is None
    with clock.stage("train", 10, "rows") as stage:
        stage.advance(0)
        stage.advance(5, loss=1.0)
    clock.note("words")
    assert clock.rate > 0 and len(clock.rates) == 1


# The command


def test_the_command(inline, maker, tmp_path, monkeypatch, capsys):
    train = maker.csv(tmp_path, "train.csv", maker.plain(40))
    words = ["compare", train, "--target", "label", "--fusion", "concat", "--seeds", "1", "--out",
             tmp_path / "c", "--preset", "fast", "--epochs", "1", "--column", "note=text", "-q"]  # fmt: skip

    def call(*more):
        monkeypatch.setattr(sys, "argv", ["plait", *map(str, words), *more])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, capsys.readouterr()

    code, told = call()
    assert code == 0, told.err
    assert "label (binary), 8 rows held out of train.csv, seed 0" in told.out
    assert "concat" in told.out and "majority" in told.out and "p (Holm)" in told.out
    assert "Saved to" in told.err and "compare.html" in told.err
    code, told = call("--json")
    assert json.loads(told.out)["about"]["target"] == "label"
    code, told = call("--dropout", "1")
    assert code == 2 and "--dropout: give it as --set dropout=VALUE" in told.err
    code, told = call("--set", "dropout=3", "--fusion", "conct")
    assert code == 2 and "unknown fusion 'conct'" in told.err and "dropout=3" in told.err


@pytest.mark.slow
def test_a_whole_comparison_in_processes(maker, tmp_path):
    rows = [{name: row[name] for name in ("price", "shop", "label")} for row in maker.plain(40)]
    quick = {name: value for name, value in QUICK.items() if name != "columns"}
    asked = {"fusion": "concat,late", "seeds": 1, "jobs": 2, "out": tmp_path, **quick}
    found = compare(rows, "label", **asked)
    assert [row.problems for row in found.rows] == [[]] * 3
    assert found["late"].seeds == 1 and found["late"].latency_ms > 0
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(stamps) == 2
    compare(rows, "label", **asked)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}


def test_all_may_stand_among_others_and_blanks_are_no_names():
    names, _ = module._checked(module.Design("mean, all,,late", 1), {})
    assert sorted(names) == sorted(FUSIONS)
    with pytest.raises(ConfigError, match="fusion: name at least one, or 'all'"):
        module._checked(module.Design(" , ", 1), {})
    with pytest.raises(
        ConfigError, match="pretrain: a comparison trains every method from the same"
    ):
        module._checked(module.Design("mean", 1), {"pretrain": "masked"})


def test_a_method_that_cannot_answer_the_target_is_left_out_and_that_is_said(maker, inline):
    told = []

    class Told(Silent):
        def note(self, text: str) -> None:
            told.append(text)

    rows = maker.plain(40)
    found = compare(rows, "price", fusion="dempster,mean", seeds=1, progress=Told(), **QUICK)
    assert "dempster" not in [row.method for row in found.rows]
    assert (
        "dempster is left out: it answers binary and multiclass targets only, and 'price' is regression"
        in told
    )
