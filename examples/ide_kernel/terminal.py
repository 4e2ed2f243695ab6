"""The front end for somebody at a terminal: a prompt with history and completion.

Enter runs what is complete and begins a new line of what is not; Ctrl-C interrupts the code, or
throws away what was typed; Ctrl-D ends. While no code runs, the line at the bottom shows what
the kernel is at, and the signature of the function whose arguments are being typed.
"""

from __future__ import annotations

import codeop
import sys
from collections.abc import Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    ThreadedCompleter,
)
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout

import yoton
from examples.ide_kernel.pipe import exit_status
from examples.ide_kernel.session import Output, Session

PROMPT = ">>> "
CONTINUATION = "... "
INDENTATION = "    "

#: Seconds after which completion is given up, as the kernel does not answer; one can type on.
COMPLETION_TIMEOUT = 10.0


class KernelCompleter(Completer):
    """Asks the kernel, also while it runs other code."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Get what fits at the cursor; blocks."""
        future = self._session.introspection.complete(document.text, document.cursor_position)
        try:
            reply = future.result_or_cancel(COMPLETION_TIMEOUT)
        except (yoton.YotonError, yoton.CancelledError):  # it has just ended
            reply = None
        if reply is not None:
            start = reply["start"] - document.cursor_position
            for name in reply["matches"]:
                yield Completion(name, start_position=start)


class Terminal:
    """A dialogue between somebody at a terminal and a kernel."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._signature = ""
        # The request for the signature that belongs to what is typed now.
        self._question: yoton.Future | None = None
        self._is_line_open = False
        self._prompt: PromptSession[str] = PromptSession(
            message=PROMPT,
            prompt_continuation=CONTINUATION,
            multiline=True,
            key_bindings=_key_bindings(),
            completer=ThreadedCompleter(KernelCompleter(session)),
            complete_while_typing=False,
            bottom_toolbar=self._bottom_line,
        )
        self._prompt.default_buffer.on_text_changed += self._ask_for_signature
        session.output.bind(self._show)

    def run(self) -> int:
        """Converse until Ctrl-D or exit(); returns the exit status."""
        while True:
            try:
                source = self._read()
                if source.strip() and self._execute(source):
                    return exit_status(self._session)
            except KeyboardInterrupt:
                pass  # what was typed is thrown away
            except EOFError:
                return 0

    def _read(self) -> str:
        self._question, self._signature = None, ""
        if self._is_line_open:
            print()
            self._is_line_open = False
        with patch_stdout(raw=True):  # what comes meanwhile is shown above the prompt
            return self._prompt.prompt()

    def _execute(self, source: str) -> bool:
        """Run code; tells whether it has ended the kernel in an orderly way."""
        event = self._session.see_through(self._session.submit(source), self._read_line)
        if event["what"] == "lost":
            self._restart()
        return event["error"] == SystemExit.__name__

    def _read_line(self) -> str:
        line = input()  # behind the prompt that the code has printed
        self._is_line_open = False
        return line

    def _restart(self) -> None:
        exit_code = self._session.status["exit_code"]
        print(f"[the kernel has ended with exit code {exit_code}; a new one is started]")
        self._session.restart()

    def _show(self, output: Output) -> None:
        stream = sys.stdout if output.stream == "stdout" else sys.stderr
        stream.write(output.text)
        stream.flush()
        self._is_line_open = not output.text.endswith("\n")

    # The line at the bottom

    def _bottom_line(self) -> str:
        status = self._session.status
        kernel = f"{self._session.state or status['phase']}, process {status['pid']}"
        return f" {kernel}   {self._signature}"

    def _ask_for_signature(self, buffer: Buffer) -> None:
        document = buffer.document
        ask = self._session.introspection.describe_call
        self._question = ask(document.text, document.cursor_position)
        self._question.add_done_callback(self._note_signature)

    def _note_signature(self, future: yoton.Future) -> None:
        is_late = future is not self._question
        if is_late or future.cancelled() or future.exception() is not None:
            return
        description = future.result()
        self._signature = ""
        if description is not None:
            self._signature = description["name"] + description["signature"]
        self._prompt.app.invalidate()


def is_complete(source: str) -> bool:
    """Tell whether code can be run, or is so wrong that it may as well be."""
    lines = source.split("\n")
    if len(lines) > 1 and lines[-1][:1].isspace() and lines[-1].strip():
        return False  # a block goes on until an empty line
    try:
        return codeop.compile_command(source, symbol="exec") is not None
    except (SyntaxError, ValueError, OverflowError):
        return True


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None  # the name stays, the menu goes

    @bindings.add("enter", filter=~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n" + _next_indentation(buffer.document.current_line))

    return bindings


def _next_indentation(line: str) -> str:
    indentation = line[: len(line) - len(line.lstrip())]
    return indentation + (INDENTATION if line.rstrip().endswith(":") else "")


def run(session: Session, script: str, argv: list[str]) -> int:
    """Converse with a kernel; the arguments besides the session are for other front ends."""
    return Terminal(session).run()
