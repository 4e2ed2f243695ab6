"""The directory: what one node knows of the others, and what networks of nodes agree on."""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from yoton import directory as directory_module
from yoton import tagged
from yoton.directory import MAX_ENTRIES, MAX_OUT_OF_REACH, Directory, News, Told
from yoton.entry import (
    MAX_CHANNELS,
    MAX_ENTRY_SIZE,
    MAX_NEIGHBOURS,
    MAX_TEXT_LENGTH,
    Announcement,
    Endpoint,
    Entry,
    Peer,
    announcement_of,
    read_announcement,
)

PUB = Endpoint("PubChannel", "chat.txt.pub-sub", "chat.txt.sub-pub")
SUB = Endpoint("SubChannel", "chat.txt.sub-pub", "chat.txt.pub-sub")
STATE = Endpoint("StateChannel", "mood.txt.state", "mood.txt.state")


def peer(context_id: int) -> Peer:
    return Peer(context_id, 10 * context_id, "host", f"context {context_id}", "program.py")


def announcement(
    context_id: int, *neighbours: int, version: int = 1, endpoints: tuple[Endpoint, ...] = ()
) -> Announcement:
    return announcement_of(Entry(peer(context_id), version, endpoints, frozenset(neighbours)))


def connected_directory(*neighbours: int, endpoints: tuple[Endpoint, ...] = ()) -> Directory:
    """Get the directory of context 1, with a line to each neighbour, named by its id."""
    directory = Directory(peer(1))
    for neighbour in neighbours:
        directory.line_opened(neighbour, neighbour, listens=True)
        directory.heard(neighbour, announcement(neighbour, 1))
    for told in directory.settle(endpoints):
        told.news.take()
    return directory


def entries_of(told: list[Told]) -> dict[object, list[Entry]]:
    """Get what is told over each line."""
    return {
        each.line: [read_announcement(data).entry for data in each.news.take()] for each in told
    }


def ids_of(told: list[Told]) -> dict[object, list[int]]:
    return {
        line: [entry.peer.id for entry in entries] for line, entries in entries_of(told).items()
    }


def known_ids(directory: Directory) -> list[int]:
    return [context["id"] for context in directory.graph([])["contexts"]]


# Telling


def test_a_new_line_is_told_of_everybody_in_reach() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(4, 2))
    directory.heard(2, announcement(2, 1, 4, version=2))
    directory.settle([])
    directory.line_opened("new", 5, listens=True)
    [(line, entries)] = entries_of(
        [told for told in directory.settle([PUB]) if told.line == "new"]
    ).items()
    assert line == "new"
    assert [entry.peer for entry in entries] == [peer(1), peer(2), peer(3), peer(4)]
    assert entries[0] == Entry(peer(1), entries[0].version, (PUB,), frozenset((2, 3, 5)))


def test_what_changes_here_is_told_to_all_who_listen() -> None:
    directory = connected_directory(2, 3)
    directory.line_opened("plain", 4, listens=False)
    told = entries_of(directory.settle([PUB]))
    assert told.keys() == {2, 3}
    assert told[2] == told[3] == [Entry(peer(1), told[2][0].version, (PUB,), frozenset((2, 3, 4)))]
    assert directory.settle([PUB]) == []
    assert entries_of(directory.settle([]))[2][0].version == told[2][0].version + 1


def test_news_are_passed_on_but_not_to_where_they_come_from() -> None:
    directory = connected_directory(2, 3, 4)
    assert directory.heard(2, announcement(2, 1, version=2))
    assert ids_of(directory.settle([])) == {3: [2], 4: [2]}


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_known_already_is_no_news(version: int) -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(2, 1, version=2))
    directory.settle([])
    assert not directory.heard(3, announcement(2, 1, version=version))
    assert directory.settle([]) == []


def test_what_others_say_of_this_node_is_no_news() -> None:
    directory = connected_directory(2)
    assert not directory.heard(2, announcement(1, 7, version=1000))
    assert directory.graph([])["connections"] == [[1, 2]]


def test_who_is_out_of_reach_is_told_to_nobody_until_it_comes_into_reach() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(4, 2))
    assert directory.settle([]) == []
    directory.heard(2, announcement(2, 1, 4, version=2))
    assert ids_of(directory.settle([])) == {3: [2, 4]}


