"""Bytes recorded between two processes with the yoton inside Pyzo, and a peer like that one.

It shares no code with the package.
"""

from __future__ import annotations

import struct

X_ID, X_PID = 0xFA598EB88776C814, 13827
Y_ID, Y_PID = 0xFA598EBDC341D470, 13829

LINE_OF_X = b"YOTON!fa598eb88776c814.13827\r\n"
LINE_OF_Y = bytes.fromhex(
    "59 4f 54 4f 4e 21 66 61 35 39 38 65 62 64 63 33 34 31 64 34 37 30 2e 31 33 38 32 39 0d 0a"
)

#: TEXT "héllo" on the PubChannel "chat", third package of X.
HELLO_ON_CHAT = bytes.fromhex(
    "59 4f 54 4f 4e 20 20 20   8f 16 08 54 e1 0f 00 00   14 c8 76 87 b8 8e 59 fa"
    "03 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00"
    "06 00 00 00 00 00 00 00   68 c3 a9 6c 6c 6f"
)

#: What Y says to all contexts when it has connected.
NEW_CONNECTION = bytes.fromhex(
    "59 4f 54 4f 4e 20 20 20   02 00 00 00 00 00 00 00   70 d4 41 c3 bd 8e 59 fa"
    "01 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00"
    "0e 00 00 00 00 00 00 00   4e 45 57 5f 43 4f 4e 4e 45 43 54 49 4f 4e"
)

#: The reply 7 of X to the first request of Y, on "calc.obj.rep-req".
REPLY = bytes.fromhex(
    "59 4f 54 4f 4e 20 20 20   85 8e 51 30 46 0f 00 00   14 c8 76 87 b8 8e 59 fa"
    "06 00 00 00 00 00 00 00   70 d4 41 c3 bd 8e 59 fa   01 00 00 00 00 00 00 00"
    "09 00 00 00 00 00 00 00   69 07 00 00 00 00 00 00 00"
)

BEAT = bytes.fromhex("59 4f 54 4f 4e 20 20 20   01 00 00 00 00 00 00 00") + bytes(40)

CLOSE = (
    bytes.fromhex("59 4f 54 4f 4e 20 20 20   01 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00")
    + bytes.fromhex("01 00 00 00 00 00 00 00")
    + bytes(24)
)


def plain_package(data: bytes, seq: int, source_id: int = Y_ID, slot: int = 8) -> bytes:
    """Write a package for everyone as the yoton inside Pyzo does."""
    return struct.pack("<8s6Q", b"YOTON   ", slot, source_id, seq, 0, 0, len(data)) + data


def read_plain_packages(stream: bytes) -> list[tuple[int, bytes]]:
    """Read a stream of whole packages into their source seqs and data."""
    packages = []
    while stream:
        magic, _, _, seq, _, _, size = struct.unpack_from("<8s6Q", stream)
        assert magic == b"YOTON   "
        assert len(stream) >= 56 + size
        packages.append((seq, stream[56 : 56 + size]))
        stream = stream[56 + size :]
    return packages
