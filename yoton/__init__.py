"""Threaded messaging between Python processes, without a broker.

A `Context` is a node. `Context.bind` and `Context.connect` join nodes, and channels at named
slots exchange messages::

    import yoton

    context = yoton.Context()
    numbers = yoton.PubChannel(context, "numbers", yoton.OBJECT)
    context.connect("localhost:5000")
    numbers.send([1, 2, 3])

Importing this package starts no thread and opens nothing.
"""

import importlib
import typing

from yoton._version import __version__
from yoton.channels import (
    BaseChannel,
    CancelledError,
    Future,
    PubChannel,
    RepChannel,
    ReplierStatus,
    ReqChannel,
    StateChannel,
    SubChannel,
    TimeoutError,
    export,
    select_sub_channel,
)
from yoton.connection import (
    Connection,
    Listener,
    Liveness,
    MemoryConnection,
    ReconnectPolicy,
    TcpConnection,
    UnixConnection,
)
from yoton.context import Context
from yoton.entry import Peer
from yoton.events import (
    Event,
    Signal,
    Timer,
    app,
    call_later,
    embed_event_loop,
    process_events,
    start_event_loop,
    stop_event_loop,
)
from yoton.exceptions import (
    AddressError,
    ArgumentError,
    BindFailed,
    ChannelClosed,
    CodecError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionProblem,
    DecodeError,
    EncodeError,
    FlushTimeout,
    HighWaterMarkReached,
    LocalUsageError,
    PackageTooLarge,
    RemoteProtocolError,
    RequestError,
    ServerUnavailable,
    SlotError,
    TextDecodeError,
    TruncatedError,
    YotonError,
)
from yoton.message_types import BINARY, OBJECT, TEXT, MessageType
from yoton.neighbours import ConnectionCollection
from yoton.package import UID, Package

if typing.TYPE_CHECKING:
    from yoton.channels.file import FileWrapper
    from yoton.channels.simple_socket import SimpleSocket
    from yoton.clientserver import RequestServer, do_request

__all__ = [
    "BINARY",
    "OBJECT",
    "TEXT",
    "UID",
    "AddressError",
    "ArgumentError",
    "BaseChannel",
    "BindFailed",
    "CancelledError",
    "ChannelClosed",
    "CodecError",
    "ConnectFailed",
    "Connection",
    "ConnectionClosed",
    "ConnectionCollection",
    "ConnectionProblem",
    "Context",
    "DecodeError",
    "EncodeError",
    "Event",
    "FileWrapper",
    "FlushTimeout",
    "Future",
    "HighWaterMarkReached",
    "Listener",
    "Liveness",
    "LocalUsageError",
    "MemoryConnection",
    "MessageType",
    "Package",
    "PackageTooLarge",
    "Peer",
    "PubChannel",
    "ReconnectPolicy",
    "RemoteProtocolError",
    "RepChannel",
    "ReplierStatus",
    "ReqChannel",
    "RequestError",
    "RequestServer",
    "ServerUnavailable",
    "Signal",
    "SimpleSocket",
    "SlotError",
    "StateChannel",
    "SubChannel",
    "TcpConnection",
    "TextDecodeError",
    "TimeoutError",
    "Timer",
    "TruncatedError",
    "UnixConnection",
    "YotonError",
    "__version__",
    "app",
    "call_later",
    "do_request",
    "embed_event_loop",
    "export",
    "process_events",
    "select_sub_channel",
    "start_event_loop",
    "stop_event_loop",
]

# Where those are that are imported when they are used: not every program uses them, and would
# wait for them.
_ON_DEMAND = {
    "FileWrapper": "yoton.channels.file",
    "RequestServer": "yoton.clientserver",
    "SimpleSocket": "yoton.channels.simple_socket",
    "clientserver": "yoton.clientserver",
    "do_request": "yoton.clientserver",
}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_ON_DEMAND[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
