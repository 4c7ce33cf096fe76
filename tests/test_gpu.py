"""The same answers and the same training on a GPU; runs only where there is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints_image_text import save_text

import plait
from plait.data.features import settings_for
from plait.data.table.source import open_table

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def table(rows: int = 200) -> list[dict[str, object]]:
    """Text and numbers that give the class away together."""
    generator = np.random.default_rng(0)
    words = ["calm sea", "rough sea"]
    made: list[dict[str, object]] = []
    for _ in range(rows):
        word, number = int(generator.integers(2)), float(generator.normal())
        label = "yes" if (word == 1) == (number > 0) else "no"
        made.append({"words": words[word], "number": number, "label": label})
    return made


def test_a_fit_on_the_gpu_learns_and_answers_as_on_the_processor(tmp_path: Path) -> None:
    rows = table()
    model = plait.fit(
        rows, "label", device="cuda", epochs=30, preset="fast", lr=3e-3, out=tmp_path / "a"
    )
    loaded = plait.load(tmp_path / "a")
    assert model.evaluate(rows)["accuracy"] > 0.9
    np.testing.assert_allclose(
        model.predict_proba(rows[:20]), loaded.predict_proba(rows[:20]), atol=1e-5
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_each_precision_trains(precision: str) -> None:
    model = plait.fit(
        table(), "label", device="cuda:0", epochs=3, preset="fast", precision=precision
    )
    assert np.isfinite(model.predict_proba(table(8))).all()


def test_a_run_broken_off_on_the_gpu_goes_on(tmp_path: Path) -> None:
    asked = {"preset": "fast", "epochs": 3, "device": "cuda", "precision": "fp32"}
    whole = plait.fit(table(), "label", out=tmp_path / "whole", **asked)
    with pytest.raises(KeyboardInterrupt):
        plait.fit(table(), "label", out=tmp_path / "b", progress=_StopsAt(5), **asked)
    resumed = plait.fit(table(), "label", out=tmp_path / "b", resume=True, **asked)
    np.testing.assert_allclose(
        whole.predict_proba(table(8)), resumed.predict_proba(table(8)), atol=1e-3
    )


class _StopsAt:
    """A reporter that presses Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def note(self, text: str) -> None:
        """Say nothing."""

    def stage(self, title: str, total: int, unit: str) -> "_StopsAt":
        """The same reporter counts every stage."""
        self.title = title
        return self

    def __enter__(self) -> "_StopsAt":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def advance(self, count: int, **shown: float) -> None:
        """One step of the training."""
        if self.title == "train" and count and shown:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["frozen", "lora", "full"])
def test_a_pretrained_encoder_runs_and_learns_on_the_gpu(tmp_path: Path, how: str) -> None:
    folder = save_text(tmp_path / "bert", "bert")
    asked = {
        "preset": "fast",
        "epochs": 2,
        "encoders": {"words": str(folder)},
        "tune": {"words": how},
    }
    columns = {"words": "text"}
    model = plait.fit(
        table(60), "label", device="cuda", columns=columns, out=tmp_path / "a", **asked
    )
    loaded = plait.load(tmp_path / "a")  # answers on the processor
    np.testing.assert_allclose(
        model.predict_proba(table(8)), loaded.predict_proba(table(8)), atol=1e-4
    )


def test_frozen_tokens_of_the_gpu_are_those_of_the_processor(tmp_path: Path) -> None:
    folder = save_text(tmp_path / "bert", "bert")
    model = plait.fit(
        *(table(60), "label"),
        preset="fast",
        epochs=1,
        columns={"words": "text"},
        encoders={"words": str(folder)},
        device="cpu",
    )
    opened = open_table(table(60))
    prepared = model.features.prepare(opened, settings_for(opened, model.config))
    rows = np.arange(60)
    one, other = (
        model.frozen.encode(prepared, device=device).columns["words"].batch(rows)[0]
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(one, other, atol=5e-3)
