"""A client's side of the network of one kernel.

What comes is handled in the thread of the event loop of yoton, in the order in which it was
sent; `start_event_thread` provides that thread. All methods may be called from any other one.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.broker import REFUSAL

#: Seconds that a broker may take to answer. It is a matter of milliseconds.
PATIENCE = 10.0

#: A line that was cut comes back within milliseconds; a broker that is gone does not.
_RECONNECT = yoton.ReconnectPolicy(give_up_after=3.0)

#: How the signals of a connection tell that the other end has closed it.
_GOODBYE = "Closed from other end."

#: The status of a kernel before the broker has told it.
_NOTHING_KNOWN = slots.ProcessStatus(phase="starting", run=0, pid=0, exit_code=None)


class SessionError(Exception):
    """There is no such broker or kernel, or it does not answer."""


class Output(NamedTuple):
    """A text that the kernel has written.

    stream is "stdout" or "stderr". is_foreign tells whether a cell of another client was running
    when it came. messages is the number of messages that it came in.
    """

    stream: str
    text: str
    is_foreign: bool
    messages: int


class RunningCell:
    """A cell that was sent off.

    Parameters
    ----------
    cell : Cell
        What was sent.

    Attributes
    ----------
    end : CellEvent or None
        The last event, which is "finished", or "lost" if its kernel has ended before; None while
        it has not come.
    """

    def __init__(self, cell: slots.Cell) -> None:
        self.id = cell["id"]
        self.run = cell["run"]
        self.end: slots.CellEvent | None = None
        self._events: queue.SimpleQueue[slots.CellEvent] = queue.SimpleQueue()

    def add_event(self, event: slots.CellEvent) -> None:
        """Note what has become of it."""
        if event["what"] in ("finished", "lost"):
            self.end = event
        self._events.put(event)

    def next_event(self, timeout: float | None = None) -> slots.CellEvent:
        """Wait for what becomes of it.

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
    connection : Connection
        The one to the broker. It comes back when its line is cut.
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
        self._is_foreign_cell_running = False
        # Guards the cells that are not over, the status, and the flag below them.
        self._changed = threading.Condition()
        self._cells: dict[str, RunningCell] = {}
        self._status = _NOTHING_KNOWN
        self._is_cut_off = False
        self._context = yoton.Context(name="client")
        self._open_channels()
        try:
            address = _ask_for_address(desk, kernel)
            self.connection = self._context.connect(address, reconnect=_RECONNECT)
            self.connection.reconnecting.bind(self._note_loss)
            self.connection.closed.bind(self._note_end)
            self.wait_for_status(lambda status: status is not _NOTHING_KNOWN, PATIENCE)
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
        self._handlers: dict[yoton.SubChannel, Callable[[list[Any]], None]] = {
            events: self._handle_events
        }
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
            channel.received.bind(self._note_messages)
        self._process_status.received.bind(self._note_status)

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
        cell = slots.Cell(
            id=f"{self._context.id:x}-{next(self._numbers)}",
            run=self.status["run"],
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
        """Interrupt the code that runs, as Ctrl-C does.

        Raises
        ------
        SessionError
            The broker does not answer.
        """
        _await(self.control.interrupt())

    def restart(self) -> None:
        """End the process of the kernel, and wait until there is a new one.

        Raises
        ------
        SessionError
            The broker does not answer, or the new process does not start.
        """
        run = self.status["run"]
        _await(self.control.restart())
        self.wait_for_status(
            lambda status: status["run"] > run and status["phase"] == "running", PATIENCE
        )

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
                while cell.end is None:
                    if cell.next_event()["what"] == "input":
                        self.answer(_answer_of(ask))
                return cell.end
            except KeyboardInterrupt:
                self.interrupt()

    # The state of the kernel

    @property
    def status(self) -> slots.ProcessStatus:
        """How the process of the kernel is."""
        return self._status

    @property
    def state(self) -> str:
        """What the kernel is at: idle, busy or input; "" before it has said so."""
        return str(self._interpreter_state.recv())

    def wait_for_status(
        self, is_it: Callable[[slots.ProcessStatus], bool], timeout: float | None = None
    ) -> slots.ProcessStatus:
        """Wait for a status of the process.

        Raises
        ------
        SessionError
            There is none such within timeout seconds, or the broker is gone.
        """

        def is_over() -> bool:
            return self._is_cut_off or is_it(self._status)

        with self._changed:
            is_in_time = self._changed.wait_for(is_over, timeout)
            if self._is_cut_off:
                raise SessionError("the broker is gone")
            if not is_in_time:
                raise SessionError(f"the kernel is still {self._status} after {timeout} s")
            return self._status

    # In the thread of the event loop

    def _note_messages(self, _channel: yoton.SubChannel) -> None:
        self._receive()

    def _receive(self) -> None:
        """Handle all that has come, in the order in which it was sent."""
        while (channel := yoton.select_sub_channel(*self._handlers)) is not None:
            self._handlers[channel](channel.recv_selected())

    def _note_status(self, channel: yoton.StateChannel) -> None:
        status = channel.recv()
        # What the broker passed on before it told of that has come before.
        self._receive()
        with self._changed:
            self._status = status
            self._changed.notify_all()
        self._give_up_lost_cells()

    def _output_handler(self, stream: str) -> Callable[[list[str]], None]:
        def handle(texts: list[str]) -> None:
            is_foreign = self._is_foreign_cell_running
            self.output.emit_now(Output(stream, "".join(texts), is_foreign, len(texts)))

        return handle

    def _handle_events(self, events: list[slots.CellEvent]) -> None:
        for event in events:
            is_over = event["what"] == "finished"
            with self._changed:
                cell = self._cells.get(event["id"])
                if is_over:
                    self._cells.pop(event["id"], None)
            self._is_foreign_cell_running = cell is None and event["what"] in ("started", "input")
            if cell is not None:
                cell.add_event(event)

    def _note_loss(self, connection: yoton.Connection, reason: str) -> None:
        if reason == _GOODBYE:
            connection.close(reason)

    def _note_end(self, connection: yoton.Connection, reason: str) -> None:
        self._receive()
        with self._changed:
            self._is_cut_off = True
            self._changed.notify_all()
        self._give_up_lost_cells()

    def _give_up_lost_cells(self) -> None:
        with self._changed:
            run, phase = self._status["run"], self._status["phase"]
            no_more = self._is_cut_off or phase == "ended"
            lost = [cell for cell in self._cells.values() if no_more or cell.run < run]
            for cell in lost:
                del self._cells[cell.id]
        for cell in lost:
            cell.add_event(slots.CellEvent(id=cell.id, run=cell.run, what="lost", error=""))


def _await(future: yoton.Future) -> None:
    try:
        future.result(PATIENCE)
    except (yoton.YotonError, yoton.CancelledError, yoton.TimeoutError) as error:
        raise SessionError(f"the broker does not answer: {error}") from error


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
