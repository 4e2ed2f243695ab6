"""The process that `peer` starts: runs a yoton as the test tells it to.

Arguments: the directories in which modules are looked for. Each line on stdin is a command, a
JSON object with the Python ``code`` to run and the ``values`` of names that it uses; the answer
is a line on stdout with its ``result`` or ``error``. Between commands the event loop runs.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import selectors
import sys
import threading
import time
import traceback

#: Seconds between two looks at the events.
PUMP_INTERVAL = 0.002

#: What an answer can carry.
PLAIN_TYPES = (type(None), bool, int, float, str, bytes, list, tuple, dict)


def run(code: str, namespace: dict[str, object]) -> object:
    """Run statements; the value is that of the last one, if it is an expression."""
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body.pop()
        exec(compile(tree, "<test>", "exec"), namespace)
        return eval(compile(ast.Expression(last.value), "<test>", "eval"), namespace)
    exec(compile(tree, "<test>", "exec"), namespace)
    return None


def answer(line: str, namespace: dict[str, object]) -> dict[str, str]:
    command = json.loads(line)
    for name, value in command["values"].items():
        namespace[name] = ast.literal_eval(value)
    try:
        result = run(command["code"], namespace)
        return {"result": repr(result if isinstance(result, PLAIN_TYPES) else None)}
    except Exception:
        return {"error": traceback.format_exc()}


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    yoton = importlib.import_module("yoton")
    namespace: dict[str, object] = {"yoton": yoton, "threading": threading, "time": time}
    # The yoton prints; its output is the test's to read, and no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            if not selector.select(PUMP_INTERVAL):
                yoton.process_events(False)
                continue
            line = sys.stdin.readline()
            if not line:
                break
            answers.write(json.dumps(answer(line, namespace)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
