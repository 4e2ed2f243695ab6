"""A line that a test cuts: a TCP proxy between two contexts."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Passes on what goes over its connections, until they are cut.

    Parameters
    ----------
    port : int
        Of the server on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        # Guards the sockets and the flags.
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_open = True
        self._may_pass = threading.Event()
        self._may_pass.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut all lines, whatever is on them."""
        with self._lock:
            cut, self._sockets = self._sockets, []
        for each in cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def let_nobody_through(self) -> None:
        """Cut all lines, and those that are to come at once."""
        self._is_open = False
        self.cut()

    def let_through(self) -> None:
        """Pass on what comes by new lines."""
        self._is_open = True

    def stall(self) -> None:
        """Let nothing pass, with the lines open."""
        self._may_pass.clear()

    def leave_stalled(self) -> None:
        """Let pass what comes by new lines; the old ones stay open, and nothing passes."""
        self._may_pass = threading.Event()
        self._may_pass.set()

    def go_on(self) -> None:
        """Let pass what was held up, and what follows."""
        self._may_pass.set()

    def close(self) -> None:
        """Be no more."""
        self.go_on()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._join(self._listening.accept()[0])

    def _join(self, near: socket.socket) -> None:
        if not self._is_open:
            near.close()
            return
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        with self._lock:
            self._sockets += [near, far]
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        may_pass = self._may_pass
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                may_pass.wait()
                target.sendall(data)
        may_pass.wait()
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
