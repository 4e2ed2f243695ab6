"""The hash behind port names and slots, the same in every yoton."""

from __future__ import annotations

_MULTIPLIER = 0xD2D84A61


def text_hash(text: str) -> int:
    """Hash a text to an integer without an upper bound.

    The value grows with the length of the text and says little about its first characters:
    ``"az"`` and ``"iq"`` collide by construction. Who uses it as a key has to look out for that.
    """
    value = 0
    for code_point in (*map(ord, text), len(text)):
        value += (value >> 3) + code_point * _MULTIPLIER
    return value
