"""A short soak, and the same with a planted leak. The long one is `make soak`."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import soak


@pytest.mark.slow
def test_memory_stays_and_a_leak_is_caught(app, capsys, monkeypatch):
    # Nine seconds are mostly warm-up, so growth of a few per cent is no news here.
    monkeypatch.setattr(soak, "GROWTH", 0.05)
    assert soak.main([str(app), "--minutes", "0.15"]) == 0
    assert soak.main([str(app), "--minutes", "0.1", "--leak"]) == 1
    told = capsys.readouterr().out
    assert told.count("alive at the end, exit status 0") == 2


def test_growth_is_of_the_second_half():
    flat = np.full(100, 50.0)
    assert soak.growth(flat) == 0
    warm = np.concatenate([np.linspace(10, 50, 50), flat[:50]])
    assert soak.growth(warm) == 0
    assert soak.growth(np.linspace(50, 60, 100)) > soak.GROWTH
