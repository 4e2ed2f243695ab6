"""A tour of what a kernel and its clients do, which checks what it shows.

``make demo`` runs it. It asks nothing, takes some seconds, and ends with status 0 if all that
it wanted to show was seen to happen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.private_broker import PrivateBroker
from examples.ide_kernel.session import (
    Output,
    RunningCell,
    Session,
    SessionError,
    start_event_thread,
)

SCRIPT = Path(__file__).parents[1] / "scripts" / "planets.py"

#: Seconds for each thing that is waited for.
PATIENCE = 20.0
#: Seconds for the whole.
DEADLINE = 60.0
#: Seconds between two questions while a script runs: about what somebody types.
QUESTION_INTERVAL = 0.03
#: Seconds that code which is to be interrupted runs before.
UNDISTURBED = 0.2

#: Seconds between two cuts of a line.
CUT_INTERVAL = 0.1

#: Lines to show of what a crash writes: up to the line of the code.
CRASH_LINES = 7

TRACEBACK_CODE = """\
def share(total, heads):
    return total / heads

def invite(guests):
    try:
        return share(100, len(guests))
    except ZeroDivisionError as error:
        raise ValueError("nobody was invited") from error

invite([])
"""

INPUT_CODE = """\
name = input("Who is there? ")
print(f"Hello {name}, the kernel was waiting for you.")
"""

CRASH_CODE = """\
import ctypes
ctypes.string_at(0)  # there is nothing to read at address 0
"""

LINES_CODE = """\
import time
for number in range(500):
    print("line", number, flush=True)
    time.sleep(0.001)
"""

COUNT_CODE = """\
count = 0
while True:
    count += 1
"""


class NotSeen(Exception):
    """Something that should be shown did not happen."""


class Tally:
    """Counts what a connection tells of its lines."""

    def __init__(self) -> None:
        self.losses = 0
        self.returns = 0
        self.resumptions = 0
        self.gaps = 0

    def note_loss(self, _connection: yoton.Connection, _reason: str) -> None:
        """Count a line that was lost."""
        self.losses += 1

    def note_return(self, _connection: yoton.Connection, is_resumed: bool) -> None:
        """Count a new line."""
        self.returns += 1
        self.resumptions += is_resumed

    def note_gap(self, _connection: yoton.Connection, messages: int) -> None:
        """Count messages that will not come."""
        self.gaps += messages


class Screen:
    """Shows output behind a bar, line by line, and of each station not too much."""

    def __init__(self) -> None:
        self._rest = ""
        self._lines_left = 0

    def begin_station(self, max_lines: int) -> None:
        """Show at most so many lines from now on."""
        self._lines_left = max_lines

    def show(self, text: str) -> None:
        """Show the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._lines_left -= 1
            if self._lines_left >= 0:
                print(f"    | {line if self._lines_left else '...'}", flush=True)

    def finish_line(self, text: str) -> None:
        """Show the rest of a line, and what was typed there."""
        self.show(f"{text}\n")


class Audience:
    """What one client gets to see."""

    def __init__(self, session: Session, screen: Screen | None = None) -> None:
        self._screen = screen
        self.texts = {"stdout": "", "stderr": ""}
        self.messages = 0
        session.output.bind(self._note)

    def _note(self, output: Output) -> None:
        self.texts[output.stream] += output.text
        self.messages += output.messages
        if self._screen is not None:
            self._screen.show(output.text)

    @property
    def size(self) -> int:
        """Bytes of output so far."""
        return sum(len(text.encode()) for text in self.texts.values())

    def has_seen(self, text: str) -> bool:
        """Tell whether a text was in the output."""
        return any(text in seen for seen in self.texts.values())


