"""What every test needs: checked tensor shapes, a private cache, one thread, no network, one seed."""

import collections
import gc
import ipaddress
import json
import os
import random
import socket
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import fuzz
import graph_cache
import numpy as np
import pytest
from jaxtyping import config, install_import_hook

if any(name.partition(".")[0] == "plait" for name in sys.modules):
    raise RuntimeError("plait was imported before tests/conftest.py could check its signatures")


def _compile_anew(self: SourceFileLoader, name: str) -> CodeType:
    """Code of a checked module, past Python's cache of compiled files.

    jaxtyping's loader gives compiled files another name while it loads a module, and whatever that
    module imports, all of torch too, is compiled anew under that name: many seconds a run where Python
    may not write its cache. Our own modules are small enough to compile each time instead.
    """
    path = self.get_filename(name)
    return self.source_to_code(self.get_data(path), path)


def _execute(self: SourceFileLoader, module: ModuleType) -> None:
    """Run a checked module; the exporter looks into the cache of graphs from then on.

    The report at the end of a fit looks at next to nothing; tests/insight/report looks at reports.
    """
    SourceFileLoader.exec_module(self, module)
    if module.__name__ == "plait.export.convert":
        graph_cache.install(module)
    elif module.__name__ == "plait.insight.report.report":
        vars(module)["BRIEF"] = vars(module)["Limits"](
            rows=8, degraded=2, levels=(0.0, 1.0), checked=0, examples=1, steps=1, resamples=3
        )


# Every signature of plait is checked while the tests run; this has to happen before plait is imported.
# The tower lets an int pass for a float, as mypy does. The loader's class has no public name: it is the
# one that the hook gives.
install_import_hook("plait", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
_checked: Any = find_spec("plait")
_loader = type(_checked.loader)
_loader.get_code = _compile_anew
_loader.exec_module = _execute

fuzz.register()

# Python's collector walks everything that torch and the tests keep alive, for every few hundred new
# objects; a tracer makes millions that live briefly.
gc.set_threshold(20_000, 20, 50)

# Read by torch, NumPy and the Hugging Face libraries when they are imported, here or in a child process.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "COLUMNS": "200",
    "NO_COLOR": "1",
}
os.environ.pop("FORCE_COLOR", None)


