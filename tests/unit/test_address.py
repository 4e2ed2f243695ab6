from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.address import (
    DYNAMIC_PORT_COUNT,
    FIRST_DYNAMIC_PORT,
    Address,
    for_resolver,
    format_host_port,
    parse_address,
    port_hash,
)
from yoton.exceptions import AddressError
from yoton.hashing import text_hash

# Recorded with the yoton inside Pyzo.
RECORDED_PORTS = {"test": 56337, "PYZO": 50369, "pyzoserver": 63859, "": 49152}


@pytest.fixture
def public_addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses = ["192.0.2.1", "198.51.100.2"]
    monkeypatch.setattr(socket, "gethostname", lambda: "machine")
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, [], addresses))
    return addresses


# Hashes


@pytest.mark.parametrize(("name", "port"), RECORDED_PORTS.items())
def test_a_port_name_has_the_recorded_port(name: str, port: int) -> None:
    assert port_hash(name) == port


@given(st.text())
def test_a_port_name_has_a_port_that_no_service_is_registered_for(name: str) -> None:
    assert FIRST_DYNAMIC_PORT <= port_hash(name) < FIRST_DYNAMIC_PORT + DYNAMIC_PORT_COUNT


def test_the_hash_follows_its_definition() -> None:
    multiplier = 0xD2D84A61
    assert text_hash("") == 0
    first = ord("é") * multiplier
    assert text_hash("é") == first + first // 8 + 1 * multiplier


# Hosts and ports


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:8000", "127.0.0.1", 8000),
        ("LocalHost:8000", "127.0.0.1", 8000),
        ("tcp://localhost:8000", "127.0.0.1", 8000),
        ("TCP://localhost:8000", "127.0.0.1", 8000),
        (" localhost:8000 ", "127.0.0.1", 8000),
        ("localhost: 8000", "127.0.0.1", 8000),
        ("localhost:+8000", "127.0.0.1", 8000),
        ("192.0.2.7:0", "192.0.2.7", 0),
        ("example.org:65535", "example.org", 65535),
        ("localhosts:1", "localhosts", 1),
        ("[::1]:0", "::1", 0),
        ("[2001:db8::1]:test", "2001:db8::1", 56337),
        ("localhost:test", "127.0.0.1", 56337),
        ("localhost:test+1", "127.0.0.1", 56338),
        ("localhost:test+-1", "127.0.0.1", 56336),
        ("localhost:test+ 2", "127.0.0.1", 56339),
        ("localhost:a:b", "127.0.0.1", 59354),
    ],
)
def test_an_address_is_taken_apart(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address("tcp", host, port)


def test_the_case_of_a_port_name_counts() -> None:
    assert parse_address("localhost:pyzo").port != parse_address("localhost:PYZO").port


def test_a_public_host_is_an_address_of_this_machine(public_addresses: list[str]) -> None:
    assert parse_address("publichost:1").host == public_addresses[0]
    assert parse_address("PublicHost0:1").host == public_addresses[0]
    assert parse_address("publichost1:1").host == public_addresses[1]
    assert parse_address("publichosts:1").host == "publichosts"


@pytest.mark.usefixtures("public_addresses")
def test_a_public_host_that_the_machine_lacks_is_refused() -> None:
    with pytest.raises(AddressError, match="2 public addresses"):
        parse_address("publichost2:1")


@pytest.mark.parametrize(
    ("text", "transport", "name"),
    [
        ("unix:///tmp/a socket", "unix", "/tmp/a socket"),
        ("UNIX:///a:1", "unix", "/a:1"),
        (" memory://place ", "memory", "place"),
    ],
)
def test_an_address_within_a_machine_or_a_process(text: str, transport: str, name: str) -> None:
    address = parse_address(text)
    assert address == Address(transport, name, 0)
    assert str(address) == f"{transport}://{name}"


def test_a_relative_path_stays_the_same_when_the_directory_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address("unix://relative:1").host == str(tmp_path / "relative:1")


def test_a_relative_path_needs_a_directory_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(AddressError, match="directory is gone"):
        parse_address("unix://relative")
    assert parse_address("unix:///absolute").host == "/absolute"


def test_a_machine_whose_name_is_unknown_has_no_public_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> None:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "gethostbyname_ex", fail)
    with pytest.raises(AddressError, match="this machine's name") as raised:
        parse_address("publichost:1")
    assert isinstance(raised.value.__cause__, socket.gaierror)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no port"),
        ("localhost", "no port"),
        ("8000", "no port"),
        (":8000", "lacks a host"),
        ("localhost:", "lacks a host or a port"),
        ("[::1]", "no port behind its brackets"),
        ("[::1:8000", "no port behind its brackets"),
        ("[::1]8000", "no port behind its brackets"),
        ("[::1]:", "lacks a host or a port"),
        ("[]:1", "lacks a host"),
        ("udp://localhost:1", "unknown transport 'udp'"),
        ("unix://", "lacks a path or a name"),
        ("memory://", "lacks a path or a name"),
        ("unix:///a\0b", "zero character"),
        ("unix:///\ud800", "no file can have"),
        ("exam\0ple:1", "zero character"),
        ("bü..cher:1", "cannot be looked up"),
        ("ü" * 70 + ":1", "cannot be looked up"),
        ("://localhost:1", "unknown transport ''"),
        ("localhost:65536", "port 65536"),
        ("localhost:-1", "port -1"),
        ("localhost:test+9199", "port 65536"),
        ("localhost:test+", "offset '' is no integer"),
        ("localhost:test+x", "offset 'x' is no integer"),
        ("localhost:test+1+2", "offset '1+2' is no integer"),
        (None, "address is None"),
        (b"localhost:1", "address is b'localhost:1'"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=re.escape(complaint)) as raised:
        parse_address(text)
    assert isinstance(raised.value, ValueError)
    assert repr(text) in str(raised.value)


@given(st.text(st.characters(exclude_categories=["Nd", "Cs"])))
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError as error:
        assert repr(text) in str(error)
    else:
        assert 0 <= address.port < 65536


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    st.integers(min_value=0, max_value=65535),
)
def test_an_address_survives_being_written_and_read(host: str, port: int) -> None:
    address = Address("tcp", host, port)
    assert parse_address(str(address)) == address
    assert str(address) == format_host_port(host, port)


# What the resolver gets


def test_a_host_in_ascii_goes_to_the_resolver_without_a_codec() -> None:
    assert for_resolver("example.org") == b"example.org"
    assert for_resolver("bücher.example") == "bücher.example"