class Tour:
    """The tour, one method for each station."""

    def __init__(self, broker: PrivateBroker, first: Session, second: Session) -> None:
        self._broker = broker
        self._session = first
        self._second = second
        self._screen = Screen()
        self._audience = Audience(first, self._screen)
        self._second_audience = Audience(second)
        self._station_count = 0
        #: What is in the table at the end.
        self.facts: list[tuple[str, str]] = []
        #: The processes of all kernels that there were.
        self.kernel_pids: list[int] = []

    def take(self) -> None:
        """Visit all stations; NotSeen if one has not what it should."""
        self.meet()
        self.run_script()
        self.interrupt("a loop without end", COUNT_CODE)
        self.interrupt("a long sleep", "import time\ntime.sleep(3600)")
        self.show_traceback()
        self.answer_input()
        self.crash()
        self.restart()
        self.use_second_client()
        self.cut_line()
        self.compare_clients()

    def meet(self) -> None:
        """Wait until the kernel is ready."""
        self._announce("A broker, a kernel, and two clients")
        before = time.monotonic()
        status = self._session.wait_for_status(_is_running, PATIENCE)
        self.kernel_pids.append(status["pid"])
        self._say(f"this process, with both clients: {os.getpid()}")
        self._say(f"the broker: {self._broker.pid}, the kernel: {status['pid']}")
        self._say(f"the kernel was ready {_milliseconds(time.monotonic() - before)} later")

    def run_script(self) -> None:
        """Run a script, and ask questions meanwhile."""
        self._announce(f"A script of {_line_count(SCRIPT)} lines runs, and its output streams")
        before = time.monotonic()
        cell = self._session.submit(SCRIPT.read_text("utf-8"), str(SCRIPT), [])
        self._expect_event(cell, "started")
        pupil = Pupil(self._session, cell)
        pupil.ask_until_end()
        seconds = time.monotonic() - before
        _check(pupil.error == "", f"the script ended with {pupil.error}")
        _check(self._audience.has_seen("Saturn"), "no report of the script")
        _check(len(pupil.latencies) >= 3, "too few questions were answered while the script ran")
        latency = statistics.median(pupil.latencies)
        self._say("asked meanwhile, while the kernel was busy with the script:")
        self._say(f"  make_p...      -> {', '.join(pupil.matches)}")
        self._say(f"  make_planet(   -> {pupil.signature}")
        self._note("script", f"{_line_count(SCRIPT)} lines, {seconds:.1f} s")
        self._note("completions and signatures meanwhile", f"{len(pupil.latencies)}")
        self._note("  answered after (median)", _milliseconds(latency))
        self._note("  answered after (the slowest)", _milliseconds(max(pupil.latencies)))

    def interrupt(self, what: str, code: str) -> None:
        """Interrupt code that would go on."""
        self._announce(f"{what[0].upper()}{what[1:]} is interrupted")
        cell = self._session.submit(code)
        self._expect_event(cell, "started")
        time.sleep(UNDISTURBED)
        _check(self._session.state == "busy", "the kernel does not say that it is busy")
        before = time.monotonic()
        self._session.interrupt()
        event = self._expect_event(cell, "finished")
        seconds = time.monotonic() - before
        _check(event["error"] == "KeyboardInterrupt", "no KeyboardInterrupt")
        _check(self._session.state == "idle", "the kernel does not say that it is idle")
        self._note(f"{what}, interrupted after", _milliseconds(seconds))

    def show_traceback(self) -> None:
        """Run code that fails."""
        self._announce("Code fails, and the traceback shows its lines, and no others")
        event = self._run(TRACEBACK_CODE)
        _check(event["error"] == "ValueError", "the exception has another name")
        for line in ("return total / heads", "direct cause", "ValueError: nobody was invited"):
            _check(line in self._audience.texts["stderr"], f"no {line!r} in the traceback")
        _check("execution.py" not in self._audience.texts["stderr"], "frames of the kernel")

    def answer_input(self) -> None:
        """Run code that asks, and answer."""
        self._announce("Code asks with input(), and the client answers")
        cell = self._session.submit(INPUT_CODE)
        self._expect_event(cell, "started")
        self._expect_event(cell, "input")
        _check(self._session.state == "input", "the kernel does not say that it wants input")
        self._screen.finish_line("Ada")
        self._session.answer("Ada")
        self._expect_event(cell, "finished")
        _check(self._audience.has_seen("Hello Ada"), "the answer did not arrive")

    def crash(self) -> None:
        """Have the kernel's process die."""
        self._announce("The kernel crashes", max_lines=CRASH_LINES)
        cell = self._session.submit(CRASH_CODE)
        while _next_event(cell)["what"] != "lost":
            pass  # it may have told of the start
        status = self._session.status
        _check(status["exit_code"] == -signal.SIGSEGV, f"it ended with {status['exit_code']}")
        _check(self._audience.has_seen("Segmentation fault"), "no word on the raw stderr")
        self._say(f"the broker says: process {status['pid']} was ended by SIGSEGV")
        self._note("crash, seen by the broker", "SIGSEGV")

    def restart(self) -> None:
        """Start another process, and use it."""
        self._announce("It is started again, and both clients go on")
        before = time.monotonic()
        self._session.restart()
        seconds = time.monotonic() - before
        self.kernel_pids.append(self._session.status["pid"])
        _check(self._session.state == "idle", "the new kernel is not idle")
        event = self._run("print('a new process, with count' if 'count' in dir() else 'all new')")
        _check(event["error"] == "", "code fails in the new kernel")
        _check(self._audience.has_seen("all new"), "the new kernel knows what the old one did")
        self._note("restart, ready after", _milliseconds(seconds))

    def use_second_client(self) -> None:
        """Run code for the second client."""
        self._announce("The second client runs code, and the first one sees it")
        cell = self._second.submit("print('this was sent by the second client')")
        while _next_event(cell)["what"] != "finished":
            pass
        _wait_until(lambda: self._audience.has_seen("by the second client"), "nothing was seen")

    def cut_line(self) -> None:
        """Cut the line of the second client while there is output."""
        self._announce("The line of the second client is cut, again and again", max_lines=3)
        connection, told = self._second.connection, Tally()
        connection.reconnecting.bind(told.note_loss)
        connection.reconnected.bind(told.note_return)
        connection.gap.bind(told.note_gap)
        cell = self._session.submit(LINES_CODE)
        self._expect_event(cell, "started")
        while cell.end is None:
            connection.lose_line()
            time.sleep(CUT_INTERVAL)
        _wait_until(lambda: told.returns == told.losses > 0, "the line did not come back")
        _wait_until(lambda: self._second_audience.has_seen("line 499\n"), "the output ends early")
        _check(told.gaps == 0, f"{told.gaps} messages are missing")
        _check(told.resumptions == told.returns, "the client had to begin anew")
        self._note("lines of a client cut / come back", f"{told.losses} / {told.returns}")
        stats = connection.stats()
        came, trip = stats["in"], stats["round_trip"]["smallest"]
        self._note("  came over them", f"{came['messages']} messages, {came['bytes']} bytes")
        self._note("  fastest round trip", _milliseconds(trip))
        _check(stats["reconnections"] == told.returns, "the connection counts otherwise")

    def compare_clients(self) -> None:
        """Look whether both clients have seen the same."""
        _wait_until(
            lambda: self._audience.texts == self._second_audience.texts,
            "the clients have not seen the same output",
        )
        output = f"{self._audience.size} bytes in {self._audience.messages} messages"
        self._note("output, the same at both clients", output)

    # Helpers

    def _announce(self, title: str, max_lines: int = 100) -> None:
        self._screen.begin_station(max_lines)
        self._station_count += 1
        print(f"\n{self._station_count:2}  {title}\n", flush=True)

    def _say(self, text: str) -> None:
        print(f"    {text}", flush=True)

    def _note(self, what: str, value: str) -> None:
        self.facts.append((what, value))

    def _run(self, code: str) -> slots.CellEvent:
        cell = self._session.submit(code)
        self._expect_event(cell, "started")
        return self._expect_event(cell, "finished")

    def _expect_event(self, cell: RunningCell, what: str) -> slots.CellEvent:
        event = _next_event(cell)
        _check(event["what"] == what, f"the cell should be {what}, it is {event['what']}")
        return event


