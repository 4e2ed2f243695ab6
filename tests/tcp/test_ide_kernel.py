"""The kernel, broker and client in examples/ide_kernel, in parts and as a whole."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import PATIENCE, wait_until

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.execution import Interpreter
from examples.ide_kernel.introspection import complete, describe_call
from examples.ide_kernel.kernel import EXIT_BY_SIGNAL
from examples.ide_kernel.private_broker import PrivateBroker
from examples.ide_kernel.session import (
    Output,
    RunningCell,
    Session,
    SessionError,
)

# Pseudo terminals and process groups are those of POSIX systems.
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

ROOT = Path(__file__).parents[2]

#: Seconds that code runs before it is interrupted.
UNDISTURBED = 0.1


# The interpreter, without channels


@pytest.fixture
def interpreter() -> Interpreter:
    return Interpreter()


def run(interpreter: Interpreter, source: str) -> str:
    return interpreter.run_cell(source, "<cell>")


def test_only_the_value_of_the_last_line_is_shown(interpreter, capsys):
    assert run(interpreter, "x = 6\nx\nx * 7") == ""
    assert capsys.readouterr().out == "42\n"


@pytest.mark.parametrize("source", ["x = 6", "", "None", "for i in range(3): i", "def f(): 1"])
def test_what_has_no_value_shows_none(interpreter, capsys, source):
    assert run(interpreter, source) == ""
    assert capsys.readouterr().out == ""


def test_names_and_future_imports_last_from_one_cell_to_the_next(interpreter, capsys):
    run(interpreter, "from __future__ import annotations\nname = 'Ada'")
    run(interpreter, "def f(x: NotDefined): pass\nprint(name, f.__annotations__)")
    assert capsys.readouterr().out == "Ada {'x': 'NotDefined'}\n"


def test_a_script_finds_itself_as_when_python_runs_it(interpreter, capsys, tmp_path):
    script = tmp_path / "script.py"
    source = (
        "import sys\nif __name__ == '__main__':\n    print(sys.argv[1:], __file__, sys.path[0])\n42"
    )
    argv, path = list(sys.argv), list(sys.path)
    assert interpreter.run_script(source, str(script), ["a", "b"]) == ""
    assert capsys.readouterr().out == f"['a', 'b'] {script} {tmp_path}\n"
    assert (sys.argv, sys.path) == (argv, path)
    assert "__file__" not in interpreter.namespace


def test_a_traceback_shows_lines_of_the_code_and_no_others(interpreter, capsys):
    run(interpreter, "def divide(a, b):\n    return a / b")
    source = (
        "try:\n    divide(1, 0)\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e"
    )
    assert interpreter.run_cell(source, "<cell 2>") == "ValueError"
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if not re.fullmatch("[ ^~]+", line)]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 2, in <module>',
        "    divide(1, 0)",
        '  File "<cell>", line 2, in divide',
        "    return a / b",
        "ZeroDivisionError: division by zero",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 4, in <module>',
        "    raise ValueError('x') from e",
        "ValueError: x",
    ]


def test_a_syntax_error_shows_where_it_is_and_no_traceback(interpreter, capsys):
    assert run(interpreter, "x = 1\nx = = 2") == "SyntaxError"
    text = capsys.readouterr().err
    assert 'File "<cell>", line 2\n    x = = 2\n' in text
    assert "Traceback" not in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no exception groups")
def test_the_parts_of_an_exception_group_show_no_other_lines(interpreter, capsys):
    source = (
        "def f(): 1 / 0\ntry:\n    f()\nexcept Exception as e:\n    raise ExceptionGroup('g', [e])"
    )
    assert run(interpreter, source) == "ExceptionGroup"
    text = capsys.readouterr().err
    assert "def f(): 1 / 0" in text
    assert "execution.py" not in text


def test_frames_that_the_code_leads_to_are_hidden_as_well(capsys):
    # As a print() into a channel is, when it is interrupted.
    interpreter = Interpreter({__file__})
    interpreter.namespace["fail"] = functools.partial(pytest.fail, "on purpose")
    interpreter.namespace["call"] = lambda function: function()
    assert run(interpreter, "call(fail)") == "Failed"
    text = capsys.readouterr().err
    assert "    call(fail)\n" in text
    assert __file__ not in text
    assert "outcomes.py" not in text


def test_a_traceback_is_shown_even_if_the_code_has_closed_stderr(interpreter, monkeypatch, capfd):
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(interpreter, "1 / 0") == "ZeroDivisionError"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_exception_without_a_text_is_still_told_of(interpreter, capsys):
    source = "class Bad(Exception):\n    def __str__(self): raise SystemExit\nraise Bad"
    assert run(interpreter, source) == "Bad"
    assert "Bad" in capsys.readouterr().err


def test_system_exit_goes_through(interpreter):
    with pytest.raises(SystemExit, match="3"):
        run(interpreter, "raise SystemExit(3)")


def test_an_interrupt_ends_code_that_runs(interpreter, capsys):
    interpreter.namespace["interrupt"] = lambda: interpreter.interrupt(sys._getframe())
    assert run(interpreter, "interrupt()") == "KeyboardInterrupt"
    assert run(interpreter, "print(1)") == ""


def test_an_interrupt_before_the_code_ends_it_at_its_beginning(interpreter, capsys):
    interpreter.prepare()
    interpreter.interrupt(sys._getframe())
    assert run(interpreter, "print(1)") == "KeyboardInterrupt"
    assert capsys.readouterr().out == ""


def test_an_interrupt_after_the_code_does_not_end_the_next(interpreter, capsys):
    interpreter.interrupt(sys._getframe())
    interpreter.prepare()
    assert run(interpreter, "print(1)") == ""


# Completion and signatures, without channels


class Shape:
    """A shape."""

    kind = "plain"

    def __init__(self, size: int, *, color: str = "red") -> None:
        self.size = size
        self.label = "text"

    def scale(self, factor: float = 2.0) -> None:
        """Make it larger."""

    @classmethod
    def unit(cls, name: str) -> None:
        pass

    @property
    def area(self) -> int:
        pytest.fail("a property was executed")

    def __getattr__(self, name: str) -> object:
        pytest.fail(f"__getattr__ was called for {name}")


NAMES = {"shape": Shape(1), "Shape": Shape, "os": os, "shadow": 1, "_private": 2}


def matches(source: str) -> list[str]:
    reply = complete(source, len(source), NAMES)
    prefix = source[reply["start"] :]
    assert all(name.startswith(prefix) for name in reply["matches"])
    return reply["matches"]


@pytest.mark.parametrize(
    "source, expected",
    [
        ("sha", ["shadow", "shape"]),
        ("x = [sha", ["shadow", "shape"]),
        ("a\nwhi", ["while"]),
        ("pri", ["print"]),
        ("shape.", ["area", "kind", "label", "scale", "size", "unit"]),
        ("shape.s", ["scale", "size"]),
        ("shape.label.upp", ["upper"]),
        ("os.path.absp", ["abspath"]),
        ("shape.area.", []),
        ("nothing.", []),
        ("f().upp", []),
        ("1.", []),
        ("_priv", ["_private"]),
        ("import json.enc", ["encoder"]),
        ("from json import JSONEnc", ["JSONEncoder"]),
        ("from json import loads, JSONEnc", ["JSONEncoder"]),
        ("from xml.etree import ElementT", ["ElementTree"]),
    ],
)
def test_completion_finds(source, expected):
    assert matches(source) == expected


def test_completion_finds_modules():
    assert "json" in matches("import js")
    assert "sys" in matches("import os, sy")
    assert "json" in matches("from js")


def test_completion_is_about_the_name_at_the_position():
    assert complete("shad + x", 4, NAMES) == {"start": 0, "matches": ["shadow"]}


def test_underscores_are_offered_to_those_who_ask():
    assert "_private" not in matches("")
    assert "__class__" in matches("shape.__")


@pytest.mark.parametrize(
    "source, name, signature",
    [
        ("Shape(", "Shape", "(size: 'int', *, color: 'str' = 'red') -> 'None'"),
        ("shape.scale(", "shape.scale", "(factor: 'float' = 2.0) -> 'None'"),
        ("Shape.scale(", "Shape.scale", "(self, factor: 'float' = 2.0) -> 'None'"),
        ("shape.unit('(', ", "shape.unit", "(name: 'str') -> 'None'"),
        ("x = len(a[", "len", "(obj, /)"),
        ("Shape(len(a), ", "Shape", "(size: 'int', *, color: 'str' = 'red') -> 'None'"),
        ("os.path.join('a',\n    ", "os.path.join", "(a, *p)"),
        ("shape.label.upper(", "shape.label.upper", "()"),
    ],
)
def test_the_call_around_the_position_is_described(source, name, signature):
    description = describe_call(source, len(source), NAMES)
    assert (description["name"], description["signature"]) == (name, signature)


@pytest.mark.parametrize(
    "source",
    ["", "shape", "Shape(1)", "(", "if (", "def f(", "class A(", "f()(", "nothing(", "shape.area("],
)
def test_where_nothing_is_called_nothing_is_described(source):
    assert describe_call(source, len(source), NAMES) is None


def test_a_description_has_the_docstring():
    assert describe_call("shape.scale(", 12, NAMES)["docstring"] == "Make it larger."


def test_an_object_that_makes_up_its_attributes_is_not_described():
    assert describe_call("shape(", 6, NAMES) is None


@pytest.mark.parametrize(
    "source, expected",
    [
        ("6 * 7", True),
        ("x = [1,", False),
        ('x = """text', False),
        ("if x:", False),
        ("if x:\n    y", False),
        ("if x:\n    y\n", True),
        ("if x: y", True),
        ("x = = 1", True),
        ("", True),
    ],
)
def test_the_prompt_knows_what_is_complete(source, expected):
    terminal = pytest.importorskip("examples.ide_kernel.terminal")
    assert terminal.is_complete(source) is expected


