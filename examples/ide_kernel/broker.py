"""The broker: starts, interrupts, restarts and ends kernels, and relays to their clients.

``python -m examples.ide_kernel.broker`` starts one kernel and prints where clients can ask for
it. The broker ends, with all kernels, on Ctrl-C or SIGTERM, or with ``--with-parent``.

Each kernel has a network of its own::

    client  --\\
                context of the broker  --  kernel
    client  --/

A context passes on what it gets, so relaying needs no code. For clients it listens, and they hear
where at the front desk, the one address of the broker that is known beforehand. For each process
of a kernel it binds a connection, for that one peer. What is sent meanwhile waits in it, so that
a kernel does not miss what was sent while it starts.

The event loop of yoton, in the main thread, handles all that happens: requests of clients, and
the ends of processes and connections.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.kernel_process import KernelProcess

#: Seconds that a kernel has to end in an orderly way before it is killed.
GRACE = 2.0

#: Replies of the front desk that are no address begin like this.
REFUSAL = "error: "


class Run:
    """One process of a kernel with its connection, from the start to the end of both.

    Parameters
    ----------
    number : int
        How many there were so far, with this one.
    context : Context
        Where it connects.
    on_output : mapping of str to callable
        What gets the text that it writes past the channels, see `KernelProcess`.
    on_end : callable
        Called when the process has ended and all that it had sent was passed on.
    """

    def __init__(
        self,
        number: int,
        context: yoton.Context,
        on_output: Mapping[str, Callable[[str], object]],
        on_end: Callable[[], object],
    ) -> None:
        self.number = number
        self._on_end = on_end
        self._has_process_ended = False
        self._has_connection_ended = False
        self._connection = context.bind("localhost:0", name="kernel")
        self._connection.closed.bind(self._note_end_of_connection)
        self.process = KernelProcess(
            f"localhost:{self._connection.port1}",
            number,
            on_output,
            lambda: yoton.call_later(self._note_end_of_process),
        )

    @property
    def is_over(self) -> bool:
        """Whether both have ended."""
        return self._has_process_ended and self._has_connection_ended

    def end(self) -> None:
        """Ask the process to end, and make sure that it does."""
        self.process.terminate()
        yoton.call_later(self._kill, GRACE)

    def _kill(self) -> None:
        if not self._has_process_ended:
            self.process.kill()

    def _note_end_of_process(self) -> None:
        self._has_process_ended = True
        if self._connection.is_waiting:  # it has ended before it came
            self._connection.close()
        self._look_whether_over()

    def _note_end_of_connection(self, connection: yoton.Connection, reason: str) -> None:
        self._has_connection_ended = True
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if self.is_over:
            self._on_end()


class HostedKernel:
    """A kernel and its network. To be used in the thread of the event loop.

    Parameters
    ----------
    broker : Broker
        Whom it belongs to.
    name : str
        By which clients ask for it.
    """

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.context = yoton.Context(name=f"broker of {name}")
        listener = self.context.listen("localhost:0", name="client")
        #: Where clients connect.
        self.address = f"localhost:{listener.port}"
        self._status = yoton.StateChannel(self.context, slots.PROCESS, yoton.OBJECT)
        self._output = {
            "stdout": yoton.PubChannel(self.context, slots.RAW_STDOUT).send,
            "stderr": yoton.PubChannel(self.context, slots.RAW_STDERR).send,
        }
        self._cell_events = yoton.SubChannel(self.context, slots.CELL_EVENTS, yoton.OBJECT)
        self._cell_events.received.bind(self._look_at_events)
        self._control = Control(self, broker)
        self._control.set_mode("event")
        self._is_restarting = False
        self._start(1)

    @property
    def status(self) -> slots.ProcessStatus:
        """How the process is."""
        status: slots.ProcessStatus = self._status.recv()
        return status

    def interrupt(self) -> bool:
        """Do what Ctrl-C does, unless the process is not ready for it."""
        is_running = self.status["phase"] == "running"
        if is_running:
            self._run.process.interrupt()
        return is_running

    def restart(self) -> None:
        """Start a new process; end the present one before if it runs."""
        if self._run.is_over:
            self._start(self._run.number + 1)
        else:
            self._is_restarting = True
            self._run.end()

    def terminate(self) -> None:
        """End the process."""
        self._is_restarting = False
        if not self._run.is_over:
            self._run.end()

    def close(self) -> None:
        """End the process, which was asked to end, and the network; blocks until that is done."""
        process = self._run.process
        if not process.join(GRACE):
            process.kill()
            process.join(GRACE)
        self.context.close()

    def _start(self, number: int) -> None:
        self._is_restarting = False
        self._run = Run(number, self.context, self._output, self._note_end)
        self._tell("starting")

    def _look_at_events(self, channel: yoton.SubChannel) -> None:
        for event in channel:
            if event["what"] == "ready" and event["run"] == self._run.number:
                self._tell("running")

    def _note_end(self) -> None:
        self._tell("ended")
        if self._is_restarting:
            self._start(self._run.number + 1)

    def _tell(self, phase: slots.ProcessPhase) -> None:
        process = self._run.process
        self._status.send(
            slots.ProcessStatus(
                phase=phase,
                run=self._run.number,
                pid=process.pid,
                exit_code=process.exit_code,
            )
        )


class Control(yoton.RepChannel):
    """Carries out what clients want of a kernel. What comes of it, they see in its status."""

    def __init__(self, kernel: HostedKernel, broker: Broker) -> None:
        super().__init__(kernel.context, slots.CONTROL)
        self._kernel = kernel
        self._broker = broker

    @yoton.export
    def interrupt(self) -> bool:
        """Interrupt the code that runs; tells whether there is a process to interrupt."""
        return self._kernel.interrupt()

    @yoton.export
    def restart(self) -> None:
        """End the process, if it runs, and start a new one."""
        self._kernel.restart()

    @yoton.export
    def terminate(self) -> None:
        """End the process."""
        self._kernel.terminate()

    @yoton.export
    def start(self) -> str:
        """Start another kernel, and get its name."""
        return self._broker.start_kernel().name

    @yoton.export
    def list(self) -> dict[str, slots.ProcessStatus]:
        """Get all kernels of the broker, by name."""
        return {kernel.name: kernel.status for kernel in self._broker.kernels.values()}


class FrontDesk(yoton.RequestServer):
    """Tells clients where to connect.

    A request is the name of a kernel, or an empty line for the first one.
    """

    def __init__(self, address: str, kernels: dict[str, HostedKernel]) -> None:
        super().__init__(address)
        self._kernels = kernels

    def handle_request(self, request: str) -> str:
        name = request.strip() or next(iter(self._kernels))
        if name not in self._kernels:
            return f"{REFUSAL}no kernel is named {name!r}"
        return self._kernels[name].address


class Broker:
    """All kernels.

    Attributes
    ----------
    kernels : dict of str to HostedKernel
        The kernels by name. The first one is there from the beginning.
    """

    def __init__(self) -> None:
        self.kernels: dict[str, HostedKernel] = {}

    def start_kernel(self) -> HostedKernel:
        """Start one kernel more."""
        name = f"kernel-{len(self.kernels) + 1}"
        kernel = self.kernels[name] = HostedKernel(self, name)
        return kernel

    def close(self) -> None:
        """End all kernels, at the same time; blocks until that is done."""
        for kernel in self.kernels.values():
            kernel.terminate()
        for kernel in self.kernels.values():
            kernel.close()


def _stop(*signal_and_frame: object) -> None:
    # Not at once, wherever the main thread may be, but when the event loop comes to it.
    yoton.call_later(sys.exit)


def _stop_at_end_of_input() -> None:
    """Stop when the other end of stdin is closed: by its process, or because that has ended."""
    # Not with sys.stdin, whose lock the interpreter needs when it ends meanwhile.
    while os.read(sys.stdin.fileno(), 1):
        pass
    _stop()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="broker", description="Host Python kernels.")
    parser.add_argument("--address", default="localhost:0", help="of the front desk")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when standard input is closed"
    )
    options = parser.parse_args(arguments)
    # That a kernel is suddenly gone is no news that needs a warning: clients are told.
    logging.getLogger("yoton").setLevel(logging.ERROR)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    if options.with_parent:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    broker = Broker()
    try:
        broker.start_kernel()
        with FrontDesk(options.address, broker.kernels) as desk:
            print(f"localhost:{desk.port}", flush=True)
            yoton.start_event_loop()
    finally:
        broker.close()


if __name__ == "__main__":
    main(sys.argv[1:])
