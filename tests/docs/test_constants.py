"""The constants that the manual names have the values that it gives.

They stand in tables whose first column has the full name of a constant and whose second one its
value, both as code.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import yoton
from yoton import tagged

DOCS = Path(__file__).parents[2] / "docs"
_ROW = re.compile(r"^\| `(yoton(?:\.\w+)+)\.(\w+)` \| `([^`]+)` \|", re.MULTILINE)

CONSTANTS = [
    row
    for page in sorted(DOCS.glob("*.md"))
    for row in _ROW.findall(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("module", "name", "value"), CONSTANTS)
def test_a_constant_has_the_value_in_the_manual(module: str, name: str, value: str) -> None:
    assert getattr(importlib.import_module(module), name) == eval(value, {})


WIRE = (DOCS / "wire.md").read_text(encoding="utf-8")
PATTERNS = re.findall(r"^\| (\w+Channel) \| `([a-z-]+)` \| `([a-z-]+)` \|", WIRE, re.MULTILINE)
TAGS = re.findall(r"^\| `(\w)` \| (\w+) \|", WIRE, re.MULTILINE)


@pytest.mark.parametrize(("channel", "sends_on", "receives_on"), PATTERNS)
def test_a_channel_has_the_patterns_in_the_manual(
    channel: str, sends_on: str, receives_on: str
) -> None:
    cls = getattr(yoton, channel)
    assert (cls._pattern_out, cls._pattern_in) == (sends_on, receives_on)


@pytest.mark.parametrize(("tag", "name"), TAGS)
def test_a_tag_stands_for_the_type_in_the_manual(tag: str, name: str) -> None:
    assert ord(tag) == getattr(tagged, name.upper())


def test_all_patterns_and_tags_are_in_the_manual() -> None:
    assert len(PATTERNS) == 5
    assert {ord(tag) for tag, _ in TAGS} == tagged.TAGS


def test_constants_are_found() -> None:
    assert len(CONSTANTS) > 20
