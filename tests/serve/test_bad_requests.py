"""Everything that should not be sent: refused in words, with the right status, and the server goes on."""

import base64
import io
import json
import socket
import struct
import time

import numpy as np
import pytest
from PIL import Image

JSON = {"Content-Type": "application/json"}


def predict(server, row, **named):
    return server.post("/v1/predict", {"rows": [row]}, **named)


@pytest.fixture(autouse=True)
def still_well(server, row):
    """After every test the server answers, and holds nothing of what was sent."""
    yield
    assert predict(server, {"note": "x"}).status == 200
    assert server.service.admitted == 0
    assert server.service.held.bytes == 0


BODIES = {
    b"": (400, "the body is not valid JSON: expecting value at character 0."),
    b"\xff{}": (400, "the body is not UTF-8 text."),
    b'{"rows": [NaN]}': (400, "the body holds NaN, which is not JSON; send null."),
    b'{"rows": [-Infinity]}': (400, "the body holds -Infinity, which is not JSON; send null."),
    b'{"rows": [{"price": 1e999}]}': (
        400,
        "the body holds 1e999, which is too large for a number.",
    ),
    b'{"rows": [{"price": ' + b"9" * 5000 + b"}]}": (
        400,
        "the body holds a number with too many digits.",
    ),
    b'{"rows": [{"note": "x", "price": 1, "note": "y"}]}': (
        400,
        "the body has 'note' twice in one object; send it once.",
    ),
    b'{"rows": [{}], "rows": [{}]}': (
        400,
        "the body has 'rows' twice in one object; send it once.",
    ),
    b"[" * 100_000: (400, "the body is nested too deeply."),
    b"[" * 1_000_001: (
        413,
        "the body holds more than 1000000 values; send fewer per request.",
    ),
    b"[]": (422, 'the body must be an object with a list of rows: {"rows": [{...}]}.'),
    b'{"rows": {}}': (422, 'the body must be an object with a list of rows: {"rows": [{...}]}.'),
    b'{"rows": []}': (422, "there are no rows."),
    b'{"rows": [{}], "row": 1}': (
        422,
        "the body has 'row', but only 'rows' and 'streams' are allowed.",
    ),
    b'{"rows": [7]}': (422, "row 0 is a number, expected an object from column names to cells."),
    b'{"rows": [{}], "streams": "note"}': (422, "'streams' must be a list of names of streams."),
    b'{"rows": [{}], "streams": ["notes"]}': (
        422,
        "streams: unknown stream 'notes'. Did you mean 'note'? Choose from: note, photo, price, pulse, "
        "voice.",
    ),
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:24]))
def test_a_body(server, body):
    status, told = BODIES[body]
    got = server.post("/v1/predict", body)
    assert (got.status, got.error) == (status, told)
    assert got.json["error"]["request"] == got.headers["x-request-id"]


QUERIES = [
    ("stream=note", None, "the query has 'stream', but only 'streams' is allowed."),
    ("streams=note&strems=x", None, "the query has 'strems', but only 'streams' is allowed."),
    ("streams=note&streams=photo", None, "the query has 'streams' twice; write  ?streams=a,b"),
    (
        "streams=note",
        ["note"],
        "'streams' is in the body and in the query; send it in one of them.",
    ),
]


@pytest.mark.parametrize(("query", "streams", "told"), QUERIES)
def test_a_query(server, query, streams, told):
    got = server.post(f"/v1/predict?{query}", {"rows": [{}], "streams": streams})
    assert (got.status, got.error) == (422, told)


SHAPE = '{"base64": "..."}'
CELLS = [
    ({"nota": 1}, "row 0: the model has no column 'nota'. Did you mean 'note'? Its columns: photo, note, voice, price, pulse."),
    ({"label": "a"}, "row 0: the model has no column 'label'. Its columns: photo, note, voice, price, pulse."),
    ({"note": ["x"]}, "row 0, column 'note' is a list, expected a text, a number, true or false."),
    ({"price": {}}, "row 0, column 'price' is an object, expected a text, a number, true or false."),
    ({"price": 10**400}, "row 0, column 'price' is a number of 401 digits, which is too large."),
    ({"note": "\ud800"}, "row 0, column 'note' holds a lone surrogate, which is half a character."),
    ({"photo": 7}, f"row 0, column 'photo' is a number, expected {SHAPE} for a column of kind image. Paths and URLs are not followed."),
    ({"photo": {}}, f"row 0, column 'photo' has no string 'base64', expected {SHAPE}."),
    ({"photo": {"base64": 3}}, f"row 0, column 'photo' has no string 'base64', expected {SHAPE}."),
    ({"photo": {"base64": "", "x": 1}}, f"row 0, column 'photo' has 'x', expected {SHAPE}."),
    ({"photo": {"base64": "", "name": 1}}, "row 0, column 'photo': 'name' is a number, expected the name of a file."),
    ({"photo": {"base64": "a?=="}}, "row 0, column 'photo' is not base64: only base64 data is allowed."),
    ({"photo": {"base64": "abc"}}, "row 0, column 'photo' is not base64: incorrect padding."),
    ({"photo": {"base64": "ä"}}, "row 0, column 'photo' is not base64: string argument should contain only ascii characters."),
    ({"pulse": [1, "x"]}, "row 0, column 'pulse' holds a text among its numbers."),
    ({"pulse": [[1, True]]}, "row 0, column 'pulse' holds true or false among its numbers."),
    ({"pulse": [1, [[]]]}, "row 0, column 'pulse' holds a list among its numbers."),
    ({"pulse": [10**400]}, "row 0, column 'pulse' is a number of 401 digits, which is too large."),
]  # fmt: skip


