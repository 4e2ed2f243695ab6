"""The examples of the README and of the manual do what the pages say.

A ``python`` block is run, after those before it on its page, in one namespace. What it prints
stands in a ``text`` block right behind it; a block without one prints nothing. Nothing may come
out on stderr: no warning, no traceback, no log message. Other blocks are not looked at.

As a program (``python tests/docs/test_examples.py PAGE``) this file runs the examples of one
page; the tests call it so, because an example that hangs has to be ended.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Seconds for all examples of a page; they take a few on a machine that has nothing else to do.
PAGE_DEADLINE = 50.0

_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block of a page; line is the number of its first line."""

    info: str
    text: str
    line: int


class Example(NamedTuple):
    """Code, and what it is to print."""

    code: str
    output: str
    line: int


def blocks_of(page: str) -> Iterator[tuple[Block, bool]]:
    """Get the blocks of a page, and of each whether it follows right behind the one before."""
    end = 0
    for match in _FENCED.finditer(page):
        line = page.count("\n", 0, match.start("text")) + 1
        block = Block(match["info"].strip(), textwrap.dedent(match["text"]), line)
        yield block, not page[end : match.start()].strip()
        end = match.end()


def examples_of(page: str) -> list[Example]:
    examples: list[Example] = []
    is_code_before = False
    for block, is_adjacent in blocks_of(page):
        if block.info == "python":
            examples.append(Example(block.text, "", block.line))
        elif block.info == "text" and is_code_before and is_adjacent:
            examples[-1] = examples[-1]._replace(output=block.text)
        is_code_before = block.info == "python"
    return examples


def run_examples(path: str) -> None:
    """Run the examples of a page; an AssertionError says what is not as the page says."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for example in examples_of(Path(path).read_text(encoding="utf-8")):
        # So that tracebacks show the lines of the page.
        code = compile("\n" * (example.line - 1) + example.code, path, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(code, namespace)
        printed = stdout.getvalue()
        assert printed == example.output, (
            f"{path}, line {example.line}: the example prints\n{printed}\nnot\n{example.output}"
        )


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_examples_print_what_the_page_shows(page: Path) -> None:
    command = [sys.executable, "-W", "error", "-X", "faulthandler", __file__, str(page)]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            _, errors = child.communicate(timeout=PAGE_DEADLINE)
        except BaseException:
            # With the processes that the examples have started.
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if child.returncode or errors:
        pytest.fail(errors or f"exit code {child.returncode}", pytrace=False)


def test_a_text_block_belongs_to_the_code_right_before_it() -> None:
    page = "```python\na\n```\n\n```text\n1\n```\n\n```python\nb\n```\nwords\n```text\n2\n```\n"
    assert examples_of(page) == [Example("a\n", "1\n", 2), Example("b\n", "", 10)]


def test_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    shell = [
        b.text
        for b, _ in blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
        if b.info == "sh"
    ]
    commands = re.findall(r"^make ([a-z-]+)", "".join(shell), re.MULTILINE)
    assert set(commands) >= {"demo", "test"}
    assert set(commands) <= set(targets)


if __name__ == "__main__":
    run_examples(sys.argv[1])
