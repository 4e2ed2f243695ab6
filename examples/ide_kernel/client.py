"""The command: a client for people and for pipes.

::

    python -m examples.ide_kernel.client                          a prompt
    echo "print(6*7)" | python -m examples.ide_kernel.client      code from a pipe
    python -m examples.ide_kernel.client examples/scripts/planets.py 10

It starts a broker and a kernel of its own, unless it is told the address of a broker.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable

from examples.ide_kernel.private_broker import PrivateBroker
from examples.ide_kernel.session import Session, SessionError, start_event_thread

#: Exit status for what has nothing to do with the code: no broker, no such file.
EXIT_ON_TROUBLE = 2


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="client", description="Run Python code in a kernel.")
    parser.add_argument("--broker", metavar="HOST:PORT", help="where a broker has its front desk")
    parser.add_argument("--kernel", default="", help="the name of one of its kernels")
    parser.add_argument("script", nargs="?", default="", help="a file to run")
    parser.add_argument("argv", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(arguments)
    # Chosen here, as the prompt needs a package that pipes do without.
    front_end = "terminal" if sys.stdin.isatty() and not options.script else "pipe"
    run: Callable[..., int] = importlib.import_module(f"{__package__}.{front_end}").run
    start_event_thread()
    try:
        with contextlib.ExitStack() as stack:
            desk = options.broker or stack.enter_context(PrivateBroker()).desk
            session = stack.enter_context(Session(desk, options.kernel))
            return run(session, options.script, options.argv)
    except (SessionError, OSError) as error:
        print(f"client: {error}", file=sys.stderr)
        return EXIT_ON_TROUBLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
