"""What Pyzo's IDE, its broker and its kernel use of this package, used as they use it."""

from __future__ import annotations

import builtins
import socket
import sys
from collections.abc import Callable, Iterator

import pytest
from support import PATIENCE, wait_until

import yoton
from yoton.clientserver import RequestServer, do_request

STARTUP_INFO = {"name": "Python", "exe": sys.executable, "gui": "Auto", "startDir": ""}


def wait_with_events(condition: Callable[[], object]) -> None:
    def look() -> object:
        yoton.process_events(False)
        return condition()

    wait_until(look)


class Broker:
    """A context between an IDE and a kernel, as Pyzo has one for each shell."""

    def __init__(self) -> None:
        self.context = yoton.Context()
        self.ide_connection = self.context.bind("localhost:PYZO+256", max_tries=256, name="ide")
        self.kernel_connection = self.context.bind("localhost:PYZO", max_tries=256, name="kernel")
        self.kernel_connection.timeout = 0.5
        self.kernel_connection.closed.bind(self._on_kernel_closed)
        self.kernel_connection.timedout.bind(self._on_kernel_timed_out)
        self.heard: list[tuple[yoton.Connection, object]] = []
        self.ticks = 0
        self.timer = yoton.Timer(0.02, oneshot=False)
        self.timer.bind(self._on_timer)

    def _on_kernel_closed(self, connection: yoton.Connection, why: str) -> None:
        self.heard.append((connection, why))

    def _on_kernel_timed_out(self, connection: yoton.Connection, timedout: bool) -> None:
        self.heard.append((connection, timedout))

    def _on_timer(self) -> None:
        self.ticks += 1


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.timer.stop()
    broker.context.close()


@pytest.fixture
def kernel(broker: Broker) -> Iterator[yoton.Context]:
    with yoton.Context() as context:
        context.connect("localhost:" + str(broker.kernel_connection.port1), timeout=1.0)
        wait_until(lambda: broker.kernel_connection.is_connected)
        yield context


@pytest.fixture
def ide(broker: Broker) -> Iterator[yoton.Context]:
    with yoton.Context() as context:
        context.connect(f"localhost:{broker.ide_connection.port1}")
        wait_until(lambda: broker.ide_connection.is_connected)
        yield context


class Introspector(yoton.RepChannel):
    """As in the kernel: public methods for the IDE, and helpers with an underscore."""

    def dir(self, name: str) -> list[str]:
        return self._names_of(name)

    def _names_of(self, name: str) -> list[str]:
        return [f"{name}.one", f"{name}.two"]

    def signature(self, name: str) -> str:
        raise ValueError(f"no such thing: {name}")


def test_the_broker_is_bound_to_named_ports_and_knows_its_connections_by_name(
    broker: Broker, kernel: yoton.Context
) -> None:
    assert broker.ide_connection.port1 >= 50369 + 256
    assert broker.kernel_connection.port1 >= 50369
    assert broker.ide_connection.is_waiting
    assert not broker.ide_connection.is_connected
    assert broker.context.connection_count == 1
    assert broker.context.connections["kernel"] is broker.kernel_connection
    assert broker.context.connections_all["ide"] is broker.ide_connection
    assert broker.kernel_connection.pid2 == broker.kernel_connection.pid1


def test_the_broker_hears_of_a_kernel_that_is_silent_and_goes(broker: Broker) -> None:
    with socket.create_connection(("127.0.0.1", broker.kernel_connection.port1)) as peer:
        peer.sendall(b"YOTON!00000000000000ab.1\r\n")
        wait_with_events(lambda: broker.heard)
        assert broker.heard == [(broker.kernel_connection, True)]
    wait_with_events(lambda: len(broker.heard) >= 2)
    connection, why = broker.heard[-1]
    assert connection is broker.kernel_connection
    assert why


def test_the_timer_of_the_broker_runs_until_it_is_stopped(broker: Broker) -> None:
    broker.timer.start()
    wait_with_events(lambda: broker.ticks >= 3)
    broker.timer.unbind(broker._on_timer)
    broker.timer.stop()
    assert not broker.timer.running
    ticks = broker.ticks
    yoton.process_events(0.1)
    assert broker.ticks == ticks


def test_the_broker_makes_its_channels_again_for_each_kernel(broker: Broker) -> None:
    for _ in range(2):
        broker.context.close_channels()
        yoton.PubChannel(broker.context, "strm-broker")
        yoton.SubChannel(broker.context, "ctrl-broker")
        state = yoton.StateChannel(broker.context, "stat-startup", yoton.OBJECT)
        yoton.ReqChannel(broker.context, "reqp-control")
        state.send(dict(STARTUP_INFO))


def test_attributes_can_be_set_on_contexts_and_futures(kernel: yoton.Context) -> None:
    kernel._ctrl_command = yoton.SubChannel(kernel, "ctrl-command")
    assert kernel._ctrl_command.recv(False) == ""
    future = yoton.ReqChannel(kernel, "reqp-introspect", 0.5).dir("x")
    future.aco = "anything"
    assert future.aco == "anything"


def test_the_kernel_adds_to_the_startup_info_and_the_ide_is_told(
    broker: Broker, ide: yoton.Context, kernel: yoton.Context
) -> None:
    at_broker, at_ide, at_kernel = (
        yoton.StateChannel(context, "stat-startup", yoton.OBJECT)
        for context in (broker.context, ide, kernel)
    )
    versions = []

    def on_startup_info(channel: yoton.StateChannel) -> None:
        versions.append(channel.recv().get("version"))

    at_ide.received.bind(on_startup_info)
    at_broker.send(dict(STARTUP_INFO))
    wait_until(lambda: at_kernel.recv() is not None)
    info = at_kernel.recv().copy()
    info["version"] = tuple(sys.version_info)
    info["builtins"] = dir(builtins)
    at_kernel.send(info.copy())
    wait_with_events(lambda: versions[-1:] == [tuple(sys.version_info)])
    wait_until(lambda: at_broker.recv() == info)


