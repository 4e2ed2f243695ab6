from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton import package as package_module
from yoton.package import (
    EVERYONE,
    FIRST_CHANNEL_SLOT,
    UID,
    Bundle,
    Envelope,
    Package,
    slot_number,
)

# Recorded with the yoton inside Pyzo.
RECORDED_SLOTS = {
    "chat.txt.pub-sub": 0x00000FE15408168F,
    "chat.txt.sub-pub": 0x00000FE37207F442,
    "things.obj.pub-sub": 0x0000156B118A812A,
    "stat.txt.state": 0x00000C965C8D6892,
    "calc.obj.req-rep": 0x00000F46BF11420F,
    "calc.obj.rep-req": 0x00000F4630518E85,
}

ids = st.integers(min_value=0, max_value=2**64 - 1)


# Slots


@pytest.mark.parametrize(("full_name", "number"), RECORDED_SLOTS.items())
def test_a_slot_has_the_recorded_number(full_name: str, number: int) -> None:
    assert slot_number(full_name) == number


def test_case_and_blanks_around_do_not_count_in_a_slot() -> None:
    assert slot_number(" CHAT.txt.Pub-Sub\n") == slot_number("chat.txt.pub-sub")
    assert slot_number("chat .txt.pub-sub") != slot_number("chat.txt.pub-sub")


@given(st.text(max_size=300))
def test_a_slot_number_has_64_bits_and_is_none_of_the_reserved(full_name: str) -> None:
    assert FIRST_CHANNEL_SLOT <= slot_number(full_name) < 2**64


# Ids


def test_an_id_has_the_clock_above_and_randomness_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module.time, "time", lambda: 2**32 / 1000 + 5.0)
    first, second = UID().get_int(), UID().get_int()
    assert first >> 32 == second >> 32 == 5000
    assert first != second


def test_the_clock_in_an_id_is_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module.time, "time", lambda: 0.0)
    assert UID().get_int() >> 32 == 1


def test_a_seed_of_the_program_does_not_repeat_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module.time, "time", lambda: 1.0)
    random.seed(1)
    first = UID()
    random.seed(1)
    assert UID() != first


def test_an_id_is_shown_in_all_its_forms() -> None:
    uid = UID(0xFA598EB88776C814)
    assert uid.get_int() == 0xFA598EB88776C814
    assert uid.get_hex() == "fa598eb88776c814"
    assert uid.get_bytes() == bytes.fromhex("14c87687b88e59fa")
    assert repr(uid) == "UID(0xfa598eb88776c814)"
    assert UID(1).get_hex() == "0000000000000001"


@given(st.integers())
def test_a_given_id_is_taken_modulo_64_bits(value: int) -> None:
    assert UID(value).get_int() == value % 2**64
    assert len(UID(value).get_bytes()) == 8


@given(ids, ids)
def test_ids_are_equal_by_value(first: int, second: int) -> None:
    assert (UID(first) == UID(second)) is (first == second)
    assert hash(UID(first)) == hash(UID(first))
    assert UID(first) != first


# Packages


def test_a_package_goes_to_everyone_unless_told_otherwise() -> None:
    package = Package(b"data", 8, 9, 1)
    assert (package.dest_id, package.dest_seq) == (EVERYONE, 0)
    assert not package.is_msgpack


def test_packages_are_equal_if_they_travel_alike() -> None:
    def make(**changes: object) -> Package:
        fields = {"data": b"data", "slot": 8, "source_id": 9, "source_seq": 1, "dest_id": 2}
        return Package(**{**fields, "dest_seq": 3, **changes})  # type: ignore[arg-type]

    assert make() == make()
    for field in ("slot", "source_id", "source_seq", "dest_id", "dest_seq"):
        assert make() != make(**{field: 1000}), field
    assert make() != make(data=b"other")
    assert make() != make(is_msgpack=True)
    assert make() != b"data"


def test_a_package_can_be_changed_and_so_is_no_key() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Package(b"data", 8, 9, 1))


