"""The hand-written fusions say what plait's say, and the measurement compares the two."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import fusion_speed  # noqa: E402
from benchmarks.context import Bench  # noqa: E402
from benchmarks.data import Finder  # noqa: E402
from benchmarks.functional import REFERENCES  # noqa: E402
from benchmarks.runs import Runs  # noqa: E402
from plait.model.fusion import FUSIONS, build_fusion  # noqa: E402
from plait.model.tokens import Tokens  # noqa: E402


def bench(tmp_path: Path, said: list[str]) -> Bench:
    runs = Runs(1, {}, lambda: None, said.append)
    return Bench(Finder(tmp_path, tmp_path), runs, tmp_path, 1, True, said.append)


def test_references_are_of_registered_fusions() -> None:
    assert REFERENCES.keys() <= FUSIONS.keys()


@pytest.mark.parametrize("streams", [2, 4])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_hand_written_fusion_says_the_same(name: str, streams: int) -> None:
    widths = {f"s{number}": 4 + number for number in range(streams)}
    part = build_fusion(name, widths, width=16, dropout=0.0).eval()
    with torch.no_grad():  # what starts as zero or one could be forgotten unseen
        for weight in part.parameters():
            weight += 0.1 * torch.randn_like(weight)
    values = [torch.randn(9, 3, width) for width in widths.values()]
    masks = [(torch.rand(9, 3) < 0.7) & (torch.rand(9, 1) < 0.6) for _ in widths]
    for mask in masks:
        mask[0], mask[1] = False, True
    tokens = {
        key: Tokens(value, mask) for key, value, mask in zip(widths, values, masks, strict=True)
    }
    got = REFERENCES[name](part.state_dict(), values, masks)
    torch.testing.assert_close(got, part(tokens).vector, atol=1e-5, rtol=1e-5)


def test_a_line_compares_with_the_reference(tmp_path: Path) -> None:
    said: list[str] = []
    line = fusion_speed.line("mlb", bench(tmp_path, said))
    assert line.name == "fusion speed, mlb"
    assert line.value is not None
    assert line.value > 0
    assert line.ratio is not None
    assert str(line.promise) == "ratio ≤ 1.2"
    assert said[0].startswith("  mlb: ")
    assert "by hand" in said[0]


def test_a_fusion_without_a_reference_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(REFERENCES, "concat")
    line = fusion_speed.line("concat", bench(tmp_path, []))
    assert (line.against, line.ratio, line.verdict) == ("no reference", None, "for information")


def test_a_wrong_reference_stops_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REFERENCES, "concat", lambda w, values, masks: values[0].sum(dim=1))
    with pytest.raises(AssertionError, match="not close"):
        fusion_speed.line("concat", bench(tmp_path, []))


def test_steps_are_timed_in_turn_after_warming_up() -> None:
    calls: list[str] = []
    steps = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = fusion_speed.in_turn(steps, turns=3, warm=2)
    assert calls == ["a", "b"] * 5
    assert [len(one) for one in times] == [3, 3]
