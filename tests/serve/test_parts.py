"""Parts of the server by themselves: what is hard to bring about from outside."""

import asyncio
import json
import logging
import sys

import numpy as np
import pytest

from plait.data.targets.labels import Labels
from plait.runtime import Runtime
from plait.serve.body import Gone, Pending, read_body
from plait.serve.engine import Engine, Job, Result, _deliver, joined
from plait.serve.logs import Lines, set_up
from plait.serve.metrics import Metrics
from plait.serve.options import Options
from plait.serve.replies import answers, explanations


@pytest.fixture(scope="module")
def runtime(app):
    return Runtime(app, threads=1)


def test_columns_of_requests_that_differ_are_joined(runtime):
    """A request without a column gets rows that lack it, ragged or not."""
    given = [
        {"note": ["apple orchard"], "price": [1.5]},
        {"photo": [None]},
        {"note": ["brick", None], "pulse": [[[1.0, 2.0]], [[3.0, 4.0]]]},
    ]
    counts = [1, 1, 2]
    parts = [
        runtime.prepare(cells, rows).columns for cells, rows in zip(given, counts, strict=True)
    ]
    whole = joined(parts, counts)
    assert set(whole) == {"note", "price", "pulse"}
    assert whole["note"].rows_present.tolist() == [True, False, True, False]
    assert whole["price"].rows_present.tolist() == [True, False, False, False]
    assert whole["pulse"].rows_present.tolist() == [False, False, True, True]
    got = runtime.graphs.run(whole, 4)["label"]
    alone = [
        runtime.graphs.run(part, rows)["label"] for part, rows in zip(parts, counts, strict=True)
    ]
    np.testing.assert_allclose(got, np.concatenate(alone), atol=1e-6)


def test_jobs_whose_clients_left_are_passed_over(runtime):
    metrics = Metrics()
    engine = Engine(Options(workers=1), metrics)
    engine.stop()  # so that nobody else takes them

    async def run():
        loop = asyncio.get_running_loop()

        def job(**named):
            return Job(runtime, "predict", {}, 1, None, loop.create_future(), loop, **named)

        gone, kept, other = job(cancelled=True), job(), job()
        other.kind = "embed"
        engine._ready.extend([gone, kept, other])
        assert engine._take() == [kept]
        assert engine._take() == [other]
        assert engine._take() is None  # it has been stopped
        Engine._decode(gone)
        assert gone.columns == {}
        gone.future.cancel()
        result = Result({}, None, (), [], [])
        _deliver([(gone, result), (kept, result), (other, ValueError("x"))])
        assert kept.future.result() is result
        with pytest.raises(ValueError, match="x"):
            other.future.result()

    asyncio.run(run())


def test_a_client_that_leaves_while_it_sends():
    async def run():
        waiting = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive():
            return waiting.pop(0)

        held = Pending(100)
        with pytest.raises(Gone), held.share() as share:
            await read_body(receive, {}, share, most=100, seconds=1.0)
        assert held.bytes == 0

    asyncio.run(run())


def test_several_labels():
    target = Labels("tags", ("red", "green"), separator=";")
    scores = np.array([[0.9, 0.2], [0.1, 0.3]], np.float32)
    result = Result({"tags": scores}, None, (), [], [])
    first, second = answers([target], result)
    assert first["tags"]["answer"] == ["red"]
    assert second["tags"] == {"answer": [], "probabilities": {"red": 0.1, "green": 0.3}}
    values = np.stack([np.zeros_like(scores), scores])
    (told, _) = explanations([target], Result({"tags": values}, None, ("note",), [], []))
    assert [score["of"] for score in told["tags"]["scores"]] == ["red", "green"]
    assert told["tags"]["scores"][0]["contributions"] == {"note": pytest.approx(0.9)}


def test_no_explanation_has_a_negative_zero():
    target = Labels("tags", ("red", "green"), separator=";")
    values = np.zeros((2, 1, 2), np.float32)
    values[1] = -1e-9
    (reply,) = explanations([target], Result({"tags": values}, None, ("note",), [], []))
    assert "-0.0" not in json.dumps(reply["tags"]["scores"])


def test_log_lines_are_json():
    record = logging.LogRecord("plait.serve", logging.INFO, "", 1, "request", None, None)
    record.fields = {"status": 200, "path": "/\n\u2028"}
    line = Lines().format(record)
    assert "\n" not in line
    assert json.loads(line)["status"] == 200
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: why" in json.loads(Lines().format(record))["trace"]


def test_logging_is_set_up():
    names = ("plait.serve", "uvicorn", "uvicorn.error")
    before = [
        (
            logging.getLogger(name),
            list(logging.getLogger(name).handlers),
            logging.getLogger(name).level,
        )
        for name in names
    ]
    try:
        set_up("debug")
        assert logging.getLogger("plait.serve").level == logging.DEBUG
        assert logging.getLogger("uvicorn.error").handlers == []
    finally:
        for logger, handlers, level in before:
            logger.handlers, logger.propagate = handlers, True
            logger.setLevel(level)
