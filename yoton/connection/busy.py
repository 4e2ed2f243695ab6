"""Whether a thread is in the middle of reading or writing.

If it asks, it is a finalizer or a signal handler that asks. That one should not wait for what
comes of reading or writing: its own thread has to go on before that.
"""

from __future__ import annotations

import threading


class _ThisThread(threading.local):
    """What is known of the thread that asks.

    Attributes
    ----------
    is_busy : bool
        Whether it reads or writes. Set by the one that does so, and put back in the end; always
        set in the threads of a link.
    writes_to : object
        The writer in the middle of whose turn it is, or is about to begin; None if there is none.
        Put back as well.
    """

    is_busy = False
    writes_to: object = None


this_thread = _ThisThread()