class Pupil:
    """Asks questions about a script while it runs, and takes the time.

    Attributes
    ----------
    latencies : list of float
        Seconds that each answer took.
    matches : list of str
        The names that begin with make_p.
    signature : str
        That of make_planet.
    error : str
        How the script ended.
    """

    def __init__(self, session: Session, cell: RunningCell) -> None:
        self._introspection = session.introspection
        self._cell = cell
        self.latencies: list[float] = []
        self.matches: list[str] = []
        self.signature = ""
        self.error = ""

    def ask_until_end(self) -> None:
        """Ask until the script ends."""
        while True:
            with contextlib.suppress(SessionError):
                self.error = self._cell.next_event(QUESTION_INTERVAL)["error"]
                return
            self._ask_for_completion()
            self._ask_for_signature()

    def _ask_for_completion(self) -> None:
        source = "planet = make_p"
        with self._timed():
            reply = self._introspection.complete(source, len(source)).result(PATIENCE)
        self.matches = reply["matches"]

    def _ask_for_signature(self) -> None:
        source = "make_planet("
        with self._timed():
            reply = self._introspection.describe_call(source, len(source)).result(PATIENCE)
        self.signature = reply["signature"] if reply else ""

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self.latencies.append(time.monotonic() - before)


def _is_running(status: slots.ProcessStatus) -> bool:
    return status["phase"] == "running"


def _next_event(cell: RunningCell) -> slots.CellEvent:
    try:
        return cell.next_event(PATIENCE)
    except SessionError as error:
        raise NotSeen(str(error)) from error


def _check(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise NotSeen(otherwise)


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        _check(time.monotonic() < deadline, otherwise)
        time.sleep(0.005)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _line_count(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _give_up() -> None:
    print(f"\nNOT SEEN: the end, within {DEADLINE} s", flush=True)
    os._exit(1)  # which ends the broker, and with it the kernels


def _set_deadline() -> None:
    timer = threading.Timer(DEADLINE, _give_up)
    timer.daemon = True
    timer.start()


def main() -> int:
    _set_deadline()
    start_event_thread()
    before = time.monotonic()
    try:
        with PrivateBroker() as broker, Session(broker.desk) as first, Session(broker.desk) as last:
            tour = Tour(broker, first, last)
            tour.take()
        left_over = [pid for pid in (broker.pid, *tour.kernel_pids) if _is_alive(pid)]
        _check(not left_over, f"an end of the processes {left_over}")
    except (NotSeen, SessionError) as error:
        print(f"\nNOT SEEN: {error}", flush=True)
        return 1
    tour.facts.append(("processes started / left over", f"{1 + len(tour.kernel_pids)} / 0"))
    tour.facts.append(("the whole", f"{time.monotonic() - before:.1f} s"))
    print("\nAll of it was seen to happen.\n")
    for what, value in tour.facts:
        print(f"    {what:44}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
