from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from recorded import (
    BEAT,
    CLOSE,
    HELLO_ON_CHAT,
    NEW_CONNECTION,
    REPLY,
    X_ID,
    Y_ID,
    plain_package,
)

from yoton.connection.framing import (
    DEFAULT_MAX_DATA_SIZE,
    HEADER_SIZE,
    MAX_BUNDLE_COUNT,
    FrameDecoder,
    bundle_size,
    encode_bundle,
    encode_package,
    encode_signal,
)
from yoton.exceptions import RemoteProtocolError
from yoton.package import EVERYONE, SLOT_CONTEXT, SLOT_LINK, Bundle, Package

RECORDED = {
    "message": (HELLO_ON_CHAT, Package("héllo".encode(), 0x00000FE15408168F, X_ID, 3)),
    "context": (NEW_CONNECTION, Package(b"NEW_CONNECTION", SLOT_CONTEXT, Y_ID, 1)),
    "reply": (REPLY, Package(b"i\x07" + bytes(7), 0x00000F4630518E85, X_ID, 6, Y_ID, 1)),
    "beat": (BEAT, Package(b"", SLOT_LINK, 0, 0)),
    "close": (CLOSE, Package(b"", SLOT_LINK, 0, 1)),
}
recorded = pytest.mark.parametrize(("data", "package"), RECORDED.values(), ids=RECORDED)

MAX_DATA_SIZE = 100

numbers = st.integers(min_value=0, max_value=2**64 - 1)
single_packages = st.builds(
    Package,
    data=st.binary(max_size=MAX_DATA_SIZE),
    slot=numbers,
    source_id=numbers,
    source_seq=numbers,
    dest_id=numbers,
    dest_seq=numbers,
    is_msgpack=st.booleans(),
)


def make_bundle(
    messages: Sequence[bytes],
    *fields: int,
    dest_seqs: Sequence[int] = (),
    is_msgpack: bool = False,
) -> Bundle:
    sizes = tuple(map(len, messages))
    data = b"".join(messages)
    return Bundle(data, sizes, *fields, dest_seqs=dest_seqs, is_msgpack=is_msgpack)


@st.composite
def make_bundles(draw: st.DrawFn) -> Bundle:
    """Make a bundle of which with its table none is larger than MAX_DATA_SIZE."""
    messages = draw(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=5))
    fields = [draw(numbers) for _ in range(4)]
    dest_seqs = tuple(draw(numbers) for _ in messages) if draw(st.booleans()) else ()
    return make_bundle(messages, *fields, dest_seqs=dest_seqs, is_msgpack=draw(st.booleans()))


bundles = make_bundles()
packages = single_packages | bundles


def encode(package: Package) -> bytes:
    is_bundle = isinstance(package, Bundle)
    return b"".join(encode_bundle(package) if is_bundle else encode_package(package))


def bundle_bytes(
    count: int, data: bytes, magic: bytes = b"YOTON  B", dest_id: int = EVERYONE
) -> bytes:
    """Get a bundle as it comes, whether or not its data is right."""
    return magic + struct.pack("<6Q", 8, X_ID, 2000, dest_id, count, len(data)) + data


def table(*sizes: int) -> bytes:
    return struct.pack(f"<{len(sizes)}I", *sizes)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """Cut data at some places, counted modulo its length."""
    start = 0
    for place in sorted(place % (len(data) + 1) for place in places):
        yield data[start:place]
        start = place
    yield data[start:]


def decode(chunks: Iterator[bytes], decoder: FrameDecoder) -> list[Package]:
    return [package for chunk in chunks for package in decoder.decode(chunk)]


# Recorded bytes


@recorded
def test_packages_are_written_as_recorded(data: bytes, package: Package) -> None:
    assert encode(package) == data


@recorded
def test_recorded_packages_are_read(data: bytes, package: Package) -> None:
    decoder = FrameDecoder()
    assert decoder.decode(data) == [package]
    assert not decoder.is_inside_package
    assert decoder.failure is None


