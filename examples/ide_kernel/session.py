"""A client's side of the network of one kernel.

What comes is handled in the thread of the event loop of yoton, in the order in which it was
sent; `start_event_thread` provides that thread. All methods may be called from any other one.
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.broker import REFUSAL

#: Seconds that a broker may take to answer. It is a matter of milliseconds.
PATIENCE = 10.0


class SessionError(Exception):
    """There is no such broker or kernel, or it does not answer."""


class Output(NamedTuple):
    """A text that the kernel has written.

    stream is "stdout" or "stderr". cell_id is the id of the cell that was running when it came,
    "" if there was none. messages is the number of messages that the text came in.
    """

    stream: str
    text: str
    cell_id: str
    messages: int


class RunningCell:
    """A cell that was sent off.

    Parameters
    ----------
    cell : Cell
        What was sent.
    """

    def __init__(self, cell: slots.Cell) -> None:
        self.id = cell["id"]
        self.run = cell["run"]
        self._events: queue.SimpleQueue[slots.CellEvent] = queue.SimpleQueue()

    def add_event(self, event: slots.CellEvent) -> None:
        """Note what has become of it."""
        self._events.put(event)

    def next_event(self, timeout: float | None = None) -> slots.CellEvent:
        """Wait for what becomes of it.

        The last event is "finished", or "lost" if its kernel has ended before.

        Raises
        ------
        SessionError
            Nothing came for timeout seconds.
        """
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            raise SessionError(f"nothing heard of a cell for {timeout} s") from None


class Session:
    """Runs code in a kernel, and brings what it writes.

    Parameters
    ----------
    desk : str
        Address of the broker's front desk, as ``host:port``.
    kernel : str
        Name of the kernel. Default: the first one.

    Attributes
    ----------
    output : Signal
        Emitted, in the thread of the event loop, with each `Output`.
    introspection, control : ReqChannel
        The methods of `kernel.Introspection` and `broker.Control`.

    Raises
    ------
    SessionError
        There is no such broker or kernel.
    """

    def __init__(self, desk: str, kernel: str = "") -> None:
        self.output = yoton.Signal()
        self._numbers = itertools.count(1)
        self._current_cell_id = ""
        # Guards the cells that are not over and the status.
        self._changed = threading.Condition()
        self._cells: dict[str, RunningCell] = {}
        self._status: slots.ProcessStatus | None = None
        self._context = yoton.Context(name="client")
        self._open_channels()
        try:
            self._context.connect(_ask_for_address(desk, kernel))
            self.wait_for_status(lambda status: True, PATIENCE)
        except (yoton.ConnectFailed, SessionError) as error:
            self._context.close()
            raise SessionError(f"cannot attach to the broker at {desk}: {error}") from error

    def _open_channels(self) -> None:
        context = self._context
        self._cell_channel = yoton.PubChannel(context, slots.CELLS, yoton.OBJECT)
        self._stdin = yoton.PubChannel(context, slots.STDIN)
        self.introspection = yoton.ReqChannel(context, slots.INTROSPECTION)
        self.control = yoton.ReqChannel(context, slots.CONTROL)
        self._interpreter_state = yoton.StateChannel(context, slots.INTERPRETER)
        self._process_status = yoton.StateChannel(context, slots.PROCESS, yoton.OBJECT)
        events = yoton.SubChannel(context, slots.CELL_EVENTS, yoton.OBJECT)
        self._handlers = {events: self._handle_events}
        for stream, slot in (
            ("stdout", slots.STDOUT),
            ("stderr", slots.STDERR),
            ("stdout", slots.RAW_STDOUT),
            ("stderr", slots.RAW_STDERR),
        ):
            channel = yoton.SubChannel(context, slot)
            # A kernel that writes faster than this client shows it has to wait.
            channel.set_sync_mode(True)
            self._handlers[channel] = self._output_handler(stream)
        for channel in self._handlers:
            channel.received.bind(self._receive)
        self._process_status.received.bind(self._receive_status)

    def close(self) -> None:
        """Leave the network."""
        self._context.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Running code

    def submit(self, source: str, filename: str = "", argv: list[str] | None = None) -> RunningCell:
        """Send a cell off; with argv, a script. Does not wait for it to run."""
        status = self.status
        cell = slots.Cell(
            id=f"{self._context.id:x}-{next(self._numbers)}",
            run=status["run"],
            source=source,
            filename=filename,
            argv=argv,
        )
        running_cell = RunningCell(cell)
        with self._changed:
            self._cells[running_cell.id] = running_cell
        self._cell_channel.send(cell)
        self._give_up_lost_cells()
        return running_cell

    def answer(self, line: str) -> None:
        """Give the code that wants input a line; `slots.END_OF_INPUT` for the end."""
        self._stdin.send(f"{line}\n")

    def interrupt(self) -> None:
        """Interrupt the code that runs, as Ctrl-C does."""
        self.control.interrupt().result(PATIENCE)

    def see_through(self, cell: RunningCell, ask: Callable[[], str]) -> slots.CellEvent:
        """Wait for the end of a cell and get its last event.

        Parameters
        ----------
        cell : RunningCell
            The cell. Ctrl-C interrupts it.
        ask : callable
            Gives a line when the cell wants input, or raises EOFError.
        """
        while True:
            try:
                event = cell.next_event()
                if event["what"] == "input":
                    self.answer(_answer_of(ask))
            except KeyboardInterrupt:
                self.interrupt()
            else:
                if event["what"] in ("finished", "lost"):
                    return event

    # The state of the kernel

    @property
    def status(self) -> slots.ProcessStatus:
        """How the process of the kernel is."""
        return self._status

    @property
    def state(self) -> str:
        """What the kernel is at: idle, busy or input; "" before it has said so."""
        return self._interpreter_state.recv()

    def wait_for_status(
        self, is_it: Callable[[slots.ProcessStatus], bool], timeout: float | None = None
    ) -> slots.ProcessStatus:
        """Wait for a status of the process.

        Raises
        ------
        SessionError
            There is none such within timeout seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._status and is_it(self._status), timeout):
                raise SessionError(f"the kernel is still {self._status} after {timeout} s")
            return self._status

    # In the thread of the event loop

    def _receive(self, _channel: yoton.SubChannel) -> None:
        """Handle all that has come, in the order in which it was sent."""
        while (channel := yoton.select_sub_channel(*self._handlers)) is not None:
            self._handlers[channel](channel.recv_selected())

    def _receive_status(self, channel: yoton.StateChannel) -> None:
        # What the broker passed on before it told of the end has come before.
        self._receive(channel)
        with self._changed:
            self._status = channel.recv()
            self._changed.notify_all()
        self._give_up_lost_cells()

    def _output_handler(self, stream: str) -> Callable[[list[str]], None]:
        def handle(texts: list[str]) -> None:
            output = Output(stream, "".join(texts), self._current_cell_id, len(texts))
            self.output.emit_now(output)

        return handle

    def _handle_events(self, events: list[slots.CellEvent]) -> None:
        for event in events:
            is_over = event["what"] == "finished"
            self._current_cell_id = "" if is_over else event["id"]
            with self._changed:
                cell = self._cells.get(event["id"])
                if is_over:
                    self._cells.pop(event["id"], None)
            if cell is not None:
                cell.add_event(event)

    def _give_up_lost_cells(self) -> None:
        with self._changed:
            run, phase = self._status["run"], self._status["phase"]
            lost = [c for c in self._cells.values() if c.run < run or phase == "ended"]
            for cell in lost:
                del self._cells[cell.id]
        for cell in lost:
            cell.add_event(slots.CellEvent(id=cell.id, run=cell.run, what="lost", error=""))


def _answer_of(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except EOFError:
        return slots.END_OF_INPUT


def _ask_for_address(desk: str, kernel: str) -> str:
    try:
        reply = yoton.do_request(desk, kernel, PATIENCE)
    except (yoton.YotonError, ValueError) as error:
        raise SessionError(str(error)) from error
    if not reply or reply.startswith(REFUSAL):
        raise SessionError((reply or "no answer").strip())
    return reply.strip()


def start_event_thread() -> None:
    """Have a thread of this process run the event loop of yoton."""
    threading.Thread(target=yoton.start_event_loop, name="events", daemon=True).start()


class PrivateBroker:
    """A broker that this process has started; it ends when this process does, however.

    Attributes
    ----------
    desk : str
        Address of its front desk.

    Raises
    ------
    SessionError
        It did not start.
    """

    def __init__(self) -> None:
        # Ctrl-C is for the client alone to handle, so it gets a session of its own.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.ide_kernel.broker", "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.desk = self._process.stdout.readline().strip()
        if not self.desk:
            self.close()
            raise SessionError("the broker did not start")

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._process.pid

    def close(self) -> None:
        """End the broker and its kernels; blocks until they have ended."""
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> PrivateBroker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
