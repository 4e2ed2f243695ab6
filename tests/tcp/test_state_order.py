"""A state comes in order with the messages of other channels."""

from __future__ import annotations

from yoton.channels import StateChannel
from yoton.package import Package


def test_a_state_that_has_come_counts_before_the_channel_was_told(make_context):
    state = StateChannel(make_context(), "slot")
    # As the routing does, which acts on the state only after all packages of a batch are there.
    state.deliver(Package(b"new", slot=8, source_id=1, source_seq=1), iter([1]))
    assert state.recv() == "new"