def test_many_that_leave_do_not_push_out_one_that_was_just_heard_of() -> None:
    directory = connected_directory(2, 3)
    leavers = range(100, 100 + MAX_OUT_OF_REACH)
    for leaver in leavers:
        directory.heard(2, announcement(leaver, 2))
    directory.heard(2, announcement(2, 1, *leavers, version=2))
    directory.settle([])
    directory.heard(3, announcement(4, 3))
    directory.heard(2, announcement(2, 1, version=3))
    directory.settle([])
    directory.heard(3, announcement(3, 1, 4, version=2))
    assert ids_of(directory.settle([]))[2] == [3, 4]


def test_who_comes_into_reach_again_is_told_again() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(4, 2))
    directory.heard(2, announcement(2, 1, 4, version=2))
    assert ids_of(directory.settle([])) == {3: [2, 4]}
    directory.heard(2, announcement(2, 1, version=3))
    assert ids_of(directory.settle([])) == {3: [2]}
    directory.heard(2, announcement(2, 1, 4, version=4))
    # By which line 4 came is forgotten.
    assert ids_of(directory.settle([])) == {2: [4], 3: [2, 4]}


def test_each_is_told_behind_one_by_which_it_is_in_reach() -> None:
    # Or those who are told, and settle meanwhile, would forget some as out of reach.
    directory = connected_directory(2, 3)
    branch, leaves = 10, range(11, 11 + 2 * MAX_OUT_OF_REACH)
    for leaf in leaves:
        directory.heard(2, announcement(leaf, branch))
    directory.heard(2, announcement(branch, 2, *leaves))
    directory.heard(2, announcement(2, 1, branch, version=2))
    directory.line_opened("late", 4, listens=True)
    told = ids_of(directory.settle([]))
    for line, before in ((3, [1, 2]), ("late", [1, 2, 3])):
        assert sorted(told[line][: len(before)]) == before
        assert told[line][len(before)] == branch
        assert sorted(told[line][len(before) + 1 :]) == list(leaves)


def test_one_comes_into_reach_by_its_own_entry_as_well() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(2, 1, 4, version=2))
    assert ids_of(directory.settle([])) == {3: [2]}
    directory.heard(2, announcement(5, 4))
    directory.heard(2, announcement(4, 2, 5))
    assert ids_of(directory.settle([])) == {3: [4, 5]}


def test_who_is_behind_a_line_that_ended_is_out_of_reach() -> None:
    directory = connected_directory(2, 3, endpoints=(PUB,))
    directory.heard(2, announcement(2, 1, version=2, endpoints=(SUB,)))
    assert ids_of(directory.settle([PUB])) == {3: [2]}
    assert directory.peers(PUB) == (peer(2),)
    directory.line_closed(2)
    assert ids_of(directory.settle([PUB])) == {3: [1]}
    assert directory.peers(PUB) == ()
    assert known_ids(directory) == [1, 3]


def test_a_context_that_two_lines_lead_to_is_in_reach_while_one_of_them_is_there() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(2, 1, 4, version=2))
    directory.heard(3, announcement(3, 1, 4, version=2))
    directory.heard(2, announcement(4, 2, 3))
    directory.settle([])
    directory.line_closed(2)
    directory.settle([])
    assert known_ids(directory) == [1, 2, 3, 4]
    directory.line_closed(3)
    directory.settle([])
    assert known_ids(directory) == [1]


def test_two_lines_to_the_same_context_are_one_neighbour() -> None:
    directory = connected_directory(2)
    directory.line_opened("second", 2, listens=True)
    directory.settle([])
    directory.line_closed(2)
    directory.settle([])
    assert directory.graph([])["connections"] == [[1, 2]]


def test_a_line_that_ends_before_anything_was_told_is_forgotten() -> None:
    directory = connected_directory(2)
    directory.line_opened("short", 3, listens=True)
    directory.line_closed("short")
    directory.line_closed("never there")
    assert directory.settle([]) == []


def test_what_a_later_version_adds_is_passed_on() -> None:
    directory = connected_directory(2, 3)
    fields = {**tagged.decode(announcement(2, 1).data), "version": 2, "more": [1, 2]}
    directory.heard(2, read_announcement(tagged.encode(fields)))
    [told] = directory.settle([])
    assert [tagged.decode(data) for data in told.news.take()] == [fields]


# News on their way


def test_news_that_were_not_taken_yet_take_up_what_is_newer() -> None:
    directory = connected_directory(2)
    [told] = directory.settle([PUB])
    assert directory.settle([PUB, STATE]) == []
    [data] = told.news.take()
    assert read_announcement(data).entry.endpoints == (PUB, STATE)
    assert told.news.take() == [data], "Ctrl-C may have come in between"
    [later] = directory.settle([])
    assert later.news is not told.news