# A kernel, a broker and clients


@pytest.fixture
def event_thread() -> Iterator[None]:
    thread = threading.Thread(target=yoton.start_event_loop)
    thread.start()
    yield
    yoton.stop_event_loop()
    thread.join(PATIENCE)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBroker]:
    monkeypatch.chdir(ROOT)
    with PrivateBroker() as broker:
        yield broker


class Client:
    """A session, and all that came of the kernel's output."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.outputs: list[Output] = []
        session.output.bind(self._note)

    def _note(self, output: Output) -> None:
        self.outputs.append(output)

    def text(self, stream: str = "stdout") -> str:
        return "".join(output.text for output in self.outputs if output.stream == stream)

    def start(self, source: str) -> RunningCell:
        cell = self.session.submit(source)
        self.expect(cell, "started")
        return cell

    def expect(self, cell: RunningCell, what: str) -> slots.CellEvent:
        event = cell.next_event(PATIENCE)
        assert event["what"] == what
        return event

    def run(self, source: str) -> str:
        return self.expect(self.start(source), "finished")["error"]

    def wait_for_phase(self, phase: str, run: int = 1) -> slots.ProcessStatus:
        return self.session.wait_for_status(
            lambda status: (status["phase"], status["run"]) == (phase, run), PATIENCE
        )


@pytest.fixture
def make_client(broker: PrivateBroker, event_thread: None) -> Iterator[Callable[[], Client]]:
    with contextlib.ExitStack() as stack:
        yield lambda kernel="": Client(stack.enter_context(Session(broker.desk, kernel)))


@pytest.fixture
def client(make_client: Callable[[], Client]) -> Client:
    return make_client()


def is_running(pid: int) -> bool:
    """Tell whether there is a process; one that has ended and was not fetched is none."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(found.stdout) and not found.stdout.startswith("Z")


