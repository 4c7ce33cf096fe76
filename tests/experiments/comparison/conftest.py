"""Made-up figures of many methods, as tables and pages get them."""

import numpy as np
import pytest

from plait.experiments.comparison.rows import Row

STREAMS = ("image", "audio", "<script>alert(1)</script>", "tabular")


def made_rows(count, *, failed=True):
    """So many fusions, the streams alone, a constant, and one that failed."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        mean = float(0.93 - 0.002 * number + rng.normal(0, 0.003))
        better = float(mean - 0.9)
        rows.append(
            Row(
                "concat" if number == 3 else f"method{number:02d}",
                "fusion",
                seeds=3,
                mean=mean,
                std=0.012,
                low=mean - 0.02,
                high=mean + 0.018,
                difference=float("nan") if number == 3 else better,
                difference_low=better - 0.01,
                difference_high=better + 0.01,
                p=float("nan") if number == 3 else 0.004,
                p_holm=float("nan") if number == 3 else min(1.0, 0.01 * number),
                parameters=float(400_000 * (1 + 0.4 * rng.random() + (number % 9 == 0))),
                fusion_parameters=float(30_000 * (1 + rng.random())),
                flops=2.1e7,
                fusion_flops=1e6,
                rows_per_second=220.0,
                epochs=8.0,
                latency_ms=float(10 + 3 * rng.random()),
                forward_ms=4.2,
                metrics={"balanced_accuracy": mean, "log_loss": 0.3},
                without={name: mean - 0.05 * place for place, name in enumerate(STREAMS)},
                gaps={"0.25": mean - 0.08, "0.5": mean - 0.2 - 0.004 * number, "0.75": 0.5},
            )
        )
    for place, name in enumerate(STREAMS):
        value = 0.75 - 0.1 * place
        seen = dict.fromkeys(STREAMS, value) | {name: 0.1}
        gaps = {"0.25": 0.5, "0.5": 0.4, "0.75": 0.2}
        rows.append(
            Row(f"{name} alone", "alone", 3, value, 0.01, value - 0.02, value + 0.02,
                value - 0.9, value - 0.95, value - 0.85, without=seen, gaps=gaps)
        )  # fmt: skip
    rows.append(Row("majority", "constant", 1, 0.1, low=0.1, high=0.1))
    if failed:
        rows.append(Row("broken", "fusion", problems=["seed 0: [red]no <b>room</b>\nat all"]))
    return rows


@pytest.fixture
def many():
    """45 fusions and the baselines."""
    return made_rows(45)


@pytest.fixture
def few():
    """Four fusions and the baselines."""
    return made_rows(4)


@pytest.fixture
def about():
    """What `compare` says about itself."""
    return {
        "source": "train <b>.csv",
        "test": "test.csv",
        "target": "<script>alert(2)</script>",
        "kind": "multiclass",
        "metric": "balanced_accuracy",
        "others": [],
        "rows": {"train": 3400, "validation": 600, "test": 1000},
        "streams": {"image": "resnet"},
        "seeds": "0 to 2",
        "jobs": 16,
        "resamples": 10_000,
        "reference": "concat",
        "controls": ["encoders: image → resnet", "batches: the same rows in the same order"],
        "notes": ["column 'a<b>' is odd"],
        "options": {"preset": "fast", "note": "<i>"},
        "made": {"plait": "0.1.0", "commit": "abc", "machine": "a machine"},
    }
