"""The channels: how messages are sent and received at a slot.

What makes them look like files and sockets is imported by those who use it.
"""

from concurrent.futures import CancelledError, TimeoutError

from yoton.channels.base import BaseChannel
from yoton.channels.exporting import export
from yoton.channels.future import Future
from yoton.channels.publishing import PubChannel
from yoton.channels.replier_status import ReplierStatus
from yoton.channels.replying import RepChannel
from yoton.channels.requesting import ReqChannel
from yoton.channels.state import StateChannel
from yoton.channels.subscribing import SubChannel, select_sub_channel

__all__ = [
    "BaseChannel",
    "CancelledError",
    "Future",
    "PubChannel",
    "RepChannel",
    "ReplierStatus",
    "ReqChannel",
    "StateChannel",
    "SubChannel",
    "TimeoutError",
    "export",
    "select_sub_channel",
]
