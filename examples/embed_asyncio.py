"""The events of yoton in the event loop of asyncio.

Run it: ``python examples/embed_asyncio.py``
"""

import asyncio
import threading

from yoton.events import Signal, Timer, app, call_later, process_events


def embed(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop process the events, from any thread that posts one."""
    app.embed_event_loop(lambda: loop.call_soon_threadsafe(process_events))


async def main() -> None:
    embed(asyncio.get_running_loop())
    finished = asyncio.Event()

    def show(text: str) -> None:
        print(f"{text} (handled in {threading.current_thread().name})")

    measured = Signal()
    measured.bind(lambda value: show(f"a thread measured {value}"))
    threading.Thread(target=lambda: measured.emit(21.5)).start()

    threading.Thread(target=lambda: call_later(show, 0.1, "a thread called back")).start()

    with Timer(0.2, oneshot=False) as timer:
        timer.bind(lambda: show("the timer beats"))
        timer.start()
        call_later(finished.set, 0.7)
        await finished.wait()  # the loop runs, and asyncio's own tasks with it
    app.embed_event_loop(None)


if __name__ == "__main__":
    asyncio.run(main())
