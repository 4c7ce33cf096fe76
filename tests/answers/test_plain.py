"""Results as JSON values: no NaN, no infinity, no numpy."""

import json

import numpy as np

from plait.answers.plain import plain


def test_what_json_cannot_hold_is_null():
    result = {"a": float("nan"), 1: (1.5, -float("inf")), "c": np.array([[1, np.nan]])}
    assert plain(result) == {"a": None, "1": [1.5, None], "c": [[1.0, None]]}
    assert plain(np.float32("nan")) is None and type(plain(np.int64(3))) is int
    json.dumps(plain({"n": np.arange(3), "flag": np.True_}), allow_nan=False)
