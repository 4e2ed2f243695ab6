"""Entries and the bytes as which they travel."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton import tagged
from yoton.entry import (
    MAX_CHANNELS,
    MAX_ENTRY_SIZE,
    MAX_NEIGHBOURS,
    Endpoint,
    Entry,
    Peer,
    announcement_of,
    fitting,
    read_announcement,
)
from yoton.exceptions import CodecError

PUB = Endpoint("PubChannel", "chat.txt.pub-sub", "chat.txt.sub-pub")
ENTRY = Entry(Peer(2, 20, "host", "name", "program.py"), 1, (PUB,), frozenset((1,)))

ids = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.builds(
    Entry,
    st.builds(Peer, ids, st.integers(0, 2**31), texts, texts, texts),
    st.integers(0, 2**63 - 1),
    st.lists(st.builds(Endpoint, texts, texts, texts), max_size=4).map(tuple),
    st.frozensets(ids, max_size=4),
)


@given(entries)
def test_an_entry_comes_as_it_was(entry: Entry) -> None:
    written = announcement_of(entry)
    data, slots = written.data, (written.sends_on, written.receives_on)
    del written  # else it is not read
    read = read_announcement(data)
    assert (read.entry, read.data) == (entry, data)
    assert (read.sends_on, read.receives_on) == slots


def test_an_entry_that_this_process_wrote_is_not_read() -> None:
    written = announcement_of(ENTRY)
    assert read_announcement(bytes(bytearray(written.data))) is written


def test_ids_and_texts_that_several_entries_have_take_memory_once() -> None:
    neighbour, text = 1 << 62, "x" * 30
    fields = [
        tagged.encode(
            {
                "id": i,
                "pid": 1,
                "host": text,
                "name": text,
                "program": text,
                "version": 1,
                "channels": [("PubChannel", text, text)],
                "neighbours": [neighbour],
            }
        )
        for i in (5, 6)
    ]
    first, second = (read_announcement(data).entry for data in fields)
    assert first.peer.host is second.peer.host is first.endpoints[0].sends_on
    (one,), (other,) = first.neighbours, second.neighbours
    assert one is other


def test_an_entry_with_room_for_all_channels_stays_as_it_is() -> None:
    assert fitting(ENTRY) is ENTRY


def test_an_entry_is_read_once_and_no_longer_kept_than_it_is_known() -> None:
    data = announcement_of(ENTRY).data
    first = read_announcement(data)
    assert read_announcement(bytes(bytearray(data))) is first
    remembered = weakref.ref(first)
    del first
    gc.collect()
    assert remembered() is None


def test_the_slots_are_those_of_all_channels() -> None:
    mood = Endpoint("StateChannel", "mood", "mood")
    announcement = announcement_of(ENTRY.replaced(endpoints=(PUB, mood)))
    assert announcement.sends_on == (PUB.sends_on, "mood")
    assert announcement.receives_on == (PUB.receives_on, "mood")


@given(entries, st.data())
def test_bytes_that_are_no_entry_are_refused(entry: Entry, data: st.DataObject) -> None:
    whole = announcement_of(entry).data
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CodecError):
        read_announcement(whole[:cut])


@given(st.binary(max_size=50))
def test_other_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(CodecError):
        read_announcement(data)


FIELDS = tagged.decode(announcement_of(ENTRY).data)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": True},
        {"pid": "1"},
        {"host": 1},
        {"name": None},
        {"program": []},
        {"version": 1.0},
        {"channels": None},
        {"channels": [1]},
        {"channels": [("a", "b")]},
        {"channels": [("a", "b", 3)]},
        {"channels": [PUB.fields()] * (MAX_CHANNELS + 1)},
        {"neighbours": ["1"]},
        {"neighbours": [1] * (MAX_NEIGHBOURS + 1)},
        {"extra": "x" * MAX_ENTRY_SIZE},
    ],
    ids=lambda changes: f"{changes!r:.40}",
)
def test_an_entry_with_other_fields_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        read_announcement(tagged.encode({**FIELDS, **changes}))


def test_what_is_no_dict_is_no_entry() -> None:
    with pytest.raises(CodecError):
        read_announcement(tagged.encode([1]))