@recorded
def test_recorded_packages_are_read_byte_by_byte(data: bytes, package: Package) -> None:
    decoder = FrameDecoder()
    for end in range(1, len(data)):
        assert decoder.decode(data[end - 1 : end]) == []
        assert decoder.is_inside_package
        assert decoder.announced_size == (len(package.data) if end >= HEADER_SIZE else 0)
    assert decoder.decode(data[-1:]) == [package]
    assert not decoder.is_inside_package
    assert decoder.announced_size == 0


def test_beat_and_close_are_written_as_recorded() -> None:
    assert encode_signal(0) == BEAT
    assert encode_signal(1) == CLOSE


# Writing


def test_a_small_package_is_one_piece_and_a_large_body_is_not_copied() -> None:
    assert len(encode_package(Package(bytes(8191), 8, 1, 1))) == 1
    body = bytes(8192)
    header, piece = encode_package(Package(body, 8, 1, 1))
    assert len(header) == HEADER_SIZE
    assert piece is body


def test_objects_in_msgpack_are_marked() -> None:
    data = encode(Package(b"\xc0", 8, 1, 1, is_msgpack=True))
    assert data[:8] == b"YOTON  M"
    [package] = FrameDecoder().decode(data)
    assert package.is_msgpack
    assert package.data == b"\xc0"


# Bundles

TWO = make_bundle([b"one", b"three"], 8, X_ID, 2000)


@pytest.mark.parametrize(
    ("magic", "is_msgpack"), [(b"YOTON  B", False), (b"YOTON BM", True)], ids=["any", "msgpack"]
)
def test_a_bundle_is_a_table_of_sizes_and_the_messages(magic: bytes, is_msgpack: bool) -> None:
    bundle = make_bundle([b"one", b"three"], 8, X_ID, 2000, is_msgpack=is_msgpack)
    data = bundle_bytes(2, table(3, 5) + b"onethree", magic)
    assert encode_bundle(bundle) == (data,)
    assert len(data) == HEADER_SIZE + bundle_size(bundle)
    [received] = FrameDecoder().decode(data)
    assert type(received) is Bundle
    assert received == bundle
    assert received.is_msgpack is is_msgpack


@pytest.mark.parametrize(
    ("magic", "is_msgpack"), [(b"YOTON  N", False), (b"YOTON NM", True)], ids=["any", "msgpack"]
)
def test_a_numbered_bundle_has_a_table_of_dest_seqs_besides(magic: bytes, is_msgpack: bool) -> None:
    fields = ([b"one", b"three"], 8, X_ID, 2000, Y_ID)
    bundle = make_bundle(*fields, dest_seqs=(7, 2**63 + 1), is_msgpack=is_msgpack)
    tables = table(3, 5) + struct.pack("<QQ", 7, 2**63 + 1)
    data = bundle_bytes(2, tables + b"onethree", magic, dest_id=Y_ID)
    assert encode_bundle(bundle) == (data,)
    assert len(data) == HEADER_SIZE + bundle_size(bundle)
    [received] = FrameDecoder().decode(data)
    assert type(received) is Bundle
    assert received == bundle


def test_a_bundle_may_have_so_many_messages() -> None:
    bundle = make_bundle(MAX_BUNDLE_COUNT * [b"x"], 8, X_ID, 2000)
    assert FrameDecoder().decode(encode(bundle)) == [bundle]


MALFORMED = {
    "no message": (0, b""),
    "no message, and data": (0, b"one"),
    "too many": (MAX_BUNDLE_COUNT + 1, (MAX_BUNDLE_COUNT + 1) * (table(1) + b"x")),
    "far too many": (2**64 - 1, b"one"),
    "table longer than the data": (3, table(3, 5)),
    "table cut off": (2, table(3, 5)[:-1]),
    "no data": (1, b""),
    "sizes too small": (2, table(3, 4) + b"onethree"),
    "sizes too large": (2, table(3, 6) + b"onethree"),
    "sizes far too large": (2, table(2**32 - 1, 2**32 - 1) + b"onethree"),
    "only a table": (2, table(3, 5)),
    "an empty message": (3, table(3, 0, 5) + b"onethree"),
    "only an empty message": (1, table(0)),
}


