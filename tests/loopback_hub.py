"""A hub on this machine: what huggingface_hub asks of the real one, answered from a dictionary."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a1b2c3d4" * 5
NEXT = "0f1e2d3c" * 5
LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    """Files by path, and what keeps them from being had.

    Attributes:
        gate: ``""``, ``files`` (they are gated, their list is not) or ``all``.
        broken: a file whose transfer stops halfway.
    """

    files: dict[str, bytes]
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)
    gate: str = ""
    broken: str = ""


@dataclass
class Hub:
    """Answers of the hub.

    Attributes:
        asked: ``GET /path`` of each request, in order.
        failing: whether everything is answered with an error of the server.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: bool = False

    @property
    def fetched(self) -> set[str]:
        """Files of which the content was asked for."""
        return {
            one.rpartition("/")[2]
            for one in self.asked
            if one.startswith("GET") and "resolve" in one
        }

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        self.asked.append(f"{method} {path}")
        if self.failing:
            return 500, {}, b"out of order"
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "cdn":  # where large files lie
            return 200, {}, self.repositories["/".join(parts[2:4])].files[parts[4]]
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        name, kind, revision, rest = (
            "/".join(parts[:2]),
            *(*parts[2:4], "", "")[:2],
            "/".join(parts[4:]),
        )
        repository = self.repositories.get(name)
        if repository is None:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if repository.gate == "all" or (repository.gate and not api):
            return (
                403,
                {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."},
                b"",
            )
        if revision not in (repository.commit, *repository.branches):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if kind == "revision":
            return self._json({"id": name, "sha": repository.commit, "siblings": []})
        if kind == "tree":
            return self._json([_entry(path, data) for path, data in repository.files.items()])
        data = repository.files[rest]
        headers = {"ETag": f'"{_blob(rest, data)}"', "X-Repo-Commit": repository.commit}
        if not rest.endswith(LARGE):
            return 200, headers, data
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
        return 302, {**headers, "Location": f"/cdn/resolve/{name}/{rest}"}, b""

    @staticmethod
    def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _blob(path: str, data: bytes) -> str:
    """The cache's name for a file: SHA-256 for large ones, git's SHA-1 otherwise."""
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": _blob(path, data),
    }
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _blob(path, data), "size": len(data), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        status, headers, body = self.hub.answer(self.command, path)
        broken = {one.broken for one in self.hub.repositories.values()}
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            # Large files lie on another host, as the hub's do.
            other = f"http://localhost:{self.server.server_address[1]}" if key == "Location" else ""
            self.send_header(key, other + value)
        self.end_headers()
        if self.command == "GET":
            stops = path.rpartition("/")[2] in broken and "resolve" in path
            self.wfile.write(body[: len(body) // 2] if stops else body)

    do_GET = do_HEAD = _serve  # noqa: N815 - their names in http.server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


def serve(hub: Hub) -> ThreadingHTTPServer:
    """A server on a free port of this machine, running."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    return server


def lay(cache: Path, name: str, files: dict[str, bytes], *, commit: str = COMMIT) -> Path:
    """A snapshot as huggingface_hub lays it: blobs, refs/main, and links in snapshots/COMMIT."""
    top = cache / f"models--{name.replace('/', '--')}"
    snapshot = top / "snapshots" / commit
    for folder in (top / "blobs", top / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        blob = top / "blobs" / _blob(path, data)
        blob.write_bytes(data)
        (snapshot / path).symlink_to(Path("../../blobs") / blob.name)
    (top / "refs" / "main").write_text(commit)
    return snapshot
