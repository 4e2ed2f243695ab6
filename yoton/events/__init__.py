"""The event system: signals, timers and the loop that calls their handlers.

Handlers are called by the thread that processes the events of `app`: with `process_events`
now and then, with `start_event_loop`, or from another event loop (`embed_event_loop`).
"""

from yoton.events.queue import Event, EventQueue, app
from yoton.events.signals import Signal
from yoton.events.timers import Timer

call_later = app.call_later
process_events = app.process_events
start_event_loop = app.start_event_loop
stop_event_loop = app.stop_event_loop
embed_event_loop = app.embed_event_loop

__all__ = [
    "Event",
    "EventQueue",
    "Signal",
    "Timer",
    "app",
    "call_later",
    "embed_event_loop",
    "process_events",
    "start_event_loop",
    "stop_event_loop",
]
