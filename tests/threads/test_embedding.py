"""The examples that embed the event loop, each in the event loop that it is about."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import PATIENCE

from yoton.events import app, call_later, process_events

EXAMPLES = Path(__file__).parents[2] / "examples"
THREADS = 4
EVENTS_PER_THREAD = 1000


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_asyncio_main() -> None:
    asyncio.run(load("embed_asyncio").main())


def run_qt_main() -> None:
    pytest.importorskip("PyQt6.QtCore")
    load("embed_qt").main()


def run_tk_main() -> None:
    pytest.importorskip("tkinter")
    load("embed_tk").main()


def run_asyncio(quit_when: Callable[[Callable[[], object]], None]) -> None:
    async def main() -> None:
        finished = asyncio.Event()
        load("embed_asyncio").embed(asyncio.get_running_loop())
        quit_when(finished.set)
        await asyncio.wait_for(finished.wait(), PATIENCE)

    asyncio.run(main())


def run_qt(quit_when: Callable[[Callable[[], object]], None]) -> None:
    core = pytest.importorskip("PyQt6.QtCore")
    qt = core.QCoreApplication.instance() or core.QCoreApplication(sys.argv)
    qt_events = load("embed_qt").QtEvents()
    guard = core.QTimer(singleShot=True, interval=int(PATIENCE * 1000))
    guard.timeout.connect(qt.quit)
    guard.start()
    quit_when(qt.quit)
    qt.exec()
    guard.stop()
    qt_events.close()


def run_tk(quit_when: Callable[[Callable[[], object]], None]) -> None:
    tkinter = pytest.importorskip("tkinter")
    interpreter = tkinter.Tcl()
    close = load("embed_tk").embed(interpreter)
    run_interpreter(interpreter, quit_when)
    close()


def run_tk_polling(quit_when: Callable[[Callable[[], object]], None]) -> None:
    tkinter = pytest.importorskip("tkinter")
    interpreter = tkinter.Tcl()
    load("embed_tk").poll(interpreter)
    run_interpreter(interpreter, quit_when)


def run_interpreter(interpreter: object, quit_when: Callable[[Callable[[], object]], None]) -> None:
    interpreter.after(int(PATIENCE * 1000), interpreter.quit)  # type: ignore[attr-defined]
    quit_when(interpreter.quit)  # type: ignore[attr-defined]
    interpreter.mainloop(-1)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def leave_nothing_behind() -> Iterator[None]:
    yield
    app.embed_event_loop(None)
    process_events()


@pytest.mark.parametrize("run_main", [run_asyncio_main, run_qt_main, run_tk_main])
def test_an_example_shows_handlers_in_the_thread_of_its_loop(
    run_main: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_main()
    lines = capsys.readouterr().out.splitlines()
    texts = {line.partition(" (")[0] for line in lines}
    assert texts == {"a thread measured 21.5", "a thread called back", "the timer beats"}
    assert all(line.endswith("(handled in MainThread)") for line in lines)


@pytest.mark.parametrize("run", [run_asyncio, run_qt, run_tk, run_tk_polling])
def test_no_event_of_any_thread_is_lost(
    run: Callable[[Callable[[Callable[[], object]], None]], None],
) -> None:
    """Threads post while the loop runs, and the last handler makes it end."""
    handled: dict[int, list[int]] = {thread: [] for thread in range(THREADS)}
    handler_threads: set[threading.Thread] = set()
    posters: list[threading.Thread] = []

    def start_posting(quit_loop: Callable[[], object]) -> None:
        def handle(thread: int, number: int) -> None:
            handled[thread].append(number)
            handler_threads.add(threading.current_thread())
            if sum(map(len, handled.values())) == THREADS * EVENTS_PER_THREAD:
                # They hold on to what belongs to the loop, which must end in its own thread.
                for poster in posters:
                    poster.join(PATIENCE)
                quit_loop()

        def post_all(thread: int) -> None:
            for number in range(EVENTS_PER_THREAD):
                call_later(handle, 0, thread, number)

        for thread in range(THREADS):
            posters.append(threading.Thread(target=post_all, args=(thread,)))
            posters[-1].start()

    run(start_posting)
    assert handled == {thread: list(range(EVENTS_PER_THREAD)) for thread in range(THREADS)}
    assert handler_threads == {threading.current_thread()}
