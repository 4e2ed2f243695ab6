"""From messages to bytes and back: TEXT, BINARY, OBJECT, and the base for more."""

from __future__ import annotations

from typing import Any

from yoton import tagged
from yoton.exceptions import DecodeError, EncodeError, TextDecodeError

try:
    from yoton import packed
except ImportError:
    MSGPACK_AVAILABLE = False
else:
    MSGPACK_AVAILABLE = True


class MessageType:
    """How the messages of a channel become bytes, and bytes messages again.

    Subclass it and hand an instance to the channels to send messages of another kind. The
    methods are called from any thread, also from several at a time.
    """

    def message_type_name(self) -> str:
        """Get the name that stands for this type in the names of slots, such as "txt"."""
        raise NotImplementedError

    def message_to_bytes(self, message: Any) -> bytes:
        """Encode a message.

        Parameters
        ----------
        message : object
            What was given to send().

        Raises
        ------
        ValueError
            The message is not of this type. `EncodeError` is one.
        """
        raise NotImplementedError

    def message_from_bytes(self, data: bytes) -> Any:
        """Decode a message.

        Parameters
        ----------
        data : bytes
            What `message_to_bytes` gave at the other end, or what a stranger sent.

        Raises
        ------
        ValueError
            The data is no message of this type. `DecodeError` is one.
        """
        raise NotImplementedError


class TextMessageType(MessageType):
    """Messages are str; they travel as UTF-8."""

    def message_type_name(self) -> str:
        """Get "txt"."""
        return "txt"

    def message_to_bytes(self, message: str) -> bytes:
        """Encode a str.

        Raises
        ------
        EncodeError
            It is no str, or has a lone surrogate, which UTF-8 does not know.
        """
        if not isinstance(message, str):
            raise EncodeError(f"TEXT carries str, not {type(message).__name__}")
        try:
            return str.encode(message)
        except UnicodeEncodeError as error:
            raise EncodeError(f"TEXT cannot carry this str: {error}") from error

    def message_from_bytes(self, data: bytes) -> str:
        """Decode a str.

        Raises
        ------
        TextDecodeError
            The data is not UTF-8. It is a DecodeError and a UnicodeDecodeError.
        """
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise TextDecodeError(*error.args) from error


class BinaryMessageType(MessageType):
    """Messages are bytes, and travel as they are."""

    def message_type_name(self) -> str:
        """Get "bin"."""
        return "bin"

    def message_to_bytes(self, message: bytes) -> bytes:
        """Get the message itself.

        Raises
        ------
        EncodeError
            It is not bytes. A bytearray or memoryview could change until it is sent.
        """
        if not isinstance(message, bytes):
            raise EncodeError(f"BINARY carries bytes, not {type(message).__name__}")
        return message

    def message_from_bytes(self, data: bytes) -> bytes:
        """Get the data itself."""
        return data


_NO_MSGPACK = "OBJECT is read and written in msgpack only where msgpack is installed"


class ObjectMessageType(MessageType):
    """Messages are Python objects made of simple types, in one of two encodings.

    The tagged encoding, which every yoton reads, carries None, bool, int of 64 bits, float,
    str, list, tuple and dict. msgpack, between ends that agreed on it, is faster and smaller
    and carries besides these int of any size, complex, bytes, set, datetime, and numpy arrays
    and scalars of any dtype without Python objects. Dict keys can be all that is hashable.
    What comes back is equal and of the same type, with these exceptions: an instance of a
    subclass (namedtuple, OrderedDict, IntEnum ...) comes back as its base, the time zone of a
    datetime as a fixed offset, bytearray and memoryview (msgpack alone) as bytes.

    Neither encoding can make a reader run or import anything, except that numpy is imported
    when the first array comes.
    """

    def message_type_name(self) -> str:
        """Get "obj"."""
        return "obj"

    def message_to_bytes(self, message: object) -> bytes:
        """Encode a message in the tagged encoding.

        Raises
        ------
        EncodeError
            It contains something that the encoding does not carry, an int of more than 64
            bits, a str with a lone surrogate, itself, or more than some 400 levels of
            containers. The text says what and where.
        """
        return tagged.encode(message)

    def message_to_msgpack(self, message: object) -> bytes:
        """Encode a message in msgpack.

        Raises
        ------
        EncodeError
            As for `message_to_bytes`, or msgpack is not installed, see `MSGPACK_AVAILABLE`.
        """
        if not MSGPACK_AVAILABLE:
            raise EncodeError(_NO_MSGPACK)
        data = packed.pack(message)
        if len(data) == 1 and data[0] in tagged.TAGS:
            # An int alone, whose byte a reader would take for a tag: in msgpack's longer form.
            return b"\xcc" + data
        return data

    def message_from_bytes(self, data: bytes) -> Any:
        """Decode a message of either encoding; the first byte tells which. No data is None.

        In the tagged encoding, bytes behind the message are ignored, as in Pyzo's yoton.

        Raises
        ------
        DecodeError
            The data is no message, or it takes msgpack or numpy to read it, and that is not
            installed. Data that ends too early raises a TruncatedError where that can be
            told, an EOFError, and a str that is not UTF-8 a TextDecodeError, which is a
            UnicodeDecodeError.
        """
        if not data:
            return None
        if data[0] in tagged.TAGS:
            return tagged.decode(data)
        if not MSGPACK_AVAILABLE:
            raise DecodeError(_NO_MSGPACK)
        return packed.unpack(data)


def msgpack_to_tagged(data: bytes) -> bytes:
    """Re-encode an OBJECT for a peer that knows the tagged encoding alone.

    Parameters
    ----------
    data : bytes
        What `ObjectMessageType.message_to_msgpack` gave.

    Raises
    ------
    EncodeError
        The message contains what only msgpack carries.
    DecodeError
        The data is no message, or msgpack is not installed.
    """
    if not MSGPACK_AVAILABLE:
        raise DecodeError(_NO_MSGPACK)
    return tagged.encode(packed.unpack_without_arrays(data))


TEXT = TextMessageType()
BINARY = BinaryMessageType()
OBJECT = ObjectMessageType()
