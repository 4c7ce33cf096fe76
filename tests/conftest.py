"""What every test needs: checked tensor shapes, a private cache, one thread, no network, one seed."""

import ipaddress
import os
import random
import socket
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

import numpy as np
import pytest
from jaxtyping import install_import_hook
from jaxtyping._import_hook import _JaxtypingLoader

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


# Every signature of plait is checked while the tests run; this has to happen before plait is imported.
# The tower lets an int pass for a float, as mypy does.
_JaxtypingLoader.get_code = _compile_anew
_JaxtypingLoader.exec_module = SourceFileLoader.exec_module
install_import_hook("plait", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Read by torch, NumPy and the Hugging Face libraries when they are imported, here or in a child process.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "COLUMNS": "200",
    "NO_COLOR": "1",
}
os.environ.pop("FORCE_COLOR", None)


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
def rng() -> np.random.Generator:
    """A generator with a fixed seed, for tests that make their own data."""
    return np.random.default_rng(0)
