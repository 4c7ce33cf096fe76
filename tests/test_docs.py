"""Every page runs: its Python blocks and its ``plait`` commands, in order, as a reader would.

CONTRIBUTING.md ("Pages that run") tells how to write such a page.
"""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import plait

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
TRANSLATIONS = sorted(ROOT.glob("README.*.md"))
BLOCK = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^(?P<skip><!-- no-run -->\n)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A piece of a page that can be run, and the line it starts on."""

    language: str
    code: str
    line: int


def blocks(page: str) -> list[Block]:
    """The setup comments, Python blocks and shell blocks of a page, without those marked no-run."""
    found = []
    for match in BLOCK.finditer(page):
        group = "code" if match["setup"] is None else "setup"
        language = "python" if group == "setup" else match["language"]
        if language in ("python", "sh") and not match["skip"]:
            line = page.count("\n", 0, match.start(group)) + 1
            found.append(Block(language, match[group], line))
    return found


def plait_commands(shell: str) -> list[list[str]]:
    """The arguments of each ``plait`` line. Other commands (make, pip, git) are left alone."""
    lines = shell.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("plait ")]


def make_tables(folder: Path) -> None:
    """train.csv, test.csv and new.csv: a photo, a note, a number and a label that all three tell."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for name, rows in (("train", 96), ("test", 24), ("new", 8)):
        lines = ["photo,note,price,label"]
        for row in range(rows):
            label = int(rng.integers(2))
            photo = f"photos/{name}{row}.png"
            pixels = rng.integers(0, 90, (16, 16, 3)) + 120 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / photo)
            note = rng.choice((["a dark night", "late and dim"], ["a bright day", "sun"])[label])
            price = f"{rng.normal(label):.3f}"
            lines.append(f"{photo},{note} {row % 7},{price},{('night', 'day')[label]}")
        if name == "new":
            lines = [line.rpartition(",")[0] for line in lines]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


RUNNABLE = [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))]


class Here(subprocess.Popen):  # type: ignore[type-arg]
    """A run of a comparison in this process, in the place of a process of its own."""

    def __init__(self, argument: dict[str, Any], log: Path) -> None:
        from plait.experiments.comparison import run

        super().__init__(["true"], stdin=subprocess.PIPE)
        run.main(json.dumps(argument))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, few_resamples: None) -> None:
    """Fits of an epoch where a page asks for no number, reports on a few rows, and no process for each
    command or run.

    What a fresh process does is tested in test_cli.py and tests/experiments/comparison.
    """
    import plait.training.fit
    from plait.experiments.comparison import jobs
    from plait.insight.report import report

    few = report.Limits(
        rows=8, degraded=2, levels=(0.0, 1.0), checked=2, examples=1, steps=1, resamples=3
    )
    monkeypatch.setattr(report, "BRIEF", few)
    monkeypatch.setattr(report, "Limits", lambda: few)

    monkeypatch.setattr(plait.training.fit, "EPOCHS", dict.fromkeys(plait.training.fit.EPOCHS, 1))
    monkeypatch.setattr(plait.training.fit, "STEPS", dict.fromkeys(plait.training.fit.STEPS, 1))
    monkeypatch.setattr(jobs, "launch", Here)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short: None,
    unchecked_shapes: None,  # `plait export` traces, and shape checks would pin what it traces
    run: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_tables(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            # The empty lines make a traceback name the line of the page.
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            exec(code, namespace)
        else:
            for arguments in plait_commands(block.code):
                status, out, err = run(*arguments)
                place = f"{page.name}, block at line {block.line}: plait {shlex.join(arguments)}"
                assert status == 0, f"{place}\n{out}{err}"


PAGE = """# A page

<!-- setup
rows = 3
-->

```python
assert rows == 3
```

<!-- no-run -->
```python
raise SystemExit
```

```sh
make demo
plait fit train.csv \\
    --target label   # a remark
```
"""


def test_blocks_are_found_in_order() -> None:
    setup, python, shell = blocks(PAGE)
    assert (setup.code, setup.line) == ("rows = 3\n", 4)
    assert (python.code, python.line) == ("assert rows == 3\n", 8)
    assert plait_commands(shell.code) == [["fit", "train.csv", "--target", "label"]]


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.name)
def test_a_translation_shows_the_same_code(page: Path) -> None:
    """So what runs in the original runs there too."""

    def shown(path: Path) -> list[str]:
        found = blocks(path.read_text(encoding="utf-8"))
        return [re.sub(r"\s+#.*", "", block.code) for block in found]

    assert shown(page) == shown(ROOT / "README.md")


@pytest.mark.parametrize("page", [*PAGES, *TRANSLATIONS], ids=lambda page: page.name)
def test_numbers_of_a_page_have_a_leading_zero(page: Path) -> None:
    bare = re.findall(r"(?<=[ (±+−])\.\d+", page.read_text(encoding="utf-8"))
    assert not bare, f"write 0{bare[0]}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *TRANSLATIONS], ids=lambda page: page.name)
def test_the_picture_shows_what_the_readme_prints(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    name = re.search(r'src="(docs/picture[^"]*)"', text)
    assert name is not None
    title = (ROOT / name[1]).read_text(encoding="utf-8").partition("<title>")[2].partition("<")[0]
    drawn = re.findall(r"\d\.\d{3}", title)
    assert len(drawn) == 4
    assert re.findall(r"'\w+': (\d\.\d{3})", text) == drawn


def test_the_page_on_reports_names_the_sections_as_a_report_does() -> None:
    table = (
        (ROOT / "docs/report.md").read_text(encoding="utf-8").partition("| section | contents")[2]
    )
    titles = re.findall(r"^\| ([A-Z][^|]+) \|", table.partition("\n\n")[0], flags=re.MULTILINE)
    folder = ROOT / "src/plait/insight/report"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert len(titles) == 9
    missing = [title for title in titles if f'say("{title}"' not in source]
    assert not missing, f"no section of a report is called {missing}"


def test_docs_build_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(tmp_path / "html")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    options = (tmp_path / "html" / "options.html").read_text(encoding="utf-8")
    assert "max_image_megapixels" in options
    api = (tmp_path / "html" / "api.html").read_text(encoding="utf-8")
    missing = {name for name in plait.__all__ if f">{name}</span>" not in api}
    assert not missing, f"docs/api.md does not list {sorted(missing)}"
