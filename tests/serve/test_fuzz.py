"""Requests that nobody thought of: made from the OpenAPI document, and from files bent out of shape."""

import base64
import io
import json
import warnings

import hypothesis
import numpy as np
import pytest
from fuzz import FACTOR, examples
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode

EXAMPLES = examples(3)
"""Requests of a route, in each way; `make fuzz` sends more."""


@pytest.fixture(scope="module")
def quiet(start, app):
    with start(app) as found:
        yield found


@pytest.mark.hypothesis
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_route_fails(quiet, mode):
    """Whatever comes, by the document or against it, is answered or refused in words."""
    document = quiet.ask("GET", "/openapi.json").json
    for methods in document["paths"].values():  # these two are tested by hand
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        content.pop("application/x-ndjson", None)
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 13
    for operation in operations:
        try:
            assert statuses(operation, mode, f"http://127.0.0.1:{quiet.port}")
        except hypothesis.errors.Unsatisfiable:  # nothing can be wrong with a request for /healthz
            assert mode is GenerationMode.NEGATIVE


def statuses(operation, mode, url):
    """Ask a route many times; returns the statuses, none of which is a failure."""
    seen = set()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=FACTOR == 1,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        got = case.call(base_url=url)
        seen.add(got.status_code)
        assert got.status_code < 500, got.text
        if got.status_code >= 400:
            assert got.json()["error"]["message"]

    check()
    return seen


def seeds(photo, row):
    """Whole files, to be bent."""
    wave = base64.b64decode(row["voice"]["base64"])
    array, picture = io.BytesIO(), io.BytesIO()
    np.save(array, np.ones((16, 2), np.float32))
    Image.new("RGB", (9, 7), "red").save(picture, "GIF")
    found = [("photo", photo), ("photo", picture.getvalue()), ("voice", wave)]
    for kind in ("JPEG", "TIFF", "WEBP", "BMP", "ICO"):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), "blue").save(stream, kind)
        found.append(("photo", stream.getvalue()))
    return [*found, ("pulse", array.getvalue())]


def bent(data, rng):
    """A file with some bytes changed, cut out, doubled, or its end missing."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(len(found))) if found else 0
        what = int(rng.integers(5))
        if what == 0:
            found[place : place + 1] = rng.bytes(1)
        elif what == 1:
            del found[place : place + int(rng.integers(1, 40))]
        elif what == 2:
            found[place:place] = found[place : place + int(rng.integers(1, 40))]
        elif what == 3:
            found[place : place + 4] = b"\xff\xff\xff\xff"
        else:
            del found[max(place, 1) :]
    return bytes(found)


def test_files_bent_out_of_shape(quiet, photo, row):
    """A row in, a row out, whatever became of its file: 300 of them, ten a request."""
    rng = np.random.default_rng(0)
    whole = seeds(photo, row)
    unreadable = 0
    for _ in range(30):
        rows = []
        for _ in range(10):
            column, data = whole[int(rng.integers(len(whole)))]
            cell = base64.b64encode(bent(data, rng)).decode()
            rows.append({column: {"base64": cell}, "note": "apple"})
        got = quiet.post("/v1/predict", {"rows": rows})
        assert got.status == 200
        assert len(got.json["answers"]) == 10
        for entry in got.json["unreadable"]:
            assert len(json.dumps(entry)) < 400
        unreadable += len(got.json["unreadable"])
    assert 30 < unreadable < 300