def test_a_package_shows_where_it_goes_and_not_its_data() -> None:
    package = Package(b"secret", 8, 0xA, 1, 0xB, 2)
    assert repr(package) == "Package(6 bytes, slot=0x8, source=0xa:1, dest=0xb:2)"


def test_a_package_is_one_message() -> None:
    package = Package(b"data", 8, 9, 1)
    assert package.count == 1
    assert list(package.messages()) == [b"data"]
    assert list(package.packages()) == [package]
    assert package.without_first(0) is package
    assert package.without_last(0) is package


def test_an_envelope_is_for_everyone_unless_told_otherwise() -> None:
    assert Envelope(8) == (8, EVERYONE, False)


# Bundles


BOB = 12


def make_bundle(
    messages: list[bytes],
    source_seq: int = 1000,
    dest_id: int = EVERYONE,
    dest_seqs: Sequence[int] = (),
    is_msgpack: bool = False,
) -> Bundle:
    sizes = list(map(len, messages))
    return Bundle(b"".join(messages), sizes, 8, 9, source_seq, dest_id, dest_seqs, is_msgpack)


message_lists = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9)


def test_a_bundle_is_a_package_for_everyone_with_the_number_of_its_last_message() -> None:
    bundle = make_bundle([b"one", b"three"])
    assert isinstance(bundle, Package)
    assert bundle.data == b"onethree"
    assert (bundle.slot, bundle.source_id, bundle.source_seq) == (8, 9, 1000)
    assert (bundle.dest_id, bundle.dest_seq, bundle.is_msgpack) == (EVERYONE, 0, False)


@given(message_lists, st.sampled_from([EVERYONE, BOB]), st.booleans(), st.booleans())
def test_a_bundle_comes_apart_into_its_messages(
    messages: list[bytes], dest_id: int, is_numbered: bool, is_msgpack: bool
) -> None:
    dest_seqs = list(range(7, 7 + len(messages))) if is_numbered else []
    bundle = make_bundle(messages, 1000, dest_id, dest_seqs, is_msgpack)
    assert bundle.count == len(messages)
    assert list(bundle.messages()) == messages
    first_seq = 1001 - len(messages)
    assert list(bundle.packages()) == [
        Package(data, 8, 9, first_seq + i, dest_id, 7 + i if is_numbered else 0, is_msgpack)
        for i, data in enumerate(messages)
    ]


@given(message_lists, st.booleans(), st.booleans(), st.data())
def test_what_is_left_of_a_bundle_has_the_same_numbers(
    messages: list[bytes], is_numbered: bool, is_msgpack: bool, data: st.DataObject
) -> None:
    count = data.draw(st.integers(min_value=0, max_value=len(messages) - 1))
    dest_seqs = list(range(7, 7 + len(messages))) if is_numbered else []
    bundle = make_bundle(messages, 1000, BOB, dest_seqs, is_msgpack)
    rest = bundle.without_first(count)
    assert list(rest.packages()) == list(bundle.packages())[count:]
    begin = bundle.without_last(count)
    assert list(begin.packages()) == list(bundle.packages())[: len(messages) - count]
    assert list(bundle.messages()) == messages


def test_bundles_are_equal_if_their_messages_are() -> None:
    bundle = make_bundle([b"one", b"three"])
    assert bundle == make_bundle([b"one", b"three"])
    assert bundle == Bundle(b"onethree", (3, 5), 8, 9, 1000)
    assert bundle != make_bundle([b"onet", b"hree"])
    assert bundle != make_bundle([b"one", b"three"], 1001)
    assert bundle != make_bundle([b"one", b"three"], is_msgpack=True)
    assert bundle != make_bundle([b"one", b"three"], dest_id=BOB)
    assert bundle != make_bundle([b"one", b"three"], dest_seqs=[1, 2])
    assert make_bundle([b"one"]) != Package(b"one", 8, 9, 1000)


def test_a_bundle_shows_how_many_messages_it_has() -> None:
    assert repr(make_bundle([b"secret", b"secret"], 0xA)) == (
        "Bundle(2 messages, Package(12 bytes, slot=0x8, source=0x9:10, dest=0x0:0))"
    )
