"""The facts of a machine and an installation."""

import platform

import plait
from plait.cli import checks


def test_the_facts(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PLAIT_CACHE_GB", "3")
    facts = checks.gather()
    assert list(facts) == ["Machine", "Packages", "Extras", "Cache"]
    assert facts["Machine"]["python"] == platform.python_version()
    assert facts["Machine"]["device"].endswith(")")
    assert facts["Machine"]["threads"].endswith(" cores available to this process")
    assert facts["Packages"]["plait"] == plait.__version__
    assert all(value[0].isdigit() for value in facts["Packages"].values())
    assert facts["Cache"] == {
        "folder": str(tmp_path / "cache"),
        "holds": "0 entries, 0.0 MB",
        "cap": "3 GB (PLAIT_CACHE_GB)",
    }
    assert all(isinstance(value, str) for group in facts.values() for value in group.values())


def test_without_torch(monkeypatch):
    def absent(asked):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(checks, "choose_device", absent)
    assert checks.gather()["Machine"]["device"] == "cpu (torch is not installed)"


def test_what_is_missing_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(checks, "CORE", ("torch", "no-such-package"))
    monkeypatch.setattr(
        checks, "EXTRAS", {"hf": ("no-such-package", "Hugging Face datasets as tables")}
    )
    facts = checks.gather()
    assert facts["Packages"]["no-such-package"] == "missing: reinstall plait"
    assert facts["Extras"] == {
        "hf": 'not installed; for Hugging Face datasets as tables: pip install "plait[hf]"'
    }
    assert checks.installed("no-such-package") is None
