"""Which device, how many threads."""

import os
from pathlib import Path

import pytest
import torch

from plait import devices
from plait.errors import ConfigError


def machine(monkeypatch, *, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "found", "reason"),
    [
        (0, False, "cpu", "no GPU was found"),
        (2, False, "cuda", "the fastest device available"),
        (0, True, "mps", "the fastest device available"),
    ],
)
def test_auto_takes_the_fastest_and_says_why(monkeypatch, cuda, mps, found, reason):
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert devices.choose_device("auto") == (found, reason)


@pytest.mark.parametrize("asked", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_device_that_exists_is_taken_as_asked(monkeypatch, asked):
    machine(monkeypatch, cuda=2, mps=True)
    assert devices.choose_device(asked) == (asked, "as requested")


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "mps", "gpu"])
def test_a_device_that_does_not_exist_is_refused(monkeypatch, asked):
    machine(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        devices.choose_device(asked)
    assert f"device='{asked}': this machine has only cpu." in str(caught.value)


@pytest.mark.parametrize(
    ("quota", "allowed"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_cores_heed_the_containers_share(monkeypatch, quota, allowed):
    def read(self, **_):
        if quota is None:
            raise FileNotFoundError(self)
        return quota

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(Path, "read_text", read)
    assert devices.cores() == allowed
    assert devices.compute_threads() == max(1, allowed // 2)


def test_cores_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert devices.cores() == 1


def test_threads_are_given_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), devices.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
