"""The channels: how messages are sent and received at a slot."""

from concurrent.futures import CancelledError, TimeoutError

from yoton.channels.base import BaseChannel
from yoton.channels.exporting import export
from yoton.channels.file import FileWrapper
from yoton.channels.future import Future
from yoton.channels.publishing import PubChannel
from yoton.channels.replier_status import ReplierStatus
from yoton.channels.replying import RepChannel
from yoton.channels.requesting import ReqChannel
from yoton.channels.simple_socket import SimpleSocket
from yoton.channels.state import StateChannel
from yoton.channels.subscribing import SubChannel, select_sub_channel

__all__ = [
    "BaseChannel",
    "CancelledError",
    "FileWrapper",
    "Future",
    "PubChannel",
    "RepChannel",
    "ReplierStatus",
    "ReqChannel",
    "SimpleSocket",
    "StateChannel",
    "SubChannel",
    "TimeoutError",
    "export",
    "select_sub_channel",
]
