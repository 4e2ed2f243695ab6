"""The parts of the benchmarks that measure nothing: numbers, tables, payloads, command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import table
from benchmarks.command_line import chosen, parse
from benchmarks.payload import LossyError, Payload
from benchmarks.peers import peer_names
from benchmarks.results import PeerInfo, Results, Row
from benchmarks.summary import NOTHING, format_number, format_ratio, percentile, summarize
from benchmarks.workloads import find_workload, load_workloads
from benchmarks.workloads.one_way import MOST_BYTES, find_count

PEERS = ["yoton", "rpyc", "zmq-tcp"]
WORKLOADS = {"all": ["round-trip", "call", "import"], "scale": ["scale-slots-1", "scale-slots-10"]}
FLOATS = st.floats(-1e12, 1e12)


# Numbers


@given(st.lists(FLOATS, min_size=1))
def test_the_median_lies_within_the_spread(samples: list[float]) -> None:
    median, low, high = summarize(samples)
    assert low <= median <= high
    assert sum(sample < median for sample in samples) <= len(samples) / 2
    assert sum(sample > median for sample in samples) <= len(samples) / 2


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_samples(percent: int, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_percentiles_of_one_sample_are_that_sample() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0.00"),
        (0.456, "0.46"),
        (9.99, "9.99"),
        (9.996, "10.0"),
        (54.32, "54.3"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00 k"),
        (54_320.0, "54.3 k"),
        (999_600.0, "1.00 M"),
        (3.5e6, "3.50 M"),
        (4.5e9, "4.50 G"),
        (-1500.0, "-1.50 k"),
    ],
)
def test_a_number_has_three_digits(number: float, expected: str) -> None:
    assert format_number(number) == expected


def test_a_ratio_is_the_first_over_the_second() -> None:
    assert format_ratio(3.0, 2.0) == "1.50"
    assert format_ratio(3.0, 0.0) == NOTHING


# Table


def results(*rows: Row, peers: tuple[str, ...] = ("yoton", "rpyc", "zmq-tcp")) -> Results:
    infos = {name: PeerInfo(f"{name}'s title", "1.0", []) for name in peers}
    return Results("the command", {"cpu": "a cpu"}, 3, 0.5, infos, list(rows))


ROW = Row(
    "call",
    "p50",
    "A call",
    "µs",
    is_rate=False,
    samples={"yoton": [30.0, 10.0, 20.0], "zmq-tcp": [40.0, 40.0, 50.0]},
)


def cells(rendered: str, line: int) -> list[str]:
    return [cell.strip() for cell in rendered.splitlines()[line].strip("|").split("|")]


def test_a_line_has_median_and_spread_of_each_peer_and_the_ratio() -> None:
    rendered = table.render(results(ROW))
    assert cells(rendered, 0) == [
        "",
        "unit",
        "yoton's title",
        "rpyc's title",
        "zmq-tcp's title",
        "yoton : zmq-tcp's title",
    ]
    assert cells(rendered, 2) == [
        "A call",
        "µs (less is better)",
        "**20.0** (10.0 … 30.0)",
        NOTHING,
        "**40.0** (40.0 … 50.0)",
        "0.50",
    ]


def test_a_peer_that_lost_something_in_one_round_has_no_figure() -> None:
    row = replace(ROW, errors={"yoton": ["lossy: got b'2' instead of b'1'"]})
    assert cells(table.render(results(row)), 2)[2:] == [
        "lossy",
        NOTHING,
        "**40.0** (40.0 … 50.0)",
        NOTHING,
    ]


def test_a_peer_that_failed_is_not_called_lossy() -> None:
    row = replace(ROW, errors={"zmq-tcp": ["OSError: no"]})
    assert cells(table.render(results(row)), 2)[4:] == ["failed", NOTHING]


def test_without_one_of_the_two_there_is_no_ratio() -> None:
    rendered = table.render(results(ROW, peers=("yoton", "rpyc")))
    assert len(cells(rendered, 0)) == len(cells(rendered, 1)) == len(cells(rendered, 2)) == 4


def test_a_table_says_where_and_how_it_was_measured() -> None:
    rendered = table.render(results(ROW))
    for text in ("the command", "a cpu", "rpyc's title 1.0", "3 rounds"):
        assert text in rendered


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = results(ROW, replace(ROW, errors={"rpyc": ["failed"]}))
    written.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == written


# Payload


@pytest.mark.parametrize("form", ["binary", "text", "object"])
@pytest.mark.parametrize("size", [1, 16, 1024, 1025, 2**20, 2**24])
def test_a_message_is_its_own_match_and_not_its_neighbours(form: str, size: int) -> None:
    payload = Payload(form, size if form == "binary" else 100)
    first, second = payload.first(2)
    payload.check(first, first)
    with pytest.raises(LossyError):
        payload.check(second, first)


@pytest.mark.parametrize("size", [16, 2**20])
@pytest.mark.parametrize("place", [0, 8, -1])
def test_a_changed_byte_is_seen(size: int, place: int) -> None:
    payload = Payload("binary", size)
    (expected,) = payload.first(1)
    changed = bytearray(expected)
    # Of a large message only the ends and the middle are compared.
    changed[place if size == 16 or place != 8 else size // 2] ^= 1
    payload.check(memoryview(expected), expected)
    with pytest.raises(LossyError):
        payload.check(memoryview(changed), expected)


@pytest.mark.parametrize("size", [16, 2**20])
def test_a_shortened_message_is_seen(size: int) -> None:
    payload = Payload("binary", size)
    (expected,) = payload.first(1)
    with pytest.raises(LossyError, match=f"length {size - 1}"):
        payload.check(expected[:-1], expected)


def test_messages_have_their_size_and_go_on_without_end() -> None:
    payload = Payload("binary", 100)
    messages = list(payload.first(len(payload.messages) + 1))
    assert {len(message) for message in messages} == {100}
    assert messages[-1] == messages[0]
    assert len(set(messages)) == len(payload.messages)


# How many messages a run takes


def test_a_run_has_as_many_messages_as_fit_into_its_time() -> None:
    assert find_count(lambda count: (count - 1) / 1000, size=16, seconds=0.5) == 500


def test_a_run_has_no_more_messages_than_fit_into_memory() -> None:
    size = 2**26
    assert find_count(lambda count: 1e-6, size, seconds=0.5) == MOST_BYTES // size


def test_a_slow_run_has_a_few_messages_all_the_same() -> None:
    assert find_count(lambda count: 10.0, size=16, seconds=0.5) == 4


# Command line


def test_all_peers_and_workloads_are_the_default() -> None:
    parsed = parse([], PEERS, WORKLOADS)
    assert (parsed.peers, parsed.only, parsed.rounds) == (PEERS, WORKLOADS["all"], 5)
    assert parsed.output is None


def test_quick_is_about_two_peers_unless_others_are_named() -> None:
    assert parse(["--quick"], PEERS, WORKLOADS).peers == ["yoton", "zmq-tcp"]
    assert parse(["--quick", "--peers", "rpyc"], PEERS, WORKLOADS).peers == ["rpyc"]


def test_scale_is_about_yoton() -> None:
    parsed = parse(["scale", "--only", "scale-*-10"], PEERS, WORKLOADS)
    assert (parsed.peers, parsed.only) == (["yoton"], ["scale-slots-10"])


def test_names_come_in_the_order_of_the_table() -> None:
    parsed = parse(["--only", "import,c*", "--peers", "zmq-*,yoton"], PEERS, WORKLOADS)
    assert (parsed.only, parsed.peers) == (["call", "import"], ["yoton", "zmq-tcp"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nothing"],
        ["--only", "call,nothing"],
        ["--only", "scale-slots-1"],
        ["--peers", "nobody"],
        ["--rounds", "0"],
        ["--seconds", "0"],
        ["some"],
    ],
)
def test_what_there_is_not_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments, PEERS, WORKLOADS)
    assert "error:" in capsys.readouterr().err


def test_quick_leaves_out_what_is_not_a_main_workload() -> None:
    workloads = load_workloads("all")
    names = {"all": [workload.name for workload in workloads], "scale": []}
    assert chosen(workloads, parse([], PEERS, names)) == list(workloads)
    quick = chosen(workloads, parse(["--quick"], PEERS, names))
    assert {"round-trip", "call", "pubsub-64MiB", "fan-out"} <= {w.name for w in quick}
    assert all(workload.is_quick for workload in quick)


# What there is


@pytest.mark.parametrize("group", ["all", "scale"])
def test_each_workload_is_found_by_its_name(group: str) -> None:
    for workload in load_workloads(group):
        assert find_workload(workload.name) is workload
        assert workload.only <= set(peer_names())


def test_yoton_is_the_first_peer() -> None:
    names = peer_names()
    assert names[0] == "yoton"
    assert {"zmq-tcp", "zmq-ipc", "mp-connection", "pyzo-yoton", "rpyc", "sockets"} < set(names)