def test_the_kernel_stands_in_for_the_streams_of_python(
    broker: Broker, ide: yoton.Context, kernel: yoton.Context
) -> None:
    command, echo = yoton.PubChannel(ide, "ctrl-command"), yoton.SubChannel(ide, "strm-echo")
    out = yoton.SubChannel(ide, "strm-out")
    stdin = yoton.FileWrapper(
        yoton.SubChannel(kernel, "ctrl-command"),
        echo=yoton.PubChannel(kernel, "strm-echo"),
        isatty=True,
    )
    stdout = yoton.FileWrapper(yoton.PubChannel(kernel, "strm-out"), 256, isatty=True)
    stdout.fileno = sys.__stdout__.fileno
    assert stdout.fileno is not yoton.FileWrapper.fileno
    assert stdin.isatty()
    assert stdout.isatty()
    print("one", 2, file=stdout, flush=True)
    print("x" * 1000, file=stdout)
    text = ""
    while len(text) < 6 + 1001:
        part = out.recv(PATIENCE)
        assert 0 < len(part) <= 256
        text += part
    assert text == "one 2\n" + "x" * 1000 + "\n"

    command.send("typed\n")
    assert stdin.readline() == "typed\n"
    assert echo.recv(PATIENCE) == "typed\n"
    # How the kernel is asked to end.
    stdin._channel.close()
    assert stdin.closed
    assert stdin.readline() == ""


def test_the_kernel_takes_commands_and_code_in_the_order_in_which_they_were_sent(
    ide: yoton.Context, kernel: yoton.Context
) -> None:
    command = yoton.SubChannel(kernel, "ctrl-command")
    code = yoton.SubChannel(kernel, "ctrl-code", yoton.OBJECT)
    to_command = yoton.PubChannel(ide, "ctrl-command")
    to_code = yoton.PubChannel(ide, "ctrl-code", yoton.OBJECT)
    assert yoton.select_sub_channel(command, code) is None
    to_command.send("first\n")
    to_code.send({"source": "second", "lineno": 0})
    to_command.send("third\n")
    wait_until(lambda: command.pending + code.pending == 3)
    assert yoton.select_sub_channel(command, code) is command
    assert command.recv(False) == "first\n"
    assert yoton.select_sub_channel(command, code) is code
    assert code.recv(False)["source"] == "second"
    assert yoton.select_sub_channel(command, code) is command
    assert command.recv_selected() == ["third\n"]


def test_the_ide_asks_a_kernel_that_answers_in_a_thread(
    ide: yoton.Context, kernel: yoton.Context
) -> None:
    introspector = Introspector(kernel, "reqp-introspect")
    introspector.set_mode("thread")
    request = yoton.ReqChannel(ide, "reqp-introspect", 0.5)
    answers: list[object] = []

    def process_response(future: yoton.Future) -> None:
        if future.cancelled():
            answers.append("cancelled")
        elif future.exception():
            answers.append(str(future.exception()))
        else:
            answers.append((future.cto, future.result()))

    future = request.dir("x")
    future.add_done_callback(process_response)
    future.cto = "object"
    wait_with_events(lambda: answers)
    assert answers.pop() == ("object", ["x.one", "x.two"])
    request.signature("y").add_done_callback(process_response)
    wait_with_events(lambda: answers)
    assert str(answers.pop()).startswith("no such thing: y")
    introspector.set_mode(0)
    assert introspector._run_mode == 0
    request.dir("x").add_done_callback(process_response)
    wait_with_events(lambda: answers)
    assert answers.pop() == "cancelled"


def test_the_kernel_can_answer_in_its_main_thread(
    ide: yoton.Context, kernel: yoton.Context
) -> None:
    introspector = Introspector(kernel, "reqp-introspect")
    introspector.set_mode(0)
    future = yoton.ReqChannel(ide, "reqp-introspect", 0.5).dir("x")

    def iteration_of_the_kernel() -> bool:
        if introspector._run_mode == 0:
            introspector._process_events_local()
        return future.done()

    wait_until(iteration_of_the_kernel)
    assert future.result() == ["x.one", "x.two"]


def test_the_ide_embeds_the_event_loop(broker: Broker, kernel: yoton.Context) -> None:
    posted: list[None] = []
    yoton.app.embed_event_loop(lambda: posted.append(None))
    try:
        kernel.close()
        wait_until(lambda: posted)
        yoton.process_events(False)
        wait_with_events(lambda: broker.heard)
    finally:
        yoton.app.embed_event_loop(None)
    assert broker.heard == [(broker.kernel_connection, "Closed from other end.")]


def test_the_kernel_flushes_and_closes_in_the_end(kernel: yoton.Context) -> None:
    kernel.flush(0.1)
    kernel.close()
    assert not kernel.connection_count


def test_the_command_server_of_the_ide() -> None:
    class Server(RequestServer):
        def handle_request(self, request: str) -> str:
            command, _, argument = request.strip().partition(" ")
            return f"{command} {argument!r}"

    server = Server("localhost:0")
    assert not server.is_alive()
    server.start()
    assert server.is_alive()
    reply = do_request(f"localhost:{server.port}", "echo hello there", 0.4 + PATIENCE)
    assert reply is not None
    assert reply.rstrip() == "echo 'hello there'"
    server.stop()
    assert not server.is_alive()
