"""`plait serve` as a program of its own: signals, ports, refusals, and what it imports."""

import json
import signal
import subprocess
import sys
import threading
import time

from serve.program import Program

import plait
from plait.client import ServerError


def test_a_drain_under_load_answers_or_says_no(app, row):
    """Each request gets an answer, a 503 in words, or no connection at all; the program ends with 0."""
    with Program(app, "--port", 0) as program:
        url = f"http://127.0.0.1:{program.port}"
        seen, ready = [], threading.Event()

        def ask():
            with plait.Client(url, tries=1) as client:
                while True:
                    try:
                        assert client.predict([row]).answers
                        seen.append("answer")
                        ready.set()
                    except ServerError as error:
                        seen.append(error.kind)
                        if error.kind == "no_answer":
                            return
                        time.sleep(0.02)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert ready.wait(20)
        program.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        code = program.end()
        for thread in threads:
            thread.join(10)
        assert code == 0
        assert set(seen) <= {"answer", "stopping", "no_answer"}
        assert seen.count("no_answer") == 4
        program.reader.join(5)
        told = [json.loads(line) for line in program.lines if line.startswith("{")]
        events = [line["event"] for line in told]
        assert [one for one in events if one != "request"] == [
            "serving",
            "reload",
            "draining",
            "stopped",
        ]
        assert told[-1]["admitted"] == 0
        requests = [line for line in told if line["event"] == "request"]
        assert len(requests) == seen.count("answer")
        assert requests[0]["status"] == 200


def test_ctrl_c_and_a_port_in_use(app):
    with Program(app, "--port", 0) as program:
        with Program(app, "--port", program.port) as second:
            assert second.process.wait(20) == 2
            second.reader.join(5)
            assert f"port={program.port}: the port is in use" in "".join(second.lines)
        assert program.end(signal.SIGINT) == 0


def test_refusals(app, run, tmp_path):
    code, _, told = run("serve", app, "--host", "0.0.0.0")
    assert code == 2
    assert "so a token is required: --token-file key.txt" in told
    (tmp_path / "bundle.json").write_text("{}")
    code, _, told = run("serve", tmp_path)
    assert code == 1
    assert f"export it first:  plait export {tmp_path} --out {tmp_path}-app" in told
    code, _, told = run("serve", app, "--token-file", tmp_path / "none")
    assert code == 2
    assert "cannot be read: No such file" in told


def test_what_is_not_installed_is_named(app, run, monkeypatch):
    monkeypatch.delitem(sys.modules, "plait.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, told = run("serve", app)
    assert code == 1
    assert "a server needs the package uvicorn, which is not installed" in told
    assert 'pip install "plait[serve]"' in told


def test_a_fault_of_our_own_is_no_missing_package(app, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "plait.serve.server", None)
    code, _, told = run("serve", app)
    assert code == 70
    assert "plait.serve.server" in told


def test_no_torch_and_no_network(app):
    """A served answer needs neither torch nor transformers."""
    code = (
        "import sys, threading\n"
        "from plait.serve.server import Server, bind\n"
        "from plait.serve.models import Models\n"
        "from plait.serve.options import Options\n"
        "from plait.serve.service import Service\n"
        "from plait.client import Client\n"
        f"service = Service(Options(port=0), Models([{str(app)!r}]))\n"
        "server = Server(service, bind(service.options))\n"
        "def ask():\n"
        "    with Client(f'http://127.0.0.1:{server.port}') as client:\n"
        "        print(client.explain([{'note': 'x'}]).model)\n"
        "    server.drain()\n"
        "server.run(lambda: threading.Thread(target=ask).start())\n"
        "found = {'torch', 'transformers', 'accelerate', 'sklearn'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "app\n"), done.stderr
