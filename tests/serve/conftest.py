"""A server in a thread of this process, on a hand-made model of five modalities."""

import base64
import http.client
import json
import threading
from contextlib import contextmanager

import made_app
import pytest

from plait.serve.models import Models
from plait.serve.options import Options
from plait.serve.server import Server, bind
from plait.serve.service import Service


@pytest.fixture(scope="session")
def app(maker, tmp_path_factory):
    """The folder of an exported model. Do not change it."""
    folder = tmp_path_factory.mktemp("made")
    maker.csv(folder, "train.csv", maker.rows(folder, 6))
    made_app.make(folder / "app", folder / "train.csv", made_app.INPUTS)
    return folder / "app"


@pytest.fixture(scope="session")
def table(app):
    """The table it was made of."""
    return app.parent / "train.csv"


class Asked:
    """A response."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.data = response.read()

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def error(self):
        return self.json["error"]["message"]


class Running:
    """A server, and a way to ask it."""

    def __init__(self, server, thread):
        self.server = server
        self.service = server.service
        self.port = server.port
        self.thread = thread

    def ask(self, method, path, body=None, headers=None, **named):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {}, **named)
            return Asked(connection.getresponse())
        finally:
            connection.close()

    def post(self, path, value, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json", **headers})

    def stop(self):
        self.server.drain()
        self.thread.join(15)
        assert not self.thread.is_alive()


@contextmanager
def running(*folders, **options):
    service = Service(Options(port=0, **options), Models([str(folder) for folder in folders]))
    server = Server(service, bind(service.options))
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(20)
    found = Running(server, thread)
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def start():
    """Starts servers: `with start(folder, queue=2) as server`."""
    return running


@pytest.fixture(scope="module")
def server(app):
    with running(app) as found:
        yield found


@pytest.fixture(scope="session")
def row(app):
    """A row as JSON values, every cell there."""
    golden = json.loads((app / "golden.json").read_text())[0]["cells"]
    return {
        name: {"base64": cell["base64"]} if isinstance(cell, dict) else cell
        for name, cell in golden.items()
    }


@pytest.fixture(scope="session")
def photo(row):
    return base64.b64decode(row["photo"]["base64"])
