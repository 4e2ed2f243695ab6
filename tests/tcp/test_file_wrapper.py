"""FileWrapper as stdin, stdout and stderr."""

from __future__ import annotations

import io
import multiprocessing
import os
import select
import subprocess
import sys
import threading

import pytest
from support import PATIENCE, run_in_child, wait_until

from yoton.channels import PubChannel, StateChannel, SubChannel
from yoton.channels.file import FileWrapper
from yoton.exceptions import ArgumentError, ChannelClosed
from yoton.message_types import BINARY


@pytest.fixture
def output(pair):
    """A wrapper to write to, and the channel where it arrives."""
    return FileWrapper(PubChannel(pair[0], "out")), SubChannel(pair[1], "out")


@pytest.fixture
def keyboard(pair):
    """A channel to type on, and the wrapper to read from."""
    return PubChannel(pair[1], "in"), FileWrapper(SubChannel(pair[0], "in"))


def receive(sub, size):
    text = ""
    while len(text) < size:
        piece = sub.recv(PATIENCE)
        assert piece, f"only {len(text)} of {size} characters came"
        text += piece
    return text


def test_print_and_writelines(output, monkeypatch):
    wrapper, sub = output
    monkeypatch.setattr(sys, "stdout", wrapper)
    print("hello", 5, end="!\n", flush=True)
    sys.stdout.writelines(["a", "b"])
    assert sys.stdout.write("cd") == 2
    monkeypatch.undo()
    assert receive(sub, 13) == "hello 5!\nabcd"


def test_chunks(pair):
    wrapper = FileWrapper(PubChannel(pair[0], "out"), 4)
    sub = SubChannel(pair[1], "out")
    wrapper.write("abcdefghij")
    assert [sub.recv(PATIENCE) for _ in range(3)] == ["abcd", "efgh", "ij"]


def test_many_threads_lose_no_character(output):
    wrapper, sub = output

    def write(number):
        for line in range(200):
            print(f"thread {number} line {line}", file=wrapper)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    expected = sorted(f"thread {n} line {line}" for n in range(4) for line in range(200))
    text = receive(sub, sum(len(line) + 1 for line in expected))
    for number in range(4):
        lines = [line for line in text.replace("thread", "\nthread").splitlines() if line]
        assert [line for line in lines if line.startswith(f"thread {number} ")] == [
            f"thread {number} line {line}" for line in range(200)
        ]


def test_a_lone_surrogate_is_written_with_a_backslash(output):
    wrapper, sub = output
    wrapper.write("name \udc80")
    assert sub.recv(PATIENCE) == "name \\udc80"


def test_what_is_no_text_is_refused(output):
    with pytest.raises(ValueError, match="str"):
        output[0].write(b"bytes")


def test_input_reads_a_line(keyboard, monkeypatch):
    pub, wrapper = keyboard
    monkeypatch.setattr(sys, "stdin", wrapper)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    pub.send("what was typed")
    assert input("? ") == "what was typed"


def test_lines_from_messages(keyboard):
    pub, wrapper = keyboard
    for message in ("one", "two\n", "three\nfour\nfive", "sixseven"):
        pub.send(message)
    assert [wrapper.readline() for _ in range(5)] == [
        "one\n",
        "two\n",
        "three\n",
        "four\n",
        "five\n",
    ]
    assert wrapper.readline(3) == "six" and wrapper.readline() == "seven\n"


def test_read(keyboard):
    pub, wrapper = keyboard
    assert wrapper.read(False) == "" and wrapper.read(0.01) == ""
    for message in ("abcdef", "gh"):
        pub.send(message)
    assert wrapper.read(2) == "ab" and wrapper.read() == "cdef" and wrapper.read(-1) == "gh"