HEAVY = (
    "export/test_registry.py",
    "training/test_pretrained_fit.py",
    "training/test_pretrain.py",
    "training/test_loop.py",
    "export/test_runtime.py",
    "training/compress/test_compress.py",
    "insight/explain/test_within.py",
    "insight/explain/test_sanity.py",
    "test_sklearn.py",
    "test_docs.py",
    "insight/explain/test_explanation.py",
    "test_video_rows.py",
    "test_pipeline.py",
    "training/test_closed_form.py",
    "model/parts/test_fusion.py",
    "experiments/comparison/test_compare.py",
)
"""Files that take longest, first: a worker that took one of them last would end minutes after the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The heavy files first, the others in their order."""
    place = {name: number for number, name in enumerate(HEAVY)}
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        return place.get(item.path.relative_to(root).as_posix(), len(HEAVY))

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The files that took longest, as `HEAVY` should have them."""
    seconds: collections.Counter[str] = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("slowest 10 files")
    for name, total in seconds.most_common(10):
        terminalreporter.line(f"{total:.1f}s {name}")


def pytest_sessionfinish() -> None:
    """Graphs of code that is gone do not pile up."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        graph_cache.prune()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the store of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIT_CACHE", str(tmp_path_factory.mktemp("plait-cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A test that opens a connection to another machine fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise AssertionError(f"a test tried to connect to {address!r}; tests use no network")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def seeded() -> Iterator[int]:
    """Each test starts from the same random state, on one thread, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)
    yield 0
    if (torch := sys.modules.get("torch")) and torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Without checks of tensor shapes: they would pin the symbolic sizes of torch.export."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def unwatched(unchecked_shapes: None) -> Iterator[None]:
    """Without shape checks and without coverage, which more than double what torch.export takes.

    For tests that run lines which plain, watched calls run elsewhere.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, for tests that make their own data."""
    return np.random.default_rng(0)


# The makers below write tiny tables with real media; the tests of whole runs share what is fitted on them.

WORDS = {"a": "apple orchard", "b": "brick tower", "c": "cloudy sky"}
NEEDED = ("photo", "note", "voice", "price", "shop", "day", "pulse")


class Maker:
    """Writes tables whose every column says which of three classes a row is."""

    @staticmethod
    def image(path: Path, tone: int, rng: np.random.Generator) -> bytes:
        """A 16 px PNG or JPEG of about one brightness; returns its bytes."""
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(tone, tone + 60, (16, 16, 3)).astype(np.uint8)).save(path)
        return path.read_bytes()

    @staticmethod
    def sound(path: Path, tone: float, rng: np.random.Generator) -> bytes:
        """0.2 s of a tone at 8 kHz; returns its bytes."""
        import soundfile

        wave = 0.3 * np.sin(2 * np.pi * tone * np.arange(1600) / 8000) + rng.normal(0, 0.01, 1600)
        soundfile.write(path, wave, 8000)
        return path.read_bytes()

    def rows(
        self, folder: Path, count: int, *, seed: int = 0, gaps: float = 0.0
    ) -> list[dict[str, Any]]:
        """Rows of every modality, with media below ``folder``; a share of the cells is missing."""
        rng = np.random.default_rng(seed)
        made = []
        for number in range(count):
            kind = number % 3
            name = f"media/{seed}-{number}"
            self.image(folder / f"{name}.png", 70 * kind, rng)
            self.sound(folder / f"{name}.wav", 300 + 700 * kind, rng)
            np.save(folder / f"{name}.npy", rng.normal(kind, 0.5, (32, 2)).astype(np.float32))
            row: dict[str, Any] = {
                "photo": f"{name}.png",
                "note": f"{list(WORDS.values())[kind]} seen {rng.integers(100)} times",
                "voice": f"{name}.wav",
                "price": round(float(rng.normal(3 * kind, 1)), 3),
                "shop": ("north", "south", "west")[kind if rng.random() < 0.8 else 0],
                "day": f"2024-{1 + kind:02d}-{rng.integers(1, 28):02d}",
                "pulse": f"{name}.npy",
            }
            for key in NEEDED:
                if rng.random() < gaps:
                    row[key] = None
            row |= {
                "label": "abc"[kind],
                "score": round(kind + float(rng.normal(0, 0.2)), 3),
                "tags": ";".join(["red", "green", "blue"][: kind + 1]),
            }
            made.append(row)
        return made

    def csv(self, folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
        """The rows as a CSV file."""
        import csv

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    def plain(self, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Rows without media: a number, a category, a note and a label."""
        rng = np.random.default_rng(seed)
        return [
            {
                "price": round(float(rng.normal(3 * (n % 2), 1)), 3),
                "shop": ("north", "south")[n % 2 if rng.random() < 0.8 else 0],
                "note": f"{('cheap thing', 'dear piece')[n % 2]} number {rng.integers(1000)} here",
                "label": ("no", "yes")[n % 2],
            }
            for n in range(count)
        ]

    @staticmethod
    def fit(source: Any, target: Any, **options: Any) -> Any:
        """A quick fit: the fast preset, one epoch, and few bootstrap resamples."""
        import plait.answers.evaluation
        import plait.pipeline

        whole = plait.answers.evaluation.bootstrap
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                plait.answers.evaluation,
                "bootstrap",
                lambda *args, **named: whole(*args, **{**named, "resamples": 3}),
            )
            quick: dict[str, Any] = {"preset": "fast", "epochs": 1, "batch_size": 16, "threads": 1}
            quick["report"] = "off"
            return plait.pipeline.fit(source, target, **{**quick, **options})


@pytest.fixture(scope="session")
def maker() -> Maker:
    """Makes tiny tables, and fits quickly."""
    return Maker()


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals from three resamples, for tests that evaluate and do not look at the intervals."""
    import plait.answers.evaluation

    whole = plait.answers.evaluation.bootstrap
    monkeypatch.setattr(
        plait.answers.evaluation,
        "bootstrap",
        lambda *args, **named: whole(*args, **{**named, "resamples": 3}),
    )


@pytest.fixture(scope="session")
def braid(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv and test.csv of every modality, a tenth of the cells missing."""
    folder = tmp_path_factory.mktemp("braid")
    maker.csv(folder, "train.csv", maker.rows(folder, 72, seed=1, gaps=0.1))
    maker.csv(folder, "test.csv", maker.rows(folder, 24, seed=2, gaps=0.1))
    return folder


@pytest.fixture(scope="session")
def fitted(maker: Maker, braid: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model of `braid`'s label and the folder it is saved to. Do not change either."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    model = maker.fit(
        braid / "train.csv", "label", out=out, epochs=4, ignore=("score", "tags"), golden_rows=3
    )
    return model, out


@pytest.fixture(scope="session")
def plain_run(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model of a table without media, which fits in a moment. Do not change either."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return maker.fit(maker.plain(40), "label", out=out, golden_rows=2), out


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process; returns the exit code and both streams."""

    from plait.cli import main as cli

    def call(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["plait", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        told = capsys.readouterr()
        assert "Traceback" not in told.err + told.out
        return code, told.out, told.err

    return call


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs of a comparison happen in this process, and resamples are few; the jobs that were run."""
    from plait.data.targets.registry import KINDS
    from plait.experiments.comparison import compare, data, run
    from plait.experiments.comparison.jobs import finished, path_of
    from plait.sealed import write_whole

    done: list[Any] = []

    def run_all(folder: Any, jobs: Any, parallel: Any, reporter: Any) -> list[Any]:
        ready = data.load(folder)
        results = []
        for job in jobs:
            found = finished(folder, job)
            if found is None:
                done.append(job)
                found = run.attempt(ready, job)
                path_of(folder, job).parent.mkdir(exist_ok=True)
                write_whole(path_of(folder, job), json.dumps(found))
            results.append(found)
        return results

    monkeypatch.setattr(compare, "run_all", run_all)
    monkeypatch.setattr(compare, "time_rows", lambda folder, jobs, reporter: {})
    for kind in dict.fromkeys(KINDS.values()):
        monkeypatch.setattr(kind, "resamples", 50)
    return done
