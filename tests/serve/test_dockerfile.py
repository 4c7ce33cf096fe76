"""The Dockerfile without an engine: its form, what it copies, and its last commands as they stand."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def steps():
    """Instruction and the rest, of each step."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_its_form():
    found = steps()
    names = [name for name, _ in found]
    known = {
        "FROM",
        "ENV",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    }
    assert set(names) == known
    assert names[0] == "FROM"
    assert names[-1] == "ENTRYPOINT"
    assert dict(found)["USER"] == "10001"  # by number, so that it can be seen not to be root
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")
    assert not re.search(r"sudo|curl|chmod 777|:latest|ADD |TOKEN=", str(found))


def test_it_is_linted():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint has no wheel here")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_it_copies_is_there_and_nothing_else_is_sent():
    copied = [part for name, rest in steps() if name == "COPY" for part in rest.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    for name in copied:
        assert f"!{name}" in ignored
        assert name == "app" or (ROOT / name).exists()


def test_it_installs_the_server_and_no_torch():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    install = next(rest for name, rest in steps() if name == "RUN" and "pip install" in rest)
    assert install == 'pip install --constraint constraints.txt ".[serve]"'
    wanted = extras["serve"] + extras["runtime"]
    assert not any(re.match(r"torch|transformers|plait\[train", one) for one in wanted)


def test_its_command_and_its_health_check_run(app, start, tmp_path):
    """As they stand, but for the folder, the port and the token's file."""
    (entry,) = (json.loads(rest) for name, rest in steps() if name == "ENTRYPOINT")
    assert entry[:3] == ["plait", "serve", "/srv/app"]
    assert entry[3:] == ["--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
    done = subprocess.run(
        [sys.executable, "-m", *entry, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "token-file: '/run/secrets/token' cannot be read" in done.stderr
    (check,) = (rest for name, rest in steps() if name == "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    code = command[2]
    with start(app, token="x" * 20) as server:
        here = code.replace(":8000", f":{server.port}")
        assert subprocess.run([sys.executable, "-c", here], timeout=60, check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", here], timeout=60, check=False).returncode == 1