@pytest.mark.parametrize(("row_", "told"), CELLS, ids=lambda value: repr(value)[:40])
def test_a_cell(server, row_, told):
    got = predict(server, row_)
    assert (got.status, got.error) == (422, told)


REFUSED = [
    ("photo", {"url": "http://127.0.0.1/x.png"}, "names a file or an address. Paths and URLs are not followed."),
    ("photo", {"path": "/etc/passwd"}, "names a file or an address. Paths and URLs are not followed."),
    ("photo", {"base64": "data:image/png;base64,AAAA"}, "is a data URL. Send only what follows its comma."),
    ("photo", "/etc/passwd", "is a text, expected"),
    ("photo", "file:///etc/passwd", "Paths and URLs are not followed."),
    ("pulse", "/etc/passwd", "is a text, expected a list of numbers or"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "cell", "told"), REFUSED)
def test_no_path_and_no_url_is_followed(server, column, cell, told):
    got = predict(server, {column: cell})
    assert got.status == 422
    assert told in got.error


def test_what_looks_like_a_path_is_never_opened(server, app, table):
    """A file's name is only looked at for its ending; a text column may hold anything."""
    there = app.parent / "media" / "0-0.png"
    assert there.is_file()
    got = predict(server, {"photo": {"base64": "", "name": str(there)}}).json
    assert got["unreadable"][0]["reason"] == "'0-0.png': is empty (zero bytes)"
    one, two = (
        predict(server, {"note": text}).json["unreadable"] for text in (str(there), "http://x/y")
    )
    assert one == two == []


def form(*parts, boundary=b"x"):
    head = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    told = b"".join(
        head % (name, b'; filename="f"' if file else b"") + data + b"\r\n"
        for name, data, file in parts
    )
    return told + b"--" + boundary + b"--\r\n"


FORMS = [
    (form((b"nota", b"x", False)), 422, "part 'nota': the model has no column 'nota'."),
    (form((b"note", b"x", False), (b"note", b"y", False)), 422, "part 'note' occurs twice; a form is one row."),
    (form((b"note", b"\xff", True)), 422, "part 'note' holds bytes that are not UTF-8 text."),
    (form((b"photo", b"/etc/passwd", False)), 422, "part 'photo' is text, expected a file: curl -F 'image=@file'."),
    (b"--x\r\n\r\nhello\r\n--x--\r\n", 400, "a part of the form has no name."),
    (form((b"note", b"x", False))[:-4], 400, "the form ends before its last boundary."),
    (b"hello", 400, "the form cannot be read: "),
    (form(*[(b"note", b"", False)] * 1001), 413, "the form has more than 1000 parts."),
    (b"--x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n\r\n--x--\r\n", 400, "the form cannot be read: "),
    (b"--x\r\nX-Y: " + b"y" * 10_000 + b"\r\n\r\n\r\n--x--\r\n", 400, "the form cannot be read: "),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "told"), FORMS, ids=lambda value: repr(value)[:30])