def test_reading_ends_with_the_channel(keyboard):
    pub, wrapper = keyboard
    pub.send("a\nb")
    wait_until(lambda: wrapper._channel.pending)
    thread = threading.Timer(0.05, wrapper.close)
    thread.start()
    assert list(wrapper) == ["a\n", "b\n"]
    assert wrapper.readline() == "" and wrapper.readlines() == [] and wrapper.read() == ""
    assert wrapper.closed


def test_echo(pair):
    pub = PubChannel(pair[1], "in")
    echoed = SubChannel(pair[1], "echo")
    wrapper = FileWrapper(SubChannel(pair[0], "in"), echo=PubChannel(pair[0], "echo"))
    pub.send("typed")
    assert wrapper.readline() == "typed\n"
    assert echoed.recv(PATIENCE) == "typed"


def test_what_kind_of_file_it_is(output, keyboard):
    wrapper, reader = output[0], keyboard[1]
    assert wrapper.writable() and not wrapper.readable() and not wrapper.seekable()
    assert reader.readable() and not reader.writable()
    assert wrapper.encoding == "UTF-8" and wrapper.newlines is None and not wrapper.softspace
    assert not wrapper.isatty()
    with pytest.raises(io.UnsupportedOperation):
        wrapper.fileno()
    with pytest.raises(io.UnsupportedOperation):
        wrapper.read()
    with pytest.raises(io.UnsupportedOperation):
        reader.write("x")
    wrapper.fileno = lambda: 1
    assert wrapper.fileno() == 1
    wrapper.close()
    with pytest.raises(ChannelClosed):
        wrapper.write("x")


def test_what_it_cannot_wrap_is_refused(pair):
    with pytest.raises(ArgumentError):
        FileWrapper(5)
    with pytest.raises(ArgumentError):
        FileWrapper(StateChannel(pair[0], "state"))
    with pytest.raises(ArgumentError):
        FileWrapper(PubChannel(pair[0], "binary", BINARY))
    pub = PubChannel(pair[0], "text")
    with pytest.raises(ArgumentError):
        FileWrapper(pub, echo="x")
    with pytest.raises(ArgumentError):
        FileWrapper(pub, -1)
    assert FileWrapper(pub, isatty=True).isatty()


def forks(test):
    """Mark a test that forks; Python 3.12 and later warn of forking a process with threads."""
    has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    return has_fork(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@forks
def test_what_a_forked_child_prints_arrives(output):
    wrapper, sub = output
    fork = multiprocessing.get_context("fork")
    wrapper.write("parent before\n")
    child = fork.Process(target=print, args=("from the child €",), kwargs={"file": wrapper})
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert receive(sub, 31) == "parent before\nfrom the child €\n"
    wrapper.write("parent after\n")
    assert sub.recv(PATIENCE) == "parent after\n"


@forks
def test_what_children_print_that_were_forked_at_the_same_time_arrives(output):
    wrapper, sub = output
    # To fork a large process takes a tenth of a second on a machine that is busy.
    numbers = range(10)
    thread_count = 5

    def fork_many():
        for number in numbers:
            run_in_child(lambda number=number: wrapper.write(f"{number} "))
        is_done.append(True)

    is_done = []
    threads = [threading.Thread(target=fork_many) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert is_done == thread_count * [True], "each child had somewhere to write to"
    size = thread_count * sum(len(f"{number} ") for number in numbers)
    received = sorted(map(int, receive(sub, size).split()))
    assert received == sorted(thread_count * [*numbers])


ORPHANS = """
import os, signal, sys, yoton

wrapper = yoton.FileWrapper(yoton.PubChannel(yoton.Context(), "out"))
if os.fork() == 0:
    try:
        while True:
            wrapper.write("x" * 1000)
    except OSError:
        os.write(1, b"heard")
        os._exit(0)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@forks
def test_a_child_hears_that_its_parent_is_gone_though_a_later_one_lives():
    command = [sys.executable, "-c", ORPHANS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        has_heard, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert has_heard
        assert os.read(process.stdout.fileno(), 10) == b"heard"
