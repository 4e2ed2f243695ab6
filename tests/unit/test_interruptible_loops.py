"""Ctrl-C finds no loop that skips the end of a `with` or a `finally`.

From Python 3.12 on, the jump back of a loop with a condition lies outside of the block that the
loop is directly in. An interrupt that comes there leaves a lock held, or skips what has to be
done in the end. Loops without a condition, and those in a function of their own, do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import yoton

ROOT = Path(yoton.__file__).parent

_BLOCKS = (ast.With, ast.Try)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def loops_in_blocks(node: ast.AST, is_in_block: bool = False) -> Iterator[int]:
    """Get the lines of loops with a condition that are in a block of the same function."""
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.While)
            and is_in_block
            and not isinstance(child.test, ast.Constant)
        ):
            yield child.lineno
        is_inside = is_in_block or isinstance(child, _BLOCKS)
        yield from loops_in_blocks(child, is_inside and not isinstance(child, _SCOPES))


def test_such_a_loop_is_found() -> None:
    code = "def f():\n with a:\n  while b:\n   c()\n  def g():\n   while b:\n    c()"
    assert list(loops_in_blocks(ast.parse(code))) == [3]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.stem)
def test_no_loop_with_a_condition_is_in_a_block(path: Path) -> None:
    assert list(loops_in_blocks(ast.parse(path.read_text("utf-8")))) == []
