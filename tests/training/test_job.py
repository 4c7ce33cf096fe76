"""A fit as a value."""

from dataclasses import replace

import numpy as np
import pytest

import plait
from plait.config import configure
from plait.data.features import Features, settings_for
from plait.model.blueprint import plan_model
from plait.training.dataset import read_dataset
from plait.training.job import Job


@pytest.fixture(scope="module")
def job(maker):
    """A table of text and numbers, one label missing, prepared and not fitted."""
    rows = maker.plain(24)
    rows[3]["label"] = None
    table = plait.open_table(rows)
    config = configure(
        columns={"note": "text"}, lr_scale={"text": 0.5, "tabular": 2.0, "note": 0.1}
    )
    data = read_dataset(table, ["label"], config)
    settings = settings_for(table, config)
    features = Features.fit(table, data.schema.inputs, data.train, settings)
    prepared = features.prepare(table, settings)
    return Job(data, features, plan_model(config, features), prepared, config)


def test_learning_rates_of_a_loop_are_by_stream_and_the_options_stay_as_they_were(job):
    assert job.loop_config.lr_scale == {"note": 0.1, "tabular": 2.0}
    assert job.config.lr_scale == {"text": 0.5, "tabular": 2.0, "note": 0.1}


@pytest.mark.parametrize(("pretrain", "minutes"), [("none", 10.0), ("masked", 5.0)])
def test_pretraining_and_training_share_the_time(job, pretrain, minutes):
    config = job.config.model_copy(update={"max_minutes": 10.0, "pretrain": pretrain})
    assert replace(job, config=config).loop_config.max_minutes == minutes


def test_missing_targets_are_marked_and_the_held_out_rows_are_those_of_the_split(job):
    assert job.goals()["label"][3] == -1 and (np.delete(job.goals()["label"], 3) >= 0).all()
    values, present = job.data.held_out()["label"]
    assert len(values) == len(present) == len(job.data.validation) and present.all()


def test_the_training_folder_lies_in_that_of_the_run(job, tmp_path):
    assert job.training is None
    assert replace(job, folder=tmp_path).training == tmp_path / "training"
