"""What the web page is made of, without a browser; see test_browser.py."""

import asyncio
import json
import sys

import pytest

from plait.errors import MissingExtra
from plait.insight.explain.occlusion import occluded
from plait.serve.body import Gone
from plait.serve.page import _cell, mount, without_addresses
from plait.serve.page_parts import bars, marks
from plait.serve.problem import Problem


def receiving(*messages):
    waiting = list(messages)

    async def receive():
        return waiting.pop(0)

    return receive


def body(data, more=False):
    return {"type": "http.request", "body": data, "more_body": more}


def guarded(*messages, method="POST", kind=b"application/json", most=50):
    scope = {"method": method, "headers": [(b"content-type", kind)]}

    async def run():
        receive = await without_addresses(scope, receiving(*messages), most)
        return [await receive() for _ in messages]

    return asyncio.run(run())


def test_nothing_is_fetched_for_a_client():
    for path in ("http://127.0.0.1/x", "https://example.org/x.png", "data:image/png;base64,AA"):
        data = json.dumps({"data": [None, [{"a": {"path": path}}]]}).encode()
        with pytest.raises(Problem, match="the request contains an address"):
            guarded(body(data[:9], more=True), body(data[9:]))
    kept = b'{"data": [{"path": "/tmp/x.png", "url": "http://127.0.0.1/page/x.png"}]}'
    assert guarded(body(kept))[0] == body(kept)
    end = {"type": "http.disconnect"}
    assert guarded(body(b""), end) == [body(b""), end]
    with pytest.raises(Problem, match="the request is not valid JSON"):
        guarded(body(b"{"))
    with pytest.raises(Problem, match="the request is too large"):
        guarded(body(b" " * 2_000_001))
    with pytest.raises(Gone):
        guarded(end)


def test_files_for_the_page_are_counted():
    form = b"multipart/form-data; boundary=x"
    assert guarded(body(b"x" * 50), kind=form)
    with pytest.raises(Problem, match="the body is larger than 5e-05 MB"):
        guarded(body(b"x" * 30, more=True), body(b"x" * 30), kind=form)
    assert guarded(body(b""), method="GET") == [body(b"")]


def test_bars_and_cells(tmp_path):
    told = {"y": {"scores": [{"of": "<a>", "contributions": {"<b>": 0.5, "c": -0.25}}]}}
    page = bars(told)
    assert "&lt;a&gt;" in page
    assert "<b>c" not in page
    assert "width:100.0%" in page
    assert "width:50.0%" in page
    assert "+0.500" in page
    assert "−0.250" in page
    path = tmp_path / "x.npy"
    path.write_bytes(b"abc")
    assert _cell("signal", str(path)) == {"bytes": b"abc", "path": "x.npy"}
    assert _cell("numeric", "3") == "3"


def test_marks_on_every_kind_of_cell(server, row):
    runtime = server.service.models.get(None).runtime
    cells = runtime.golden[0].cells()
    page = marks(occluded(runtime, {**cells, "note": "<b>bad</b> words"}))
    assert page.count("data:image/png;base64,") == 2  # the photo and the spectrogram
    assert "&lt;b&gt;bad" in page
    assert "<mark" in page
    assert "<svg" in page
    assert marks([]) == '<div style="--for:213,94,0;--against:0,114,178;--ink:currentColor"></div>'


def test_without_gradio(monkeypatch, server):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(
        MissingExtra, match=r"the web page needs the package gradio[\s\S]*plait\[ui\]"
    ):
        mount(None, server.service)