def test_what_is_sent_while_the_kernel_starts_is_run(client):
    assert client.session.status["phase"] in ("starting", "running")
    assert client.run("print(6 * 7)") == ""
    assert client.text() == "42\n"


def test_all_output_has_come_in_order_when_a_cell_is_finished(client):
    lines = 3000
    source = (
        "import sys\n"
        f"for i in range({lines}):\n"
        "    print(i, file=sys.stderr if i % 3 else sys.stdout)"
    )
    cell = client.start(source)
    client.expect(cell, "finished")
    assert "".join(output.text for output in client.outputs) == "".join(
        f"{i}\n" for i in range(lines)
    )


def test_input_is_answered(client):
    cell = client.start("name = input('name? '); print('Hello', name)")
    client.expect(cell, "input")
    assert client.text() == "name? "
    assert client.session.state == "input"
    client.session.answer("Ada")
    client.expect(cell, "finished")
    assert client.text() == "name? Hello Ada\n"
    assert client.session.state == "idle"


def test_the_end_of_input_raises_an_eof_error(client):
    cell = client.start("input()")
    client.expect(cell, "input")
    client.session.answer(slots.END_OF_INPUT)
    assert client.expect(cell, "finished")["error"] == "EOFError"


def test_lines_typed_ahead_are_read_without_asking(client):
    cell = client.start("print(input(), input())")
    client.expect(cell, "input")
    client.session.answer("one\ntwo")
    client.expect(cell, "finished")
    assert client.text() == "one two\n"


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(3600)",
        "while True: pass",
        "import threading; threading.Event().wait()",
        "import subprocess; subprocess.run(['sleep', '3600'])",
        "while True: print(1)",
        "input()",
    ],
)
def test_code_is_interrupted(client, source):
    cell = client.start(source)
    time.sleep(UNDISTURBED)
    client.session.interrupt()
    while (event := cell.next_event(PATIENCE))["what"] == "input":
        pass
    assert (event["what"], event["error"]) == ("finished", "KeyboardInterrupt")
    assert client.text("stderr").endswith("\nKeyboardInterrupt\n")
    assert "/yoton/" not in client.text("stderr")
    assert client.run("'goes on'") == ""