def test_news_go_behind_what_was_told_before() -> None:
    directory = connected_directory(2)
    [first] = directory.settle([PUB])
    directory.seal(2)
    directory.seal("never there")
    [second] = directory.settle([PUB, SUB])
    versions = [
        read_announcement(data).entry.version
        for told in (first, second)
        for data in told.news.take()
    ]
    assert versions[0] + 1 == versions[1]


def test_what_is_added_while_news_are_taken_goes_into_others_as_well() -> None:
    news = News()
    assert news.add([announcement(2)])
    news.take()
    assert not news.add([announcement(3)])
    assert len(news.take()) == 2


# What is known


def test_peers_are_those_at_the_other_end() -> None:
    directory = connected_directory(2, 3, 4, endpoints=(PUB, STATE))
    for i, endpoints in ((4, (SUB, STATE)), (2, (SUB,)), (3, (PUB,))):
        directory.heard(i, announcement(i, 1, version=2, endpoints=endpoints))
    directory.settle([PUB, STATE])
    assert directory.peers(PUB) == (peer(2), peer(4))
    assert directory.peers(SUB) == (peer(3),), "and not the channel of this context"
    assert directory.peers(STATE) == (peer(4),)
    assert directory.peers(Endpoint("SubChannel", "a", "b")) == ()


def test_one_end_is_enough_to_be_a_peer() -> None:
    directory = connected_directory(2)
    listener = Endpoint("Listener", "other", PUB.sends_on)
    speaker = Endpoint("Speaker", PUB.receives_on, "other")
    for version, endpoint in enumerate((listener, speaker), 2):
        directory.heard(2, announcement(2, 1, version=version, endpoints=(endpoint,)))
        directory.settle([])
        assert directory.peers(PUB) == (peer(2),)


def test_the_graph_is_plain_data() -> None:
    directory = connected_directory(2)
    directory.heard(2, announcement(2, 1, 3, version=2, endpoints=(SUB, STATE)))
    directory.line_opened("plain", 4, listens=False)
    directory.settle([])
    graph = directory.graph([PUB])
    assert json.loads(json.dumps(graph)) == graph
    names = [(context["id"], context["name"], context["is_own"]) for context in graph["contexts"]]
    assert names == [
        (1, "context 1", True),
        (2, "context 2", False),
        # Those two tell nothing of themselves.
        (3, "", False),
        (4, "", False),
    ]
    assert graph["connections"] == [[1, 2], [1, 4], [2, 3]]
    assert graph["channels"] == {
        "chat.txt.pub-sub": [
            {"context": 1, "kind": "PubChannel", "sends": True, "receives": False},
            {"context": 2, "kind": "SubChannel", "sends": False, "receives": True},
        ],
        "chat.txt.sub-pub": [
            {"context": 1, "kind": "PubChannel", "sends": False, "receives": True},
            {"context": 2, "kind": "SubChannel", "sends": True, "receives": False},
        ],
        "mood.txt.state": [
            {"context": 2, "kind": "StateChannel", "sends": True, "receives": True},
        ],
    }


def test_a_line_that_only_one_end_tells_of_is_none() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(2, 1, 3, 4, version=2))
    directory.heard(2, announcement(4))
    directory.settle([])
    assert directory.graph([])["connections"] == [[1, 2], [1, 3]]
    assert known_ids(directory) == [1, 2, 3]


def test_no_way_leads_to_those_that_nobody_names() -> None:
    directory = connected_directory(2, 3)
    directory.heard(2, announcement(2, 1, 4, version=2))
    directory.heard(2, announcement(4, 2))
    directory.settle([])
    assert directory.without_way(range(2, 8)) == {5, 6, 7}
    directory.heard(2, announcement(2, 1, version=3))
    assert directory.without_way(range(2, 8)) == {4, 5, 6, 7}
    directory.line_closed(3)
    directory.settle([])
    assert directory.without_way([1, 2, 3]) == {3}


def test_a_way_may_lead_to_those_that_a_neighbour_names_whatever_they_tell() -> None:
    directory = connected_directory(2)
    directory.heard(2, announcement(2, 1, 3, version=2))
    directory.heard(2, announcement(3, 4))
    directory.heard(2, announcement(4))
    directory.heard(2, announcement(5, 2, 4))
    directory.settle([])
    assert directory.without_way([3, 4, 5]) == {5}


