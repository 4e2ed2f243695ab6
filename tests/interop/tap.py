"""A tap on the line between two ends: passes on what they say, and keeps it."""

from __future__ import annotations

import contextlib
import socket
import threading

_READ_SIZE = 2**16


class Tap:
    """Listens at `port` for one end, which it connects to the other one.

    Parameters
    ----------
    binder_port : int
        Where the other end listens, on this machine.

    Attributes
    ----------
    port : int
        Where to connect instead.
    from_connector, from_binder : bytearray
        What the end that connected has said so far, and the other one.
    """

    def __init__(self, binder_port: int) -> None:
        self._binder_port = binder_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.from_connector = bytearray()
        self.from_binder = bytearray()
        self._sockets: list[socket.socket] = []
        # Set while bytes may pass.
        self._is_open = threading.Event()
        self._is_open.set()
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def hold(self) -> None:
        """Let nothing pass until `release`."""
        self._is_open.clear()

    def release(self) -> None:
        """Let pass what was held."""
        self._is_open.set()

    def close(self) -> None:
        """Break the line off."""
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        for end in [*self._sockets, self._listener]:
            end.close()

    def _run(self) -> None:
        try:
            connector, _ = self._listener.accept()
        except OSError:
            return  # closed before anybody came
        binder = socket.create_connection(("127.0.0.1", self._binder_port))
        for end in (connector, binder):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets += [connector, binder]
        there = threading.Thread(target=self._pass, args=(connector, binder, self.from_connector))
        back = threading.Thread(target=self._pass, args=(binder, connector, self.from_binder))
        self._threads += [there, back]
        there.start()
        back.start()

    def _pass(self, source: socket.socket, target: socket.socket, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_READ_SIZE):
                if hasattr(socket, "TCP_QUICKACK"):
                    # Or the original waits 40 ms for it, with each of its buffers.
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                self._is_open.wait()
                record += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
