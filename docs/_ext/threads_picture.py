"""A connection and its surroundings as a picture: who does what, and which lock guards it."""

from __future__ import annotations

import itertools

from drawing import Box, Picture, Point, points_between

_WIDTH, _HEIGHT = 760, 500
_COLUMNS = (12, 164, 316, 468, 622)
_BOX_WIDTH = 126
_SENDING, _RECEIVING, _BEYOND = 38, 266, 404  # the tops of the rows of boxes


def draw() -> str:
    """Draw it."""
    picture = Picture(
        "threads",
        _WIDTH,
        _HEIGHT,
        "The threads of a connection, what they work on, and the locks that guard it",
    )
    picture.area(_area(0, 3, _SENDING, 78, "The thread that sends"))
    picture.area(_area(2, 3, 168, 44, "Send thread"))
    picture.area(_area(1, 3, _RECEIVING, 78, "Receive thread"))
    picture.area(_area(0, 0, _RECEIVING, 78, "Who receives"))
    picture.area(_area(0, 0, _BEYOND, 78, "Event loop"))

    send = _box(0, _SENDING, "send()", "encodes")
    numbering = _box(1, _SENDING, "Context", "numbers", lock="routing lock")
    outbox = _box(2, _SENDING, "Outbox", "bounded", lock="queue lock")
    writer = _box(3, _SENDING, "Writer", "whole frames", lock="its turn")
    _chain(picture, send, numbering, outbox, writer)

    stream = Box(_COLUMNS[4], _SENDING, _BOX_WIDTH, 306, ("Stream", "a TCP socket"))
    protocol = _box(3, _RECEIVING, "Protocol", "cuts packages", lock="protocol lock")
    routing = _box(2, _RECEIVING, "Context", "decides", lock="routing lock")
    inbox = _box(1, _RECEIVING, "Inbox", "bounded", lock="queue lock")
    receive = _box(0, _RECEIVING, "recv()", "decodes")
    _chain(picture, protocol, routing, inbox, receive)
    picture.arrow([writer.at(1, 0.5), Point(stream.left, writer.middle.y)])
    picture.arrow([Point(stream.left, protocol.middle.y), protocol.at(1, 0.5)])

    due = Box(_COLUMNS[2], 168, _COLUMNS[3] - _COLUMNS[2] + _BOX_WIDTH, 44, (_WHAT_IS_DUE,))
    picture.arrow([Point(writer.middle.x, due.top), writer.at(0.5, 1)])

    others = _box(2, _BEYOND, "Outboxes", "of the other", "connections", lock="queue locks")
    events = _box(1, _BEYOND, "Event queue", "signals", lock="its lock")
    handlers = _box(0, _BEYOND, "Handlers", "of signals")
    _chain(picture, routing, others)
    _chain(picture, inbox, events)
    _chain(picture, events, handlers)

    for box in (send, numbering, outbox, writer, stream, protocol, routing, inbox, receive):
        picture.box(box)
    for box in (due, others, events, handlers):
        picture.box(box)
    return picture.svg()


_WHAT_IS_DUE = "the rest, heartbeats, goodbye"


def _box(column: int, top: float, *lines: str, lock: str = "") -> Box:
    return Box(_COLUMNS[column], top, _BOX_WIDTH, 78, lines, lock)


def _area(first: int, last: int, top: float, height: float, name: str) -> Box:
    """Get the box around the columns from first to last."""
    left = _COLUMNS[first] - 10
    return Box(left, top - 28, _COLUMNS[last] + _BOX_WIDTH + 10 - left, height + 38, (name,))


def _chain(picture: Picture, *boxes: Box) -> None:
    for source, target in itertools.pairwise(boxes):
        picture.arrow(points_between(source, target))
