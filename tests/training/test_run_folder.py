"""Whether a checkpoint in the folder of a run may be resumed."""

import json

import pytest

from plait.errors import ConfigError
from plait.training.run_folder import check_same


def test_a_checkpoint_of_another_version_is_refused_by_name(tmp_path):
    training = tmp_path / "run" / "training"
    check_same(training, {"seed": 0}, resume=False)
    check_same(training, {"seed": 0}, resume=True)
    mark = training / "run.json"
    mark.write_text(json.dumps({"seed": json.loads(mark.read_text())["seed"]}))  # as 0.1.0 wrote it
    with pytest.raises(ConfigError) as caught:
        check_same(training, {"seed": 0}, resume=True)
    assert caught.value.problems == [
        f"resume: the checkpoint in '{tmp_path / 'run'}' was made by another version of plait, which this "
        "one cannot continue. Resume it with that version, or start anew without resume."
    ]
    check_same(training, {"seed": 1}, resume=False)
    with pytest.raises(ConfigError, match="was made with other values of seed"):
        check_same(training, {"seed": 0}, resume=True)