def test_the_making_of_a_traceback_is_interrupted(client):
    source = "class Endless(Exception):\n    def __str__(self):\n        while True: pass\n"
    cell = client.start(f"{source}raise Endless")
    time.sleep(UNDISTURBED)
    client.session.interrupt()
    assert client.expect(cell, "finished")["error"] == "Endless"


def test_an_interrupt_that_comes_too_late_does_no_harm(client):
    for _ in range(50):
        cell = client.session.submit("pass")
        client.session.interrupt()
        client.expect(cell, "started")
        client.expect(cell, "finished")
    assert client.session.status["phase"] == "running"


def test_questions_are_answered_while_code_runs(client):
    client.run("def shout(text, times=3): 'Say it.'")
    client.start("while True: pass")
    introspection = client.session.introspection
    assert introspection.complete("sho", 3).result(PATIENCE)["matches"] == ["shout"]
    description = introspection.describe_call("shout(", 6).result(PATIENCE)
    assert description["signature"] == "(text, times=3)"


def test_a_kernel_that_is_killed_is_told_of_and_started_again(client):
    client.run("x = 1")
    cell = client.start("import time; time.sleep(3600)")
    os.kill(client.session.status["pid"], signal.SIGKILL)
    client.expect(cell, "lost")
    assert client.wait_for_phase("ended")["exit_code"] == -signal.SIGKILL
    client.expect(client.session.submit("print(1)"), "lost")
    client.session.restart()
    assert client.session.state == "idle"
    assert client.run("x") == "NameError"


@pytest.mark.parametrize(
    "source, exit_code, last_event",
    [
        ("raise SystemExit", 0, "finished"),
        ("import sys; sys.exit(7)", 7, "finished"),
        ("import os; os._exit(8)", 8, "lost"),
        ("import os; os.abort()", -signal.SIGABRT, "lost"),
    ],
)
def test_the_exit_code_is_seen(client, source, exit_code, last_event):
    cell = client.session.submit(source)
    # A process that ends at once may not have told of the start.
    events = [cell.next_event(PATIENCE)["what"]]
    if events == ["started"]:
        events.append(cell.next_event(PATIENCE)["what"])
    assert events[-1] == last_event
    assert client.wait_for_phase("ended")["exit_code"] == exit_code


def test_what_is_printed_at_exit_arrives(client):
    source = "import atexit\natexit.register(print, 'x' * 100_000)\nraise SystemExit"
    client.expect(client.start(source), "finished")
    client.wait_for_phase("ended")
    assert client.text() == "x" * 100_000 + "\n"


