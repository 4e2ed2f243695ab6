"""A broker that a client starts for itself."""

from __future__ import annotations

import subprocess
import sys

from examples.ide_kernel.session import PATIENCE, SessionError


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
        # It sees the end of its standard input when this process ends, whatever the reason.
        # Ctrl-C is for the client alone to handle, so it gets a session of its own.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.ide_kernel.broker", "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.desk = self._stdout.readline().strip()
        if not self.desk:
            self.close()
            raise SessionError("the broker did not start")

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._process.pid

    def close(self) -> None:
        """End the broker and its kernels; blocks until they have ended."""
        self._stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def __enter__(self) -> PrivateBroker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
