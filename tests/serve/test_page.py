"""docs/serve.md: its commands and its Python run as they stand, against a server on another port."""

import re
import shutil
import subprocess
from pathlib import Path

import made_app
import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
TOKEN = "only-for-this-test-of-the-page"


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return [code for found, code in BLOCK.findall(text) if found == language]


@pytest.fixture
def place(tmp_path, monkeypatch, start):
    """A folder as the page has it, and the port of a server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    lines = ["photo,note,price"]
    for number in range(6):
        pixels = np.full((16, 16, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/new{number}.png")
        lines.append(f"photos/new{number}.png,a bright day {number},{number}.5")
    (tmp_path / "new.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "key.txt").write_text(TOKEN + "\n")
    inputs = {"photo": "image", "note": "text", "price": "numeric"}
    made_app.make(tmp_path / "app", tmp_path / "new.csv", inputs)
    with start(tmp_path / "app", token=TOKEN) as server:
        yield server.port


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_commands_run(place):
    commands = [
        line
        for code in blocks("sh")
        for line in code.replace("\\\n", " ").splitlines()
        if "curl " in line
    ]
    assert len(commands) == 5
    told = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.replace(":8000", f":{place}")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        told.append(done.stdout)
    assert '"name":"app"' in told[0]
    assert '"unreadable":[],"absent":[]' in told[1]
    assert '"contributions":{"note":' in told[2]
    assert told[3].count('"answer"') == 2 + 2
    assert told[4] == "ready\n"


def test_the_python_runs(place, capsys):
    (code,) = blocks("python")
    names = {}
    exec(code.replace(":8000", f":{place}"), names)
    assert len(names["vectors"][0]) == 4
    assert "contributions" not in capsys.readouterr().out
    assert set(names["why"]["contributions"]) == {"photo", "note", "price"}
