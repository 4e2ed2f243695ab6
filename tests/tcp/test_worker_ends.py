"""How processes end that a program has forked, or that multiprocessing has made for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from programs import CONNECT, FLUSH, THREADS, Audience, Program, check_ending

from yoton.connection.protocol import OTHER_END_CLOSED, OTHER_END_DROPPED
from yoton.context import Context

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def audience() -> Iterator[Audience]:
    # It is not to be a full queue that loses messages.
    with Context(queue_params=(10**9, "old")) as context:
        yield Audience(context)


# A child talks to its parent, which has a connection to the audience meanwhile.
CREW = """
def work(port, name="child"):
    context = yoton.Context()
    context.connect(f"localhost:{port}")
    assert yoton.ReqChannel(context, "office").may_begin().result(10.0)
    pub = yoton.PubChannel(context, "work")
    for number in range(1000):
        pub.send(f"{name} {number}")
    return context

class Office(yoton.RepChannel):
    def may_begin(self):
        return True

class Crew:
    def __init__(self):
        self.context = yoton.Context()
        self.office = Office(self.context, "office")
        self.office.set_mode("thread")
        self.work = yoton.SubChannel(self.context, "work")
        self.ends = []

    def new_port(self):
        connection = self.context.bind("localhost:0")
        connection.closed.bind(lambda connection, reason: self.ends.append(reason))
        return connection.port1

    def check(self, name="child"):
        while not self.ends:
            yoton.process_events(10.0)
        assert self.work.recv_all() == [f"{name} {number}" for number in range(1000)]
        say("the child:", self.ends[0])
"""


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("sys.exit()", OTHER_END_CLOSED),
        ("context.flush(); os._exit(0)", OTHER_END_DROPPED),
        ("context.close(); os._exit(0)", OTHER_END_CLOSED),
    ],
)
def test_a_forked_child(audience: Audience, ending: str, reason: str) -> None:
    code = f"""
start_threads(daemon=True)
crew = Crew()
port = crew.new_port()
pid = os.fork()
if pid == 0:
    context = work(port)
    {ending}
assert os.waitpid(pid, 0)[1] == 0
crew.check()
flush()
end_begins()
"""
    with Program(CONNECT + CREW + THREADS + code, audience.port) as program:
        assert program.hear("the child: ") == reason
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


# Processes that are spawned import the program.
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing(audience: Audience, method: str) -> None:
    code = f"""
import multiprocessing

def main():
    crew = Crew()
    maker = multiprocessing.get_context("{method}")
    child = maker.Process(target=work, args=(crew.new_port(),))
    child.start()
    child.join()
    assert child.exitcode == 0
    crew.check()

if __name__ == "__main__":
    exec({CONNECT + FLUSH!r})
    main()
    end_begins()
"""
    with Program(CREW + code, audience.port) as program:
        assert program.hear("the child: ") == OTHER_END_CLOSED
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


def test_threads_that_a_process_of_multiprocessing_waits_for_go_on_sending(
    audience: Audience,
) -> None:
    code = """
import multiprocessing

def main(port):
    def send():
        threading.main_thread().join(0.1)
        pub.send("late 0")
        context.flush()

    context = work(port)
    pub = yoton.PubChannel(context, "late")
    threading.Thread(target=send).start()

if __name__ == "__main__":
    exec(CONNECT_AND_FLUSH)
    crew = Crew()
    late = yoton.SubChannel(crew.context, "late")
    child = multiprocessing.get_context("fork").Process(target=main, args=(crew.new_port(),))
    child.start()
    assert late.recv(10.0) == "late 0"
    child.join()
    end_begins()
"""
    code = code.replace("CONNECT_AND_FLUSH", repr(CONNECT + FLUSH))
    with Program(CREW + code, audience.port) as program:
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


# What its end has to wait for: threads that are idle, or at work, or that start another one.
OTHERS = {
    "an idle pool": """
    pool = ThreadPoolExecutor(2)
    pool.submit(work, port, send=later.append).result()
    later[0]()
""",
    "a pool at work": """
    pool = ThreadPoolExecutor(1)
    pool.submit(work, port, send=lambda send: wait(0.2) or send())
""",
    "threads one after the other": """
    last = threading.Timer(0.1, lambda: later[0]())
    threading.Timer(0.1, last.start).start()
    work(port, send=later.append)
""",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_a_process_of_multiprocessing_sent_before_its_last_thread_ended(
    audience: Audience, kind: str
) -> None:
    code = f"""
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

wait = threading.Event().wait
later = []

def work(port, send):
    global context, pub
    context = yoton.Context()
    context.connect(f"localhost:{{port}}")
    pub = yoton.PubChannel(context, "work")
    send(lambda: [pub.send(f"child {{number}}") for number in range(1000)])

def main(port):
    global pool
{OTHERS[kind]}

if __name__ == "__main__":
    exec({CONNECT + FLUSH!r})
    crew = Crew()
    child = multiprocessing.get_context("fork").Process(target=main, args=(crew.new_port(),))
    child.start()
    child.join()
    crew.check()
    end_begins()
"""
    with Program(CREW + code, audience.port) as program:
        assert program.hear("the child: ") == OTHER_END_CLOSED
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


POOLS = {
    "executor": """
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1) as pool:
        pool.submit(begin, crew.new_port()).result()
        list(pool.map(send, range(1000)))
""",
    "pool": """
    pool = multiprocessing.Pool(1)
    pool.apply(begin, (crew.new_port(),))
    pool.map(send, range(1000))
    pool.close()
    pool.join()
""",
}


@pytest.mark.parametrize("kind", POOLS)
def test_workers_of_a_pool(audience: Audience, kind: str) -> None:
    code = f"""
import multiprocessing

def begin(port):
    global pub
    context = yoton.Context()
    context.connect(f"localhost:{{port}}")
    pub = yoton.PubChannel(context, "work")

def send(number):
    pub.send(f"worker {{number}}")

if __name__ == "__main__":
    exec({CONNECT + FLUSH!r})
    crew = Crew()
{POOLS[kind]}
    crew.check("worker")
    end_begins()
"""
    with Program(CREW + code, audience.port) as program:
        assert program.hear("the child: ") == OTHER_END_CLOSED
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


@pytest.mark.parametrize(
    "making",
    [
        "if os.fork() == 0: time.sleep(1000); os._exit(0)",
        "multiprocessing.Process(target=time.sleep, args=(1000,), daemon=True).start()",
    ],
    ids=["fork", "multiprocessing"],
)
def test_a_parent_that_ends_while_a_child_lives(audience: Audience, making: str) -> None:
    code = f"""
import multiprocessing

start_threads(daemon=True)
{making}
flush()
end_begins()
"""
    with Program(CONNECT + THREADS + code, audience.port) as program:
        check_ending(program.end())
        audience.check(program, OTHER_END_CLOSED)


def test_a_parent_that_is_killed_while_a_child_lives(audience: Audience) -> None:
    """The child must not keep the connection open."""
    code = """
start_threads(daemon=True)
if os.fork() == 0:
    time.sleep(1000)
    os._exit(0)
flush()
end_begins()
os.kill(os.getpid(), signal.SIGKILL)
"""
    with Program(CONNECT + THREADS + code, audience.port) as program:
        check_ending(program.end(), -signal.SIGKILL)
        audience.check(program, OTHER_END_DROPPED)
