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
    """

    is_busy = False


this_thread = _ThisThread()
