"""One object for all that are equal: with many contexts in a process, each knows all others."""

from __future__ import annotations

import functools

#: Ids for which a process keeps one int: those of the contexts that a directory knows at most.
MAX_SHARED_IDS = 1024

#: Texts of which a process keeps one: the names of hosts, programs and slots of a large network.
#: What a peer makes up takes half a megabyte here at most.
MAX_SHARED_TEXTS = 1024

#: Characters of the longest text that is worth a look.
MAX_SHARED_LENGTH = 100


@functools.lru_cache(MAX_SHARED_IDS)
def shared_id(context_id: int) -> int:
    """Get the same int for all ids that are equal."""
    return context_id


def shared_text(text: str) -> str:
    """Get the same str for all texts that are equal, unless they are long."""
    return _shared_text(text) if len(text) <= MAX_SHARED_LENGTH else text


@functools.lru_cache(MAX_SHARED_TEXTS)
def _shared_text(text: str) -> str:
    return text
