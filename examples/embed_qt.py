"""The events of yoton in the event loop of Qt.

Run it: ``python examples/embed_qt.py``. A program with windows has a QApplication in place of
the QCoreApplication; all else stays.
"""

import sys
import threading

from PyQt6.QtCore import QCoreApplication, QEvent, QObject

from yoton.events import Signal, Timer, app, call_later, process_events

PROCESS_EVENTS = QEvent.Type(QEvent.registerEventType())


class QtEvents(QObject):
    """Processes the events of yoton in the thread that made this object."""

    def __init__(self) -> None:
        super().__init__()
        app.embed_event_loop(self.request)

    def request(self) -> None:
        """Ask Qt to call customEvent; postEvent is safe to use in any thread."""
        QCoreApplication.postEvent(self, QEvent(PROCESS_EVENTS))

    def customEvent(self, event: QEvent | None) -> None:  # noqa: N802 (the name is Qt's)
        process_events()

    def close(self) -> None:
        """End the embedding."""
        app.embed_event_loop(None)


def main() -> None:
    qt = QCoreApplication.instance() or QCoreApplication(sys.argv)
    qt_events = QtEvents()

    def show(text: str) -> None:
        print(f"{text} (handled in {threading.current_thread().name})")

    measured = Signal()
    measured.bind(lambda value: show(f"a thread measured {value}"))
    threading.Thread(target=lambda: measured.emit(21.5)).start()

    threading.Thread(target=lambda: call_later(show, 0.1, "a thread called back")).start()

    with Timer(0.2, oneshot=False) as timer:
        timer.bind(lambda: show("the timer beats"))
        timer.start()
        call_later(qt.quit, 0.7)
        qt.exec()
    qt_events.close()


if __name__ == "__main__":
    main()