def test_a_form(server, body, status, told):
    got = server.post("/v1/predict", body, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert got.status == status
    assert got.error.startswith(told)


def test_a_form_without_a_boundary_and_other_types(server):
    got = server.post("/v1/predict", b"x", **{"Content-Type": "multipart/form-data"})
    assert (got.status, got.error) == (400, "the Content-Type has no boundary.")
    got = server.post("/v1/predict", b"x", **{"Content-Type": "text/html; x"})
    known = "application/json, application/x-ndjson, multipart/form-data"
    assert (got.status, got.error) == (415, f"the body is 'text/html', expected one of {known}.")
    got = server.post("/v1/predict", b"x", **{"Content-Encoding": "gzip"})
    told = "compressed bodies are not accepted; send it uncompressed."
    assert (got.status, got.error) == (415, told)


def test_a_million_rows(server):
    for count in (1024, 400_000):
        got = server.post("/v1/predict", b'{"rows": [' + b"{}," * count + b"{}]}")
        assert got.status == 413
        assert got.error.startswith(
            f"{count + 1} rows were sent, more than the 1024 of one request"
        )
    lines = {"Content-Type": "application/x-ndjson"}
    got = server.post("/v1/predict", b"{}\n" * 1_000_000, **lines)
    assert got.status == 413
    assert got.error.startswith("1000000 rows were sent, more than the 1024")
    assert server.post("/v1/predict", b"\n\n", **lines).error == "there are no rows."


def talk(server, data, seconds=10.0):
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as raw:
        for part in data if isinstance(data, list) else [data]:
            raw.sendall(part)
        found = b""
        while chunk := raw.recv(65_536):
            found += chunk
        return found


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_length_of_five_gigabytes_is_refused_at_once(server):
    began = time.monotonic()
    found = talk(server, HEAD + b"Content-Length: 5000000000\r\n\r\n{")
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"the body is larger than 32 MB (--max-body-mb)." in found
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_chunked_body_without_end_is_cut_off(server, head):
    """Its bytes are counted, and what comes after the refusal is thrown away for a moment only."""
    chunk = b"%x\r\n" % 1_000_000 + b" " * 1_000_000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(HEAD + head)
        sent = 0
        with pytest.raises(OSError):
            while sent < 20_000:
                raw.sendall(chunk)
                sent += 1
    assert sent > 32


def test_a_length_that_lies(server):
    """More than was said is another request, which is none; less is waited for, in vain."""
    found = talk(server, HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}" + b"x" * 100)
    assert found.startswith(b"HTTP/1.1 422 ")
    for odd in (b"-1", b"12e3", b"9" * 400):
        found = talk(server, HEAD + b"Connection: close\r\nContent-Length: " + odd + b"\r\n\r\n{}")
        assert found[9:12] in (b"400", b"413")


def test_heads_that_are_too_large_or_no_http(server):
    many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    found = talk(server, HEAD + b"Connection: close\r\n" + many + b"\r\n")
    assert found.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))  # by how it was cut in pieces
    some = HEAD + b"Connection: close\r\n" + many[:1500] + b"\r\n"
    assert b"the request has 164 header lines, more than 100." in talk(server, some)
    for data in (b"hello\r\n\r\n", b"\x16\x03\x01" * 50 + b"\r\n\r\n"):
        found = talk(server, data)
        assert found.startswith(b"HTTP/1.1 400 ")
        head, _, body = found.partition(b"\r\n\r\n")
        assert b"content-type: application/json" in head.lower()
        told = json.loads(body)["error"]
        assert (told["kind"], told["message"]) == (
            "bad_http",
            "this is not valid HTTP/1.1.",
        )


def test_no_route(server):
    got = server.ask("GET", "/v1/nothing")
    assert (got.status, got.error) == (404, "there is no such route.")
    got = server.ask("GET", "/v1/predict")
    assert (got.status, got.error) == (405, "this route does not accept that method.")
    assert got.headers["allow"] == "POST"
    got = server.post("/v1/models/nothing/predict", {"rows": [{}]})
    told = "unknown model 'nothing'. Choose from: app."
    assert (got.status, got.error) == (404, told)
    assert server.ask("GET", "/v1/models/..%2f..%2fetc").status == 404


def png(**named):
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG", **named)
    return stream.getvalue()


def bomb():
    """A PNG whose header claims 60,000 by 60,000 pixels."""
    good = png()
    head = good[:16] + struct.pack(">II", 60_000, 60_000) + good[24:]
    import zlib

    crc = struct.pack(">I", zlib.crc32(head[12:29]))
    return head[:29] + crc + head[33:]


def objects():
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    return stream.getvalue()


FILES = [
    ("photo", b"", "is empty (zero bytes)"),
    ("photo", b"<html>", "is HTML or XML, not an image"),
    ("photo", png()[:40], "is not an image of a known kind ("),
    ("photo", bomb(), "claims 3600 megapixels, more than the cap of 64"),
    ("voice", b"RIFF" + bytes(60), ""),
    ("pulse", objects(), "holds Python objects, which plait does not load"),
    ("pulse", b"\x93NUMPY\x01\x00", "is a damaged NumPy array file"),
]


@pytest.mark.parametrize(("column", "data", "told"), FILES, ids=range(len(FILES)))
def test_a_broken_or_hostile_file(server, column, data, told):
    cell = {"base64": base64.b64encode(data).decode()}
    got = predict(server, {column: cell, "note": "x"})
    assert got.status == 200
    entry = got.json["unreadable"][0]
    assert entry["column"] == column
    assert entry["reason"].startswith(told)
    assert "/" not in entry["reason"].replace("/ ", "")
    assert got.json["answers"] == predict(server, {"note": "x"}).json["answers"]


def test_a_text_over_its_cap(server):
    got = predict(server, {"note": "x" * 1_000_001}).json
    assert got["unreadable"][0]["reason"].startswith("holds 1 MB of text, more than the cap")


def test_a_bug_is_told_without_a_trace(server, monkeypatch, caplog):
    def fail(*args, **named):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("plait.serve.engine.run_jobs", fail)
    got = predict(server, {"note": "x"})
    assert got.status == 500
    name = got.headers["x-request-id"]
    assert got.error == f"the server failed to answer; see its log under {name}."
    until = time.monotonic() + 5
    while "/secret/path" not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)  # it is logged after it is told
    assert "/secret/path" in caplog.text
    monkeypatch.undo()


def test_json_of_every_error_is_small(server):
    got = predict(server, {"x" * 100_000: 1})
    assert got.status == 422
    assert len(json.dumps(got.json)) < 600
