"""docs/fusion-catalogue.md has a section for every fusion, with a block that uses it.

tests/test_docs.py runs the blocks.
"""

import re
from pathlib import Path

import pytest

from plait.model.fusion import FUSIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs/fusion-catalogue.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_has_a_section_with_a_block_that_uses_it(name: str) -> None:
    assert name in SECTIONS, f"docs/fusion-catalogue.md has no section '### `{name}`'"
    blocks = re.findall(r"^```python\n(.*?)^```$", SECTIONS[name], flags=re.DOTALL | re.MULTILINE)
    use = f"plait.fusion.{FUSIONS[name].__name__}("
    assert any(use in block for block in blocks), f"no block of the section {name} has {use}...)"


@pytest.mark.parametrize("name", FUSIONS)
def test_every_section_says_formula_paper_and_use(name: str) -> None:
    points = re.findall(r"^\* (Formula|Paper|Use)\b", SECTIONS[name], flags=re.MULTILINE)
    assert points == ["Formula", "Paper", "Use"]


def test_no_method_has_two_sections() -> None:
    names = re.findall(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE)
    assert len(names) == len(set(names))
