"""Closed by default: who may ask, from where, and under which name."""

import base64
import os
import re

import pytest

import plait
from plait.client import ServerError
from plait.errors import ConfigError
from plait.serve.middleware import Gate
from plait.serve.options import Options, read_token

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(start, app):
    with start(app, token=TOKEN, hosts=("models.example",)) as found:
        yield found


def routes(server):
    """Every route of the document, and those that are not in it."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    paths = server.ask("GET", "/openapi.json", headers=bearer).json["paths"]
    found = [
        (method.upper(), path.replace("{model}", "app"))
        for path, methods in paths.items()
        for method in methods
        if method != "parameters"
    ]
    return [
        *found,
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/x"),
        ("POST", "/x/predict"),
    ]


WRONG = {
    "none": {},
    "empty": {"Authorization": "Bearer "},
    "other": {"Authorization": "Bearer correct-horse-battery-stapl"},
    "longer": {"Authorization": f"Bearer {TOKEN}x"},
    "odd": {"Authorization": "Bearer \xff"},
    "scheme": {"Authorization": f"Digest {TOKEN}"},
    "basic": {"Authorization": "Basic " + base64.b64encode(b"me:wrong").decode()},
    "no basic": {"Authorization": "Basic ???"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_every_route_asks_for_the_token(guarded, headers):
    found = routes(guarded)
    assert len(found) > 14
    for method, path in found:
        got = guarded.ask(method, path, None, headers)
        if path in ("/healthz", "/readyz"):
            assert got.status == 200
            assert got.data in (b"ok\n", b"ready\n")
            continue
        assert got.status == 401, path
        what = "a wrong token" if len(headers) and headers != WRONG["empty"] else "no token"
        if headers not in (WRONG["scheme"], WRONG["no basic"]):
            assert got.error == f"{what} was sent; send  Authorization: Bearer TOKEN"
        assert got.headers["www-authenticate"] == 'Bearer realm="plait"'
        browser = guarded.ask(method, path, None, {**headers, "Accept": "text/html,*/*"})
        assert browser.headers["www-authenticate"] == 'Basic realm="plait"'


def test_the_token_lets_in(guarded):
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for sent in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        assert guarded.ask("GET", "/v1/model", headers={"Authorization": sent}).status == 200
    url = f"http://127.0.0.1:{guarded.port}"
    with plait.Client(url, token=TOKEN) as client:
        assert client.predict([{}]).model == "app"
    with plait.Client(url, token="wrong") as client:
        with pytest.raises(ServerError, match="a wrong token was sent") as caught:
            client.predict([{}])
        assert (caught.value.status, caught.value.kind) == (401, "no_token")
        assert client.is_ready()


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "file://",
        "http://[",
        "http://localhost:1",
    ],
)
def test_a_page_from_elsewhere_is_refused(server, origin):
    for method, path in (("GET", "/v1/model"), ("POST", "/v1/predict"), ("GET", "/docs")):
        got = server.ask(method, path, None, {"Origin": origin})
        assert (got.status, got.error) == (
            403,
            "pages from another origin may not call this server.",
        )
        assert "access-control-allow-origin" not in got.headers
    got = server.ask("OPTIONS", "/v1/predict", None, {"Origin": origin})
    assert got.status == 403


def test_its_own_page_is_welcome(server):
    for name in ("127.0.0.1", "localhost"):
        origin = f"http://{name}:{server.port}"
        headers = {"Origin": origin, "Host": f"{name}:{server.port}"}
        assert server.ask("GET", "/v1/model", headers=headers).status == 200


def test_another_name_is_refused(server, guarded):
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "10.0.0.1",
        "models.example",
    ):
        got = server.ask("GET", "/healthz", headers={"Host": host})
        told = "this server does not go by that host name. --allow-host adds one."
        assert (got.status, got.error) == (421, told), host
    for host in ("localhost", "LOCALHOST.", "127.0.0.1:99", "127.8.8.8", "[::1]:80"):
        assert server.ask("GET", "/healthz", headers={"Host": host}).status == 200, host
    assert guarded.ask("GET", "/healthz", headers={"Host": "Models.example:80"}).status == 200


@pytest.mark.parametrize(
    ("host", "name", "known"),
    [
        ("0.0.0.0", "10.1.2.3", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "evil.example", False),
        ("::", "[fe80::1]", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3", "localhost", False),
        ("::1", "::1", True),
        ("localhost", "127.0.0.1", True),
    ],
)
def test_names_of_other_addresses(host, name, known):
    assert Options(host=host, token=TOKEN).knows_host(name) is known


def test_headers_keep_a_browser_from_guessing(server):
    got = server.ask("GET", "/docs")
    assert got.headers["content-security-policy"].startswith("default-src 'none'")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "no-store"
    page = got.data.decode()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|<script|@import|url\(", page)
    assert "/v1/models/{model}/explain" in page
    assert "server" not in got.headers


def test_the_docs_say_that_a_token_is_needed(guarded):
    got = guarded.ask("GET", "/docs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert b"Authorization: Bearer TOKEN" in got.data


def test_examples_of_the_document_work(server):
    paths = server.ask("GET", "/openapi.json").json["paths"]
    tried = 0
    for path, methods in paths.items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for kind, told in content.items():
            if "example" in told:
                value = told["example"]
                body = value.encode() if isinstance(value, str) else value
                got = server.post(path.replace("{model}", "app"), body, **{"Content-Type": kind})
                assert got.status == 200, got.data
                tried += 1
        if "get" in methods:
            assert server.ask("GET", path.replace("{model}", "app")).status == 200
    assert tried == 12


def test_a_golden_row_too_large_for_an_example(server, monkeypatch):
    monkeypatch.setattr("plait.serve.openapi.MAX_EXAMPLE_CHARACTERS", 200)
    document = server.ask("GET", "/openapi.json").json
    content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]["rows"][0]
    assert "note" in example
    assert "voice" not in example


# What is refused before anything listens.


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (
            {"host": "0.0.0.0"},
            "lets other machines in, so a token is required: --token-file key.txt",
        ),
        ({"host": "::"}, "Without a token, listen on a loopback address only."),
        ({"host": "example.org"}, "expected an IP address, such as 127.0.0.1 or 0.0.0.0."),
        ({"token": "short"}, "token: expected at least 16 ASCII characters without spaces"),
        ({"token": "with a blank in the middle"}, "token: expected at least 16"),
        ({"token": "ä" * 20}, "token: expected at least 16"),
        ({"port": 70_000}, "port=70000: expected 0 to 65535."),
        ({"queue": -1}, "queue=-1: expected a whole number of at least 1."),
        ({"timeout": float("nan")}, "timeout=nan: expected a number"),
        ({"wait_ms": -1.0}, "wait_ms=-1.0: expected a number of at least 0."),
        ({"hosts": ("*",)}, "allow-host='*': expected a name or an address"),
        ({"hosts": ("a.example:80",)}, "there are no wildcards"),
        ({"workers": 0}, "workers=0: expected a whole number of at least 1."),
        ({"port": -1}, "port=-1: expected a whole number of at least 0."),
    ],
)
def test_options_that_are_refused(named, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        Options(**named)


def test_all_options_are_told_together():
    with pytest.raises(ConfigError, match="2 options are wrong"):
        Options(host="0.0.0.0", queue=-1)


def test_the_file_of_a_token(tmp_path):
    path = tmp_path / "key.txt"
    path.write_text(f"  {TOKEN}\n")
    assert read_token(path) == TOKEN
    for text, told in (("", "must hold one line"), ("a b", "one line"), ("x" * 5000, "one line")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_token(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="holds no text"):
        read_token(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_token(tmp_path / "none")
    assert os.sep in str(path)


def test_a_socket_of_a_page_passes_the_same_checks(guarded):
    """There is none yet; whatever is mounted later is behind the same gate."""
    import asyncio

    sent, seen = [], []

    async def inner(scope, receive, send):
        seen.append(scope["type"])

    async def send(message):
        sent.append(message)

    gate = Gate(inner, guarded.service)
    scope = {"type": "websocket", "path": "/x", "headers": [(b"host", b"localhost")]}
    asyncio.run(gate(dict(scope), None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    scope["headers"].append((b"authorization", f"Bearer {TOKEN}".encode()))
    asyncio.run(gate(dict(scope), None, send))
    asyncio.run(gate({"type": "lifespan"}, None, send))
    assert seen == ["websocket", "lifespan"]
