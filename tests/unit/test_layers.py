"""The house has floors: a module imports from the floors below its own, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import yoton

#: From the ground up. Modules on one floor do not know each other.
FLOORS = """
_version exceptions hashing record seen sharing connection.busy
clock
waiting package address misfit arrays request_line
gaps
queues marks routing interest numbering tagged packed client_loop workers traffic
message_types clientserver entry
directory

connection.framing connection.handshake connection.heartbeat connection.streams connection.outbox
connection.session connection.reconnecting connection.liveness connection.traffic
connection.fault_plan connection.protocol connection.memory connection.spin
connection.faults connection.reader connection.silence connection.writer connection.transports
connection.threaded
connection.accepting

events.callbacks
events.scheduler
events.queue events.repeating
events.signals
events.timers
events

burst connection.diagnosis connection.returning
connection.base
connection.joining announcing
connection.listener
connection

neighbours slots
demand ending
arrivals
context
testing

channels.condition channels.sync channels.replier_status channels.negotiation
channels.error_replies channels.exporting
channels.forked_output channels.coalescing channels.outgoing
channels.base channels.future channels.runners
channels.publishing channels.subscribing channels.state channels.negotiating
channels.file channels.simple_socket channels.requesting channels.replying
channels
"""

#: The floor of each module, counted from the ground.
HEIGHT = {
    name: height for height, floor in enumerate(FLOORS.splitlines()) for name in floor.split()
}

#: Modules that decide and do nothing: no line, thread, lock or clock.
PURE = {
    "routing",
    "seen",
    "interest",
    "numbering",
    "entry",
    "directory",
    "gaps",
    "traffic",
    "connection.framing",
    "connection.handshake",
    "connection.heartbeat",
    "connection.liveness",
    "connection.protocol",
    "connection.fault_plan",
    "connection.traffic",
    "channels.negotiation",
    "channels.replier_status",
    "channels.sync",
}
IMPURE = {
    "asyncio",
    "select",
    "selectors",
    "socket",
    "threading",
    "time",
    "yoton.clock",
    "yoton.connection.outbox",
    "yoton.connection.streams",
    "yoton.queues",
    "yoton.waiting",
}

#: Requests over TCP stand beside the rest, which does not use them.
BESIDE = {"request_line", "client_loop", "clientserver"}

ROOT = Path(yoton.__file__).parent


def module_name(path: Path) -> str:
    """Get the name of a module below the package; "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}

modules = pytest.mark.parametrize("module", [name for name in SOURCES if name])


def imports(module: str) -> Iterator[str]:
    """Get the full names of the modules that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(SOURCES[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative import"
            for alias in node.names:
                is_module = f"{node.module}.{alias.name}".removeprefix("yoton.") in SOURCES
                yield f"{node.module}.{alias.name}" if is_module else node.module


def own_imports(module: str) -> set[str]:
    """Get the modules of the package that a module imports, without the package's name."""
    names = {name for name in imports(module) if name.partition(".")[0] == "yoton"}
    return {name.removeprefix("yoton").removeprefix(".") for name in names}


def test_every_module_has_its_floor() -> None:
    assert set(HEIGHT) == set(SOURCES) - {""}


@modules
def test_a_module_imports_from_the_floors_below(module: str) -> None:
    height = {"": len(FLOORS), **HEIGHT}
    upward = {name for name in own_imports(module) if height[name] >= height[module]}
    assert upward == set()


@modules
def test_nobody_but_the_package_itself_uses_what_stands_beside(module: str) -> None:
    assert module in BESIDE or not own_imports(module) & BESIDE


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_imported_inside_a_function(module: str) -> None:
    for function in ast.walk(ast.parse(SOURCES[module])):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = [n for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert inside == [], f"in {function.name}, line {function.lineno}"


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_has_no_line_thread_lock_or_clock(module: str) -> None:
    assert not set(imports(module)) & IMPURE