def test_what_is_written_past_python_arrives(client):
    client.run("import os\n_ = os.write(1, b'raw out')\n_ = os.write(2, b'raw error')")
    wait_until(lambda: client.text() == "raw out" and "raw error" in client.text("stderr"))


def test_what_a_forked_child_prints_arrives(client):
    source = "import os\nif os.fork() == 0:\n    print('child')\n    os._exit(0)\n_ = os.wait()"
    client.run(source)
    wait_until(lambda: "child\n" in client.text())


def test_two_clients_see_the_same_and_whose_it_is(make_client):
    first, second = make_client(), make_client()
    first.run("x = 1; print('first')")
    second.run("print('second', x)")
    wait_until(lambda: first.text() == second.text() == "first\nsecond 1\n")
    for client, own in ((first, "first\n"), (second, "second 1\n")):
        outputs = [output.text for output in client.outputs if not output.is_foreign]
        assert "".join(outputs) == own


def test_a_late_client_sees_what_follows(make_client):
    first = make_client()
    first.run("print('early')")
    late = make_client()
    late.run("print('late')")
    assert late.text() == "late\n"


def test_kernels_do_not_hear_each_other(make_client):
    first = make_client()
    first.run("x = 1")
    name = first.session.control.start().result(PATIENCE)
    second = make_client(name)
    assert second.run("x") == "NameError"
    assert first.text() == first.text("stderr") == ""
    kernels = first.session.control.list().result(PATIENCE)
    assert list(kernels) == ["kernel-1", name]
    assert kernels[name]["pid"] == second.session.status["pid"] != kernels["kernel-1"]["pid"]


def test_a_kernel_is_terminated_even_if_it_resists(client):
    client.run("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)")
    client.start("time.sleep(3600)")
    client.session.control.terminate().result(PATIENCE)
    assert client.wait_for_phase("ended")["exit_code"] == -signal.SIGKILL


def test_a_kernel_is_terminated_in_an_orderly_way(client):
    client.start("import time\ntry: time.sleep(3600)\nfinally: print('cleaned up')")
    time.sleep(UNDISTURBED)
    client.session.control.terminate().result(PATIENCE)
    assert client.wait_for_phase("ended")["exit_code"] == EXIT_BY_SIGNAL + signal.SIGTERM
    assert client.text() == "cleaned up\n"


def test_a_client_without_a_broker_or_kernel_is_told(broker, event_thread):
    with pytest.raises(SessionError, match="no kernel is named 'other'"):
        Session(broker.desk, "other")
    with pytest.raises(SessionError, match="no server"):
        Session("localhost:1")


def start_family(client: Client) -> list[int]:
    """Have the kernel start a process, and get the ids of both."""
    client.run("import subprocess\nchild = subprocess.Popen(['sleep', '3600'])\nprint(child.pid)")
    client.session.submit("while True: pass")
    return [client.session.status["pid"], int(client.text())]


def test_who_waits_for_a_cell_hears_that_the_broker_is_gone(broker, client):
    cell = client.start("while True: pass")
    os.kill(broker.pid, signal.SIGKILL)
    client.expect(cell, "lost")
    client.expect(client.session.submit("print(1)"), "lost")
    with pytest.raises(SessionError, match="the broker is gone"):
        client.wait_for_phase("ended")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_broker(broker, client, signum):
    family = start_family(client)
    os.kill(broker.pid, signum)
    wait_until(lambda: not any(is_running(pid) for pid in (broker.pid, *family)))


def test_nothing_outlives_the_kernel(client):
    family = start_family(client)
    os.kill(family[0], signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, family)))


# The programs