def test_behind_a_neighbour_that_tells_nothing_may_be_those_that_nobody_tells_of() -> None:
    directory = connected_directory(2)
    directory.heard(2, announcement(4, 3))
    directory.line_opened(3, 3, listens=False)
    assert directory.without_way([3, 4, 5]) == {4}
    directory.line_closed(3)
    directory.settle([])
    assert directory.without_way([3, 4, 5]) == {3, 4, 5}


# Limits


@pytest.mark.parametrize("is_too_large", [False, True])
def test_where_a_context_has_more_neighbours_than_it_tells_a_way_may_lead_to_anybody(
    is_too_large: bool,
) -> None:
    directory = connected_directory(2)
    named = range(3, 2 + MAX_NEIGHBOURS - (not is_too_large))
    directory.heard(2, announcement(2, 1, *named, version=2))
    directory.heard(2, announcement(9999, 2))
    assert directory.without_way([9999]) == (set() if is_too_large else {9999})


def test_where_no_more_are_known_a_way_may_lead_to_anybody() -> None:
    directory = connected_directory(2)
    others = range(5000, 5000 + MAX_ENTRIES)
    for i in others[2:]:
        directory.heard(2, announcement(i, 2))
    assert directory.without_way([9999]) == {9999}
    directory.heard(2, announcement(5000, 2))
    assert directory.without_way([9999]) == set()


def test_it_knows_so_many_contexts_and_no_more() -> None:
    directory = connected_directory(2)
    accepted = [directory.heard(2, announcement(i, 2)) for i in range(3, 3 + 2 * MAX_ENTRIES)]
    assert accepted.count(True) == MAX_ENTRIES - 1
    assert directory.heard(2, announcement(2, 1, version=2)), "one that is known may change"


def test_of_those_out_of_reach_it_keeps_the_latest() -> None:
    directory = connected_directory(2)
    ids = range(3, 3 + MAX_OUT_OF_REACH + 10)
    for i in ids:
        directory.heard(2, announcement(i, 2))
    # One that was heard of again stays.
    directory.heard(2, announcement(3, 2, version=2))
    directory.settle([])
    directory.heard(2, announcement(2, 1, *ids, version=2))
    directory.settle([])
    names = [context["id"] for context in directory.graph([])["contexts"] if context["name"]]
    assert names == [1, 2, 3, *ids[11:]]


def test_an_entry_tells_of_so_many_channels_and_no_more() -> None:
    directory = connected_directory(2)
    endpoints = [Endpoint("PubChannel", f"{i}.out", f"{i}.in") for i in range(MAX_CHANNELS + 5)]
    [entry] = entries_of(directory.settle(endpoints))[2]
    assert entry.endpoints == tuple(endpoints[:MAX_CHANNELS])
    assert directory.left_out == 5
    directory.settle([PUB])
    assert directory.left_out == 0


