"""Spans of requests, as they reach a collector."""

import http.client
import http.server
import json
import threading

import pytest
from serve.program import Program

from plait.errors import ConfigError, MissingExtra
from plait.serve import traces

CALLER = "0af7651916cd43dd8448eb211c80319c"


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.kept.append((self.path, data))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *told):
        """Nothing."""


@pytest.fixture
def collector():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.kept = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_span_a_request_and_none_a_probe(app, row, collector, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    place = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", place)
    with Program(app, "--port", 0) as program:
        for method, path, value in (
            ("POST", "/v1/predict", {"rows": [row]}),
            ("GET", "/readyz", None),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=20)
            body = None if value is None else json.dumps(value)
            headers = {
                "Content-Type": "application/json",
                "traceparent": f"00-{CALLER}-b7ad6b7169203331-01",
            }
            connection.request(method, path, body, headers)
            assert connection.getresponse().status == 200
            connection.close()
        assert program.end() == 0
    spans = b"".join(data for path, data in collector.kept if path == "/v1/traces")
    assert spans.count(b"POST /v1/predict") == 1
    assert bytes.fromhex(CALLER) in spans  # a part of the trace that the client began
    assert b"readyz" not in spans
    assert row["note"].encode() not in spans


def test_an_endpoint_without_what_it_takes(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr(traces, "_EXPORTER", "opentelemetry.nothing.here")
    with pytest.raises(MissingExtra, match=r"plait\[traces\]"):
        traces.telemetry()
    monkeypatch.setattr(traces, "_EXPORTER", "json")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="PROTOCOL='grpc': only http/protobuf is supported"):
        traces.telemetry()