def run_module(name: str, *arguments: str, source: str | None = None) -> SimpleNamespace:
    return subprocess.run(
        [sys.executable, "-m", f"examples.ide_kernel.{name}", *arguments],
        cwd=ROOT,
        input=source,
        stdin=subprocess.DEVNULL if source is None else None,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


@pytest.mark.parametrize(
    "source, status, out, err",
    [
        ("print(6*7)", 0, "42\n", ""),
        ("6*7", 0, "42\n", ""),
        ("print('a'); 1/0", 1, "a\n", "ZeroDivisionError: division by zero\n"),
        ("exit(3)", 3, "", ""),
        ("exit('bye')", 1, "", "bye\n"),
        ("import os; os.kill(os.getpid(), 9)", 137, "", "the kernel was ended by signal 9\n"),
        ("input()", 1, "", "EOFError: EOF when reading a line\n"),
    ],
)
def test_the_client_runs_code_from_a_pipe(source, status, out, err):
    ended = run_module("client", source=source)
    assert (ended.returncode, ended.stdout) == (status, out)
    assert ended.stderr.endswith(err) if err else ended.stderr == ""


def test_the_client_runs_a_script_that_reads_its_input(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(input(), sys.argv[1:])\nsys.exit(4)\n")
    ended = run_module("client", str(script), "-x", "y", source="line\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (4, "line ['-x', 'y']\n", "")


def test_the_client_ends_when_nobody_reads_its_output():
    client = "python -m examples.ide_kernel.client".replace("python", sys.executable)
    command = f"echo 'while True: print(1)' | {client} | head -n 1"
    ended = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_the_client_says_what_it_cannot_find(tmp_path):
    ended = run_module("client", str(tmp_path / "none.py"))
    assert ended.returncode == 2
    assert "No such file" in ended.stderr


def test_nothing_outlives_the_client():
    with subprocess.Popen(
        [sys.executable, "-m", "examples.ide_kernel.client"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        client.stdin.write("import os\nprint(os.getpid(), os.getppid())\nwhile True: pass")
        client.stdin.close()
        pids = list(map(int, client.stdout.readline().split()))
        assert all(map(is_running, pids))
        client.kill()
    wait_until(lambda: not any(map(is_running, pids)))


def test_the_demo_sees_all_it_shows():
    ended = run_module("demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "All of it was seen to happen." in ended.stdout
    assert re.search(r"processes started / left over +3 / 0\n", ended.stdout)
    assert ended.stderr == ""


class Typist:
    """Somebody at a terminal."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self._seen:
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"no {text!r} in {self._seen!r}"
            data = os.read(self._master, 65536)
            if b"\x1b[6n" in data:  # where is the cursor?
                self.type("\x1b[1;1R")
            self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode())
        self._seen = self._seen.partition(text)[2]


@pytest.fixture
def terminal() -> Iterator[tuple[Typist, subprocess.Popen]]:
    pytest.importorskip("prompt_toolkit")
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        # The terminal has to be its own for Ctrl-C to reach it.
        [sys.executable, "-c", _RUN_AT_TERMINAL],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    ) as client:
        os.close(slave)
        yield Typist(master), client
        client.kill()
    os.close(master)


_RUN_AT_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from examples.ide_kernel.client import main
sys.exit(main([]))
"""


def test_a_dialogue_at_a_terminal(terminal):
    typist, client = terminal
    for typed, shown in [
        ("6*7\r", "\r\n42\r\n"),
        ("for i in range(3):\rprint(i * 100)\r\r", "\r\n200\r\n"),
        ("name = input('who? ')\r", "\r\nwho? "),
    ]:
        typist.read_until(">>>")
        typist.type(typed)
        typist.read_until(shown)
    typist.type("Ada\n")
    typist.read_until(">>>")
    typist.type("while True: pass\r")
    typist.read_until("while True: pass\r")
    time.sleep(UNDISTURBED)
    typist.type("\x03")
    typist.read_until("KeyboardInterrupt")
    typist.read_until(">>>")
    typist.type("thrown away\x03")
    typist.read_until(">>>")
    typist.type("na\t")
    typist.read_until("me")  # what is added to what was typed
    typist.type(".join(")
    typist.read_until("name.join(iterable, /)")
    typist.type("'xyz')\r")
    typist.read_until("'xAdayAdaz'")
    typist.read_until(">>>")
    typist.type("import os; os._exit(3)\r")
    typist.read_until("exit code 3; a new one is started]")
    typist.read_until(">>>")
    typist.type("exit(5)\r")
    assert client.wait(PATIENCE) == 5