@pytest.mark.parametrize(("count", "data"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("magic", [b"YOTON  B", b"YOTON BM"])
@pytest.mark.parametrize("chunk_size", [1, 10**6])
def test_a_malformed_bundle_is_told_after_the_packages_before_it(
    count: int, data: bytes, magic: bytes, chunk_size: int
) -> None:
    stream = encode(TWO) + bundle_bytes(count, data, magic) + HELLO_ON_CHAT
    decoder = FrameDecoder()
    chunks = (stream[i : i + chunk_size] for i in range(0, len(stream), chunk_size))
    assert decode(chunks, decoder) == [TWO]
    assert isinstance(decoder.failure, RemoteProtocolError)
    assert "undle" in str(decoder.failure)
    assert not decoder.is_inside_package
    assert not decoder._chunks


@pytest.mark.parametrize("missing", [1, 8, 16])
def test_a_numbered_bundle_with_too_few_numbers_is_malformed(missing: int) -> None:
    tables = table(3, 5) + bytes(16 - missing)
    decoder = FrameDecoder()
    assert decoder.decode(bundle_bytes(2, tables + b"onethree", b"YOTON  N")) == []
    assert "undle" in str(decoder.failure)


@given(
    st.integers(min_value=0, max_value=6) | numbers,
    st.lists(st.integers(min_value=0, max_value=9) | st.integers(0, 2**32 - 1), max_size=6),
    st.binary(max_size=60),
)
@example(2, [3, 5], b"onethree")
def test_a_bundle_is_read_as_it_was_meant_or_not_at_all(
    count: int, sizes: list[int], messages: bytes
) -> None:
    stream = bundle_bytes(count, table(*sizes) + messages)
    decoder = FrameDecoder()
    received = decoder.decode(stream)
    assert bool(received) is (decoder.failure is None)
    for bundle in received:
        assert isinstance(bundle, Bundle)
        assert bundle.count == count
        assert encode(bundle) == stream
        assert all(bundle.messages())


def test_the_limit_of_the_size_counts_the_table() -> None:
    decoder = FrameDecoder(bundle_size(TWO))
    assert decoder.decode(encode(TWO)) == [TWO]
    decoder = FrameDecoder(bundle_size(TWO) - 1)
    assert decoder.decode(encode(TWO)) == []
    assert "16 bytes announced" in str(decoder.failure)


# Reading


@given(st.lists(packages, max_size=5), st.lists(st.integers(0, 2000), max_size=20))
def test_any_packages_cut_anywhere_are_read_as_they_were_written(
    sent: list[Package], places: list[int]
) -> None:
    stream = b"".join(map(encode, sent))
    decoder = FrameDecoder(MAX_DATA_SIZE)
    assert decode(cut(stream, places), decoder) == sent
    assert decoder.failure is None
    assert not decoder.is_inside_package


@given(st.lists(packages, min_size=1, max_size=3))
def test_any_packages_are_read_byte_by_byte(sent: list[Package]) -> None:
    stream = b"".join(map(encode, sent))
    decoder = FrameDecoder(MAX_DATA_SIZE)
    ends = [sum(map(len, map(encode, sent[: count + 1]))) for count in range(len(sent))]
    for end in range(1, len(stream) + 1):
        received = decoder.decode(stream[end - 1 : end])
        assert received == ([sent[ends.index(end)]] if end in ends else [])
        assert decoder.is_inside_package is (end not in ends)


def test_bodies_are_bytes_of_their_own() -> None:
    first, second = FrameDecoder().decode(HELLO_ON_CHAT + REPLY)
    assert type(first.data) is type(second.data) is bytes


def test_reading_nothing_changes_nothing() -> None:
    decoder = FrameDecoder()
    decoder.decode(HELLO_ON_CHAT[:20])
    assert decoder.decode(b"") == []
    assert decoder.decode(HELLO_ON_CHAT[20:]) == [RECORDED["message"][1]]


# Faults


@pytest.mark.parametrize("place", range(8))
def test_a_wrong_magic_is_told_after_the_packages_before_it(place: int) -> None:
    wrong = bytearray(BEAT)
    wrong[place] ^= 1
    decoder = FrameDecoder()
    assert decoder.decode(HELLO_ON_CHAT + bytes(wrong)) == [RECORDED["message"][1]]
    assert isinstance(decoder.failure, RemoteProtocolError)
    assert str(decoder.failure) == "Lost track of the stream."


@pytest.mark.parametrize("chunk_size", [1, 7, HEADER_SIZE, 1000])
def test_nothing_is_read_or_held_behind_a_fault(chunk_size: int) -> None:
    decoder = FrameDecoder()
    stream = HELLO_ON_CHAT + bytes(HEADER_SIZE) + 10 * HELLO_ON_CHAT
    chunks = (stream[i : i + chunk_size] for i in range(0, len(stream), chunk_size))
    assert decode(chunks, decoder) == [RECORDED["message"][1]]
    assert decoder.failure is not None
    assert not decoder._chunks
    assert not decoder.is_inside_package


def test_the_greatest_size_is_accepted() -> None:
    package = Package(bytes(MAX_DATA_SIZE), 8, 1, 1)
    decoder = FrameDecoder(MAX_DATA_SIZE)
    assert decoder.decode(encode(package)) == [package]


@pytest.mark.parametrize("size", [MAX_DATA_SIZE + 1, 2**62, 2**64 - 1])
def test_a_size_over_the_limit_is_refused_as_soon_as_it_is_announced(size: int) -> None:
    header = BEAT[:48] + struct.pack("<Q", size)
    decoder = FrameDecoder(MAX_DATA_SIZE)
    assert decode(cut(header, list(range(HEADER_SIZE))), decoder) == []
    assert str(decoder.failure) == (
        f"Package of {size} bytes announced, at most {MAX_DATA_SIZE} are accepted."
    )


@pytest.mark.parametrize("size", [DEFAULT_MAX_DATA_SIZE, 2**62])
def test_announcing_a_size_takes_no_memory(size: int) -> None:
    header = BEAT[:48] + struct.pack("<Q", size)
    tracemalloc.start()
    try:
        decoder = FrameDecoder()
        decoder.decode(header)
        decoder.decode(bytes(100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert (decoder.failure is None) is (size == DEFAULT_MAX_DATA_SIZE)


@given(st.lists(st.binary(max_size=300), max_size=20))
@example([plain_package(b"x" * MAX_DATA_SIZE, 1) + BEAT[:55], bytes(300)])
@example([bundle_bytes(2, table(3, 5) + b"onethree") + bundle_bytes(2, bytes(100))[:-1], b"x"])
@example([BEAT[:48] + struct.pack("<Q", MAX_DATA_SIZE), bytes(99), bytes(300)])
def test_no_bytes_make_it_raise_or_hold_more_than_a_package_and_a_read(
    chunks: list[bytes],
) -> None:
    decoder = FrameDecoder(MAX_DATA_SIZE)
    for chunk in chunks:
        decoder.decode(chunk)
        held = sum(map(len, decoder._chunks))
        assert held < HEADER_SIZE + MAX_DATA_SIZE
        assert decoder.is_inside_package is (held > 0 or decoder._header is not None)
        assert decoder.failure is None or not decoder.is_inside_package


@given(st.lists(packages, max_size=3), st.binary(min_size=HEADER_SIZE, max_size=200), st.data())
def test_packages_before_a_fault_are_not_lost(
    sent: list[Package], garbage: bytes, data: st.DataObject
) -> None:
    garbage = b"\xff" + garbage
    stream = b"".join(map(encode, sent)) + garbage
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    decoder = FrameDecoder(MAX_DATA_SIZE)
    assert decode(cut(stream, places), decoder) == sent
    assert str(decoder.failure) == "Lost track of the stream."


def test_a_package_that_came_in_many_pieces_is_not_held_on_to() -> None:
    decoder = FrameDecoder()
    stream = encode(Package(bytes(10_000), 8, 1, 1))
    assert len(decode(cut(stream, list(range(0, 10_000, 7))), decoder)) == 1
    assert not decoder._chunks


# Reading on


def test_the_rest_of_a_large_package_is_asked_for_and_no_more() -> None:
    decoder = FrameDecoder()
    size = 2**20
    stream = encode(Package(bytes(size), 8, 1, 1))
    assert decoder.missing_size == 0
    decoder.decode(stream[:HEADER_SIZE])
    assert decoder.missing_size == size
    decoder.decode(stream[HEADER_SIZE:9000])
    assert decoder.missing_size == len(stream) - 9000


def test_nothing_is_asked_for_where_packages_are_small() -> None:
    decoder = FrameDecoder()
    for byte in 2 * HELLO_ON_CHAT:
        decoder.decode(bytes([byte]))
        assert decoder.missing_size == 0


@given(st.lists(st.sampled_from([0, 1, 8192, 2**20]), max_size=8))
def test_a_reader_that_does_as_asked_gets_everything(sizes: list[int]) -> None:
    sent = [Package(bytes(size), 8, 1, seq) for seq, size in enumerate(sizes, 1)]
    stream = b"".join(map(encode, sent))
    decoder = FrameDecoder()
    received: list[Package] = []
    start = 0
    while start < len(stream):
        size = decoder.missing_size or 5000
        received += decoder.decode(stream[start : start + size])
        start += size
    assert received == sent
    assert not decoder.is_inside_package


@given(
    st.lists(packages, min_size=1, max_size=4),
    st.sampled_from([b"", b"\xff" * HEADER_SIZE]),
    st.data(),
)
def test_it_reads_again_from_a_bookmark(
    sent: list[Package], garbage: bytes, data: st.DataObject
) -> None:
    stream = b"".join(map(encode, sent)) + garbage
    place = data.draw(st.integers(0, len(stream) - len(garbage)))
    decoder = FrameDecoder(MAX_DATA_SIZE)
    received = decoder.decode(stream[:place])
    bookmark = decoder.bookmark
    for _ in range(2):
        decoder.bookmark = bookmark
        assert decoder.failure is None
        assert received + decoder.decode(stream[place:]) == sent
        assert (decoder.failure is not None) is bool(garbage)


# By the short way


@given(single_packages.filter(lambda package: package.data))
def test_a_package_that_comes_alone_is_had_the_short_way(package: Package) -> None:
    decoder = FrameDecoder(MAX_DATA_SIZE)
    for _ in range(2):  # nothing changes by that
        assert decoder.lone_package(encode(package)) == package
    assert not decoder.is_inside_package
    assert decoder.decode(encode(package)) == [package]


@given(st.lists(packages, min_size=1, max_size=3), st.data())
def test_what_is_had_the_short_way_is_what_decoding_gives(
    sent: list[Package], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, sent))
    place = data.draw(st.integers(0, len(stream)))
    decoder = FrameDecoder(data.draw(st.sampled_from([MAX_DATA_SIZE // 2, MAX_DATA_SIZE])))
    decoder.decode(stream[:place])
    package = decoder.lone_package(stream[place:])
    assert package is None or decoder.decode(stream[place:]) == [package]


LONG_WAYS = {
    "a header alone": (b"", HELLO_ON_CHAT[:HEADER_SIZE]),
    "no data": (b"", BEAT),
    "the end of a header": (HELLO_ON_CHAT[:10], HELLO_ON_CHAT[10:]),
    "the data behind a header": (HELLO_ON_CHAT[:HEADER_SIZE], HELLO_ON_CHAT[HEADER_SIZE:]),
    "two": (b"", 2 * HELLO_ON_CHAT),
    "less than one": (b"", HELLO_ON_CHAT[:-1]),
    "a bundle": (b"", encode(TWO)),
    "another magic": (b"", b"y" + HELLO_ON_CHAT[1:]),
    "too large": (b"", plain_package(bytes(MAX_DATA_SIZE + 1), 1)),
    "after a failure": (b"x" * HEADER_SIZE, HELLO_ON_CHAT),
}


@pytest.mark.parametrize(("before", "data"), LONG_WAYS.values(), ids=LONG_WAYS)
def test_what_does_not_come_alone_takes_the_long_way(before: bytes, data: bytes) -> None:
    decoder = FrameDecoder(MAX_DATA_SIZE)
    decoder.decode(before)
    assert decoder.lone_package(data) is None


def test_large_packages_take_the_long_way_where_they_are_read_by_themselves() -> None:
    data = plain_package(bytes(2**17), 1)
    decoder = FrameDecoder()
    assert decoder.lone_package(data) is None
    decoder.decode(data)
    assert decoder.missing_size == HEADER_SIZE