def test_an_entry_is_never_too_large() -> None:
    directory = Directory(Peer(1, 1, *3 * ("\N{SNOWMAN}" * 10_000,)))
    for i in range(2, MAX_NEIGHBOURS + 10):
        directory.line_opened(i, i, listens=i == 2)
    names = "x" * (MAX_ENTRY_SIZE // 10), "y"
    [told] = directory.settle([Endpoint("PubChannel", *names)] * 20)
    [data] = told.news.take()
    entry = read_announcement(data).entry
    assert len(entry.neighbours) == MAX_NEIGHBOURS
    assert 0 < len(entry.endpoints) < 10
    assert entry.peer == Peer(1, 1, *3 * ("\N{SNOWMAN}" * MAX_TEXT_LENGTH,))


def test_names_that_are_no_text_do_no_harm() -> None:
    directory = Directory(Peer(1, 1, "host", "name", "\udcff.py"))
    directory.line_opened(2, 2, listens=True)
    bad = Endpoint("PubChannel", "\udcff", "in")
    [entry] = entries_of(directory.settle([bad, PUB]))[2]
    assert entry.peer.program == "?.py"
    assert entry.endpoints == (PUB,)
    assert directory.left_out == 1


# Networks


class Line:
    """One direction of a line: notices keep their order; the last news may take up more."""

    def __init__(self, number: int, target: int) -> None:
        self.number = number
        self.target = target
        self.waiting: deque[News] = deque()
        self.on_its_way: deque[bytes] = deque()


class NetworkMachine(RuleBasedStateMachine):
    """Nodes, lines that open and close in any shape, channels that come and go.

    Whatever order things arrive in, as long as each line keeps its own: once all has arrived,
    everybody knows exactly those that it is connected to.
    """

    @initialize(count=st.integers(2, 5))
    def build(self, count: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(directory_module, "MAX_OUT_OF_REACH", 5)
        self.count = count
        self.directories = [Directory(peer(i + 1)) for i in range(count)]
        self.endpoints: list[list[Endpoint]] = [[] for _ in range(count)]
        # For each line its two ends, by node.
        self.lines: dict[int, dict[int, Line]] = {}
        self.line_count = 0

    def teardown(self) -> None:
        self.patch.undo()

    nodes = st.integers(0, 4)

    @rule(one=nodes, other=nodes)
    def open_line(self, one: int, other: int) -> None:
        one, other = one % self.count, other % self.count
        if one == other:
            return
        self.line_count += 1
        number = self.line_count
        self.lines[number] = {one: Line(number, other), other: Line(number, one)}
        for node, line in self.lines[number].items():
            self.directories[node].line_opened(number, line.target + 1, listens=True)

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), is_lost=st.booleans())
    def close_line(self, data: st.DataObject, is_lost: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.lines)))
        ends = self.lines.pop(number)
        for node, line in ends.items():
            if not is_lost:
                while line.waiting or line.on_its_way:
                    self._deliver(node, line)
        for node in ends:
            self.directories[node].line_closed(number)

    @rule(node=nodes, endpoint=st.sampled_from((PUB, SUB, STATE)))
    def make_or_close_channel(self, node: int, endpoint: Endpoint) -> None:
        endpoints = self.endpoints[node % self.count]
        if endpoint in endpoints:
            endpoints.remove(endpoint)
        else:
            endpoints.append(endpoint)

    @rule(node=nodes)
    def settle(self, node: int) -> None:
        node %= self.count
        for told in self.directories[node].settle(self.endpoints[node]):
            self.lines[told.line][node].waiting.append(told.news)

    @precondition(lambda self: self._busy())
    @rule(data=st.data())
    def deliver_one(self, data: st.DataObject) -> None:
        busy = self._busy()
        self._deliver(*busy[data.draw(st.integers(0, len(busy) - 1))])

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def tell_something_else(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.lines)))
        for node in self.lines[number]:
            self.directories[node].seal(number)

    @rule()
    def deliver_all(self) -> None:
        rounds = 0
        while True:
            for node in range(self.count):
                self.settle(node)
            busy = self._busy()
            if not busy:
                break
            self._deliver(*busy[0])
            rounds += 1
            assert rounds < 10_000, "news go round for ever"
        for node in range(self.count):
            self._check(node)

    def _busy(self) -> list[tuple[int, Line]]:
        return [
            (node, line)
            for ends in self.lines.values()
            for node, line in ends.items()
            if line.waiting or line.on_its_way
        ]

    def _deliver(self, node: int, line: Line) -> None:
        if not line.on_its_way:
            line.on_its_way.extend(line.waiting.popleft().take())
        if line.on_its_way:
            announcement = read_announcement(line.on_its_way.popleft())
            self.directories[line.target].heard(line.number, announcement)

    def _check(self, node: int) -> None:
        reached, pairs = self._connected_to(node)
        graph = self.directories[node].graph(self.endpoints[node])
        assert [context["id"] for context in graph["contexts"]] == [i + 1 for i in sorted(reached)]
        assert graph["connections"] == sorted([a + 1, b + 1] for a, b in pairs)
        for endpoint, opposite in ((PUB, SUB), (SUB, PUB), (STATE, STATE)):
            expected = [i + 1 for i in sorted(reached - {node}) if opposite in self.endpoints[i]]
            assert [p.id for p in self.directories[node].peers(endpoint)] == expected

    def _connected_to(self, node: int) -> tuple[set[int], set[tuple[int, int]]]:
        all_pairs = {tuple(sorted(ends)) for ends in self.lines.values()}
        reached = {node}
        for _ in range(self.count):
            reached |= {i for pair in all_pairs if reached & set(pair) for i in pair}
        return reached, {(a, b) for a, b in all_pairs if a in reached}


# Minutes, on a machine that is busy with much else.
TestNetwork = pytest.mark.timeout(300)(NetworkMachine.TestCase)
TestNetwork.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
