"""The reference has every public name, and the page on the design every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import yoton

ROOT = Path(__file__).parents[2]
REFERENCE = "".join(
    page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.rst"))
)
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
ROOMS = [
    path.relative_to(ROOT / "yoton")
    for path in sorted((ROOT / "yoton").rglob("*.py"))
    if not path.name.startswith("_")
]


@pytest.mark.parametrize("name", [name for name in yoton.__all__ if not name.startswith("_")])
def test_a_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^\.\. \w+:: (yoton\.)?{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_is_on_the_page_on_the_design(room: Path) -> None:
    assert re.search(rf"^ +{room.name} ", DESIGN, re.MULTILINE)
