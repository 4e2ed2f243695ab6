"""From the text of an address to a transport, a host and a port.

An address is ``[tcp://]host:port``. The port is a number (0: the system chooses), or a name that
is hashed to a number, or a name with an offset: ``localhost:PYZO+256``. Within a machine it may
be ``unix:///path``, a socket in the file system, and within a process ``memory://name``.
"""

from __future__ import annotations

import os
import re
import socket

from yoton.exceptions import AddressError
from yoton.hashing import text_hash
from yoton.record import Record

#: Port names are hashed into the range of ports that no service is registered for (IANA).
FIRST_DYNAMIC_PORT = 49152
DYNAMIC_PORT_COUNT = 16384
PORT_LIMIT = 65536

TRANSPORTS = ("tcp", "unix", "memory")

_EXPECTED = (
    "expected '[tcp://]host:port', with a port number from 0 to 65535 or a port name that may"
    " carry an offset, as in 'localhost:8000', '[::1]:0' or 'localhost:name+2', or"
    " 'unix:///path', or 'memory://name'"
)
# Compiled at their first use, as that takes longer than all the rest of importing this.
_PORT_NUMBER = r"(?a:\s*[+-]?\d+\s*)"
_PUBLIC_HOST = r"(?ai:publichost(\d*))"


class Address(Record):
    """Where to bind or connect.

    Parameters
    ----------
    transport : str
        What carries the bytes: "tcp", "unix" or "memory".
    host : str
        Numeric address or host name, without brackets; or the path, or the name.
    port : int
        Port number; 0 lets the system choose when binding. Else 0.
    """

    __slots__ = ("host", "port", "transport")

    def __init__(self, transport: str, host: str, port: int) -> None:
        self.transport = transport
        self.host = host
        self.port = port

    def __str__(self) -> str:
        if self.transport == "tcp":
            return format_host_port(self.host, self.port)
        return f"{self.transport}://{self.host}"


def format_host_port(host: str, port: int) -> str:
    """Write a host and a port as one text, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_place(host: str, port: int) -> str:
    """Write where an end of a connection is: with its port if there are ports."""
    return format_host_port(host, port) if port else host


def parse_address(text: str) -> Address:
    """Take the text of an address apart.

    Parameters
    ----------
    text : str
        ``[tcp://]host:port``, ``unix:///path`` or ``memory://name``. 'localhost' stands for
        127.0.0.1, 'publichost' or 'publichostN' for the first or N-th address of this machine's
        host name, a host in brackets is IPv6. A relative path counts from the present directory.

    Raises
    ------
    AddressError
        The text has another form, names an unknown transport or public host, gives a port
        beyond 65535, or a host or a path that cannot be. It is a ValueError.

    Notes
    -----
    Looks up this machine's host name for 'publichost', which can take the resolver's time.
    """
    if not isinstance(text, str):
        raise AddressError(f"address is {text!r}; {_EXPECTED}")
    transport, separator, rest = text.strip().rpartition("://")
    if not separator:
        transport = TRANSPORTS[0]
    if transport.lower() not in TRANSPORTS:
        raise AddressError(f"address {text!r} has the unknown transport {transport!r}; {_EXPECTED}")
    if transport.lower() != "tcp":
        if not rest:
            raise AddressError(f"address {text!r} lacks a path or a name; {_EXPECTED}")
        place = _file_path(rest, text) if transport.lower() == "unix" else rest
        return Address(transport.lower(), place, 0)
    host, port_text = _split_host_port(rest, text)
    return Address(transport.lower(), _resolve_host(host, text), _parse_port(port_text, text))


def _file_path(path: str, text: str) -> str:
    """Get the path of a file that stays the same when the program changes its directory."""
    try:
        os.fsencode(path)
    except UnicodeError as error:
        raise AddressError(f"address {text!r} has a path that no file can have") from error
    if "\0" in path:
        raise AddressError(f"address {text!r} has a path with a zero character")
    try:
        return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except FileNotFoundError as error:
        raise AddressError(f"address {text!r}: the present directory is gone") from error


def _split_host_port(rest: str, text: str) -> tuple[str, str]:
    if rest.startswith("["):
        host, bracket, port_text = rest[1:].partition("]")
        if not bracket or not port_text.startswith(":"):
            raise AddressError(f"address {text!r} has no port behind its brackets; {_EXPECTED}")
        port_text = port_text[1:]
    else:
        host, colon, port_text = rest.partition(":")
        if not colon:
            raise AddressError(f"address {text!r} has no port; {_EXPECTED}")
    if not host or not port_text:
        raise AddressError(f"address {text!r} lacks a host or a port; {_EXPECTED}")
    return host, port_text


def _resolve_host(host: str, text: str) -> str:
    if host.lower() == "localhost":
        return "127.0.0.1"
    public = re.fullmatch(_PUBLIC_HOST, host)
    if public is None:
        _check_host(host, text)
        return host
    index = int(public[1] or 0)
    try:
        addresses = socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError as error:
        raise AddressError(f"address {text!r}: cannot look up this machine's name") from error
    if index >= len(addresses):
        raise AddressError(
            f"address {text!r}: this machine has {len(addresses)} public addresses, counted from 0"
        )
    return addresses[index]


def _check_host(host: str, text: str) -> None:
    if "\0" in host:
        raise AddressError(f"address {text!r} has a host with a zero character")
    if host.isascii():
        return
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise AddressError(f"address {text!r} has a host that cannot be looked up") from error


def _parse_port(port_text: str, text: str) -> int:
    if re.fullmatch(_PORT_NUMBER, port_text):
        port = int(port_text)
    else:
        port = _hashed_port(port_text, text)
    if not 0 <= port < PORT_LIMIT:
        raise AddressError(f"address {text!r} comes to port {port}; {_EXPECTED}")
    return port


def _hashed_port(port_text: str, text: str) -> int:
    name, plus, offset_text = port_text.partition("+")
    if not plus:
        return port_hash(name)
    if not re.fullmatch(_PORT_NUMBER, offset_text):
        raise AddressError(
            f"address {text!r}: port offset {offset_text!r} is no integer; {_EXPECTED}"
        )
    return port_hash(name) + int(offset_text)


def for_resolver(host: str) -> str | bytes:
    """Get a host in the form in which the functions of `socket` should get it.

    A str goes through the IDNA codec, whose modules Python imports at its first use. In a
    process that has changed its import path meanwhile, that can fail.
    """
    return host.encode() if host.isascii() else host


def port_hash(name: str) -> int:
    """Get the port number that a port name stands for, in 49152 to 65535; case counts."""
    return FIRST_DYNAMIC_PORT + text_hash(name) % DYNAMIC_PORT_COUNT
