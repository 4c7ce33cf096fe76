"""Under load and in trouble: full, slow, gone, hostile, reloaded, stopped."""

import base64
import http.client
import json
import shutil
import socket
import threading
import time

import made_app
import numpy as np
import pytest

import plait
from plait.client import ServerError
from plait.errors import BundleError, CellError, ConfigError
from plait.serve.models import Models
from plait.serve.options import Options
from plait.serve.server import bind

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def until(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "this never came"
        time.sleep(0.005)


def begun(server, body=b'{"rows": [{}', length=100):
    """A connection whose request is not whole."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=15)
    raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length + body)
    return raw


def everything(raw):
    found = b""
    while chunk := raw.recv(65_536):
        found += chunk
    return found


def test_full_means_a_quick_503(start, app):
    with start(app, queue=1, body_seconds=1.0) as server:
        with begun(server) as raw:
            until(lambda: server.service.admitted == 1)
            began = time.monotonic()
            got = server.post("/v1/predict", {"rows": [{}]})
            assert time.monotonic() - began < 0.5
            assert (got.status, got.headers["retry-after"]) == (503, "1")
            assert got.error.startswith("the server has as many requests as it can answer in time")
            assert server.ask("GET", "/healthz").status == 200
            url = f"http://127.0.0.1:{server.port}"
            told = "as many requests as it can"
            with plait.Client(url, tries=1) as client, pytest.raises(ServerError, match=told):
                client.predict([{}])
            with plait.Client(url, tries=3) as client:
                assert client.predict([{}]).answers  # tried again after a second
            assert everything(raw).startswith(b"HTTP/1.1 408 ")
        figures = server.ask("GET", "/metrics").data
        assert b"plait_refused_total" in figures
        assert b"plait_refused_total 0.0" not in figures


def test_a_slow_body_is_not_waited_for(start, app):
    with start(app, body_seconds=0.2) as server, begun(server) as raw:
        found = everything(raw)
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not arrive within 0.2 s." in found


def test_a_slow_head_is_not_waited_for(start, app):
    with start(app, head_seconds=0.3) as server:
        for sent in (b"", b"POST /v1/pre"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
                raw.sendall(sent)
                assert everything(raw) == b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(65_536).startswith(b"HTTP/1.1 200")
            raw.sendall(b"GET /heal")
            began = time.monotonic()
            everything(raw)
            assert time.monotonic() - began < 3  # the second had its time, too


def test_too_many_connections(start, app):
    with start(app, connections=2) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
            found = everything(raw)
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"the server has reached its limit of connections." in found
        for one in idle:
            one.close()
        until(lambda: server.ask("GET", "/healthz").status == 200)


def test_bodies_in_memory_are_capped(start, app):
    with start(app, max_pending_mb=0.001) as server:
        got = server.post("/v1/predict", {"rows": [{"note": "x" * 2000}]})
        assert got.status == 503
        assert got.error.startswith("the server has reached its limit of bytes in memory")
        assert server.post("/v1/predict", {"rows": [{}]}).status == 200


def test_a_client_that_leaves_is_dropped_from_the_queue(start, app, monkeypatch):
    """The file of the first is being decoded when its client leaves; nothing of it is answered."""
    go = threading.Event()
    held = slow_photos(monkeypatch, go)
    with start(app) as server:
        body = json.dumps({"rows": [{"photo": {"base64": "AAAA"}}]}).encode()
        with begun(server, body, len(body)):
            until(lambda: held)
        until(lambda: server.service.admitted == 0)
        go.set()
        until(lambda: server.service.engine.decoding == 0)
        metrics = server.ask("GET", "/metrics").data
        assert b"plait_dropped_total 1.0" in metrics
        assert b"plait_batch_rows_count 0.0" in metrics


def slow_photos(monkeypatch, go):
    """Photos take until ``go``; what was begun is in the list."""
    import plait.data.modalities.image

    held = []

    def slow(data, *rest):
        held.append(data)
        go.wait(10)
        raise CellError("is slow")

    monkeypatch.setattr(plait.data.modalities.image, "load", slow)
    return held


def test_hostile_files_stop_nobody_else(start, app, monkeypatch):
    """More of them than the lane has places, and others are still answered at once."""
    go = threading.Event()
    held = slow_photos(monkeypatch, go)
    with start(app, decoders=1, queue=8) as server:
        row = {"photo": {"base64": "AAAA"}}
        threads = [
            threading.Thread(target=server.post, args=("/v1/predict", {"rows": [row]}))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(held) == 3)
        began = time.monotonic()
        assert server.post("/v1/predict", {"rows": [{"note": "x"}]}).status == 200
        assert time.monotonic() - began < 2
        go.set()
        for thread in threads:
            thread.join()


def test_a_request_has_its_time(start, app, monkeypatch):
    go = threading.Event()
    slow_photos(monkeypatch, go)
    with start(app, timeout=0.2) as server:
        got = server.post("/v1/predict", {"rows": [{"photo": {"base64": "AAAA"}}]})
        assert (got.status, got.error) == (504, "the answer took longer than 0.2 s.")
        go.set()


def test_one_bad_job_does_not_spoil_its_batch(start, app, monkeypatch):
    import plait.serve.engine as engine

    whole = engine.run_jobs

    def fail(batch):
        if any(job.rows == 2 for job in batch):
            raise RuntimeError("two rows")
        return whole(batch)

    monkeypatch.setattr(engine, "run_jobs", fail)
    with start(app, wait_ms=300.0) as server:
        found = {}

        def ask(name, rows):
            found[name] = server.post("/v1/predict", {"rows": rows}).status

        threads = [
            threading.Thread(target=ask, args=(name, rows))
            for name, rows in (("good", [{}]), ("bad", [{}, {}]), ("also", [{"note": "x"}]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {"good": 200, "bad": 500, "also": 200}


# Models.


def test_models_side_by_side(start, app, table, tmp_path):
    made_app.make(tmp_path / "other", table, {"price": "numeric"}, seed=7)
    with start(app, f"second={tmp_path / 'other'}") as server:
        one = server.post("/v1/predict", {"rows": [{"price": 1}]}).json
        two = server.post("/v1/models/second/predict", {"rows": [{"price": 1}]}).json
        assert (one["model"], two["model"]) == ("app", "second")
        assert one["answers"] != two["answers"]
        listed = server.ask("GET", "/v1/models").json["models"]
        assert [about["name"] for about in listed] == ["app", "second"]
        assert server.ask("GET", "/v1/model").json["name"] == "app"
        assert server.ask("GET", "/v1/models/second").json["columns"][0]["name"] == "price"


def test_reload_loses_no_request(start, app, table, tmp_path):
    """Requests go on all the while; each is answered by the old model or by the new one."""
    folder, inputs = tmp_path / "app", {"price": "numeric"}
    made_app.make(folder, table, inputs, seed=1)
    with start(folder) as server:
        before = server.post("/v1/predict", {"rows": [{"price": 1}]}).json["answers"][0]
        seen, stop = [], threading.Event()

        def ask():
            with plait.Client(f"http://127.0.0.1:{server.port}") as client:
                while not stop.is_set():
                    seen.append(client.predict([{"price": 1}]).answers[0])

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: len(seen) > 5)
        made_app.make(folder, table, inputs, seed=2)
        told = server.ask("POST", "/v1/models/app/reload")
        assert told.status == 200
        count = len(seen)
        until(lambda: len(seen) > count + 5)
        stop.set()
        for thread in threads:
            thread.join()
        after = server.post("/v1/predict", {"rows": [{"price": 1}]}).json["answers"][0]
    assert before != after
    assert all(one in (before, after) for one in seen)
    assert seen[0] == before
    assert seen[-1] == after


def test_a_folder_that_is_removed_or_spoilt_while_serving(start, table, tmp_path):
    folder = tmp_path / "app"
    made_app.make(folder, table, {"price": "numeric"})
    with start(folder) as server:
        want = server.post("/v1/predict", {"rows": [{"price": 1}]}).json
        graph = folder / "fusion.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
        got = server.ask("POST", "/v1/models/app/reload")
        assert got.status == 409
        assert got.error.startswith(
            "'app' was not reloaded; the previous version stays in use: fusion.onnx was"
        )
        assert str(tmp_path) not in got.data.decode()
        shutil.rmtree(folder)
        got = server.ask("POST", "/v1/models/app/reload")
        assert got.error.endswith("stays in use: app cannot be served. There is no such folder.")
        assert str(tmp_path) not in got.data.decode()
        assert server.post("/v1/predict", {"rows": [{"price": 1}]}).json == want
        metrics = server.ask("GET", "/metrics").data
        assert b'plait_reloads_total{model="app",outcome="failed"} 2.0' in metrics
        assert server.ask("POST", "/v1/models/none/reload").status == 404


def test_folders_that_cannot_be_served(app, tmp_path):
    with pytest.raises(BundleError, match="There is no such folder"):
        Models([str(tmp_path / "none")])
    with pytest.raises(BundleError, match="It holds no exported model"):
        Models([str(tmp_path)])
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match=r"export it first:  plait export \S+ --out \S+-app"):
        Models([str(tmp_path)])
    with pytest.raises(ConfigError, match="name at least one folder"):
        Models([])
    with pytest.raises(ConfigError, match="'.*two words' cannot be a model's name|cannot be"):
        Models([str(tmp_path / "two words")])
    with pytest.raises(
        ConfigError, match="'x/y' cannot be a model's name; give one as NAME=FOLDER"
    ):
        Models(["x/y=app"])
    with pytest.raises(ConfigError, match="threads=0: expected a whole number of at least 1"):
        Models([str(app)], threads=0)
    with pytest.raises(ConfigError, match="there is already a model 'app'"):
        Models([str(app), f"app={tmp_path}"])


# Stopping.


def test_drain_answers_what_was_accepted(start, app, monkeypatch):
    go = threading.Event()
    held = slow_photos(monkeypatch, go)
    with start(app) as server:
        found = []
        row = {"photo": {"base64": "AAAA"}}
        asking = threading.Thread(
            target=lambda: found.append(server.post("/v1/predict", {"rows": [row]}))
        )
        asking.start()
        until(lambda: held)
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() == b"ready\n"
        server.server.drain()
        until(lambda: server.service.draining)
        got = server.ask("GET", "/readyz")
        assert (got.status, got.data) == (503, b"stopping\n")
        assert server.ask("GET", "/healthz").status == 200
        kept.request("POST", "/v1/predict", b"{}", {"Content-Type": "application/json"})
        refused = kept.getresponse()
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        assert b"the server is stopping" in refused.read()
        kept.close()
        server.server.drain()  # asked twice, it stops once
        time.sleep(0.7)
        go.set()
        asking.join(10)
        assert found[0].status == 200
        server.thread.join(10)
        assert not server.thread.is_alive()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        with plait.Client(f"http://127.0.0.1:{server.port}") as client:
            assert not client.is_ready()
            with pytest.raises(ServerError, match=f"127.0.0.1:{server.port} did not respond: "):
                client.predict([{}])


def test_ports(start, app):
    with start(app) as server:
        told = f"port={server.port}: the port is in use; choose another, or 0"
        with pytest.raises(ConfigError, match=told):
            bind(Options(port=server.port))
    with pytest.raises(ConfigError, match=r"host='192\.0\.2\.1': cannot listen there"):
        bind(Options(host="192.0.2.1", port=0, token="x" * 16))


# The client, and what is not a plait server.


def test_a_client_of_something_else(app):
    for url in ("127.0.0.1:8000", "ftp://x", "http://"):
        with pytest.raises(ServerError, match="expected http://host:port"):
            plait.Client(url)
    listening = socket.create_server(("127.0.0.1", 0))

    def once(reply):
        raw, _ = listening.accept()
        raw.recv(65_536)
        raw.sendall(reply)
        raw.close()

    for reply, told in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "with status 200, is not from plait"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\nhttp", "with status 502, is not from"),
        (b"", "did not respond: Remote end closed connection"),
    ):
        thread = threading.Thread(target=once, args=(reply,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with plait.Client(url) as client, pytest.raises(ServerError, match=told):
            client.about()
        thread.join()
    listening.close()


def test_a_client_opens_a_closed_connection_again(start, app):
    with start(app) as server, plait.Client(f"http://127.0.0.1:{server.port}") as client:
        assert client.predict([{}]).answers
        client._local.connection.sock.shutdown(socket.SHUT_RDWR)
        assert client.predict([{}]).answers


def test_values_that_a_client_sends():
    from plait.client import to_value

    assert to_value(np.float32(2.5)) == 2.5
    assert to_value(memoryview(b"ab")) == {"base64": base64.b64encode(b"ab").decode()}
    assert to_value({"base64": ""}) == {"base64": ""}


def test_only_small_whole_requests_are_refused_quickly(start, app):
    """What comes in pieces, or asks for the unusual, is taken apart first; it gets its 503 all the same."""
    whole = HEAD + b"Content-Length: 2\r\n\r\n{}"
    sent = {
        "whole": [whole],
        "in pieces": [whole[:20], whole[20:]],
        "without a body": [HEAD + b"Content-Length: 2\r\n\r\n", b"{}"],
        "closing": [HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"],
        "chunked": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
        "no length": [HEAD + b"\r\n"],
    }
    with start(app, queue=1, body_seconds=5.0) as server, begun(server) as raw:
        until(lambda: server.service.admitted == 1)
        for name, parts in sent.items():
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as other:
                for part in parts:
                    other.sendall(part)
                    time.sleep(0.05)
                found = other.recv(65_536)
                assert found.startswith(b"HTTP/1.1 503 "), name
                assert b"as many requests as it can answer" in found or other.recv(65_536), name
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as other:
            for _ in range(3):  # on one connection, and then something else
                other.sendall(whole)
                assert other.recv(65_536).startswith(b"HTTP/1.1 503 ")
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(65_536).startswith(b"HTTP/1.1 200 ")
        raw.close()
