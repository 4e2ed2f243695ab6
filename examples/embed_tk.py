"""The events of yoton in the event loop of Tk.

Run it: ``python examples/embed_tk.py``. It needs no display; a program with windows has a
tkinter.Tk() in place of the Tcl() and calls mainloop() without a number, all else stays.
"""

import contextlib
import socket
import threading
import tkinter
from collections.abc import Callable

from yoton.events import Signal, Timer, app, call_later, process_events

#: How often Tk looks for events where it cannot be woken: a compromise of delay and load.
POLL_MILLISECONDS = 20


def embed(interpreter: tkinter.Tk) -> Callable[[], None]:
    """Have Tk process the events; call what is returned to end it, before the interpreter ends.

    Tk's own functions, event_generate among them, block in other threads until the loop comes
    to them, and are not safe with every build of Tcl. A byte through a socket is, and wakes Tk.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    # Other threads hold on to this function while they call it, so it must not hold on to the
    # interpreter, which has to be done away with in its own thread.
    def request() -> None:
        # Fails when the socket is full, and then Tk is woken anyway, or just closed.
        with contextlib.suppress(OSError):
            writer.send(b"\0")

    def process(*file_and_mask: object) -> None:
        reader.recv(1024)
        process_events()

    def close() -> None:
        app.embed_event_loop(None)
        interpreter.tk.deletefilehandler(reader)
        reader.close()
        writer.close()

    interpreter.tk.createfilehandler(reader, tkinter.READABLE, process)
    app.embed_event_loop(request)
    return close


def poll(interpreter: tkinter.Tk) -> None:
    """Process the events now and then: for Windows, where Tk does not listen to sockets."""
    process_events()
    interpreter.after(POLL_MILLISECONDS, poll, interpreter)


def main() -> None:
    interpreter = tkinter.Tcl()
    close = None
    if hasattr(interpreter.tk, "createfilehandler"):
        close = embed(interpreter)
    else:
        poll(interpreter)

    def show(text: str) -> None:
        print(f"{text} (handled in {threading.current_thread().name})")

    measured = Signal()
    measured.bind(lambda value: show(f"a thread measured {value}"))
    threading.Thread(target=lambda: measured.emit(21.5)).start()

    threading.Thread(target=lambda: call_later(show, 0.1, "a thread called back")).start()

    with Timer(0.2, oneshot=False) as timer:
        timer.bind(lambda: show("the timer beats"))
        timer.start()
        call_later(interpreter.quit, 0.7)
        interpreter.mainloop(-1)  # until quit: without Tk there is no window to wait for
    if close:
        close()


if __name__ == "__main__":
    main()
