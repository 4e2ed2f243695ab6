"""A program that ends and is started anew, while the others stay: as a kernel does."""

from __future__ import annotations

import time

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, StateChannel, SubChannel


@pytest.mark.parametrize("is_set_first", [True, False])
def test_the_state_of_a_restarted_program_replaces_what_it_said_before(make_context, is_set_first):
    broker, client, kernel = make_context(), make_context(), make_context()
    connect(broker, client)
    connect(broker, kernel)
    broker_state, client_state = StateChannel(broker, "state"), StateChannel(client, "state")
    kernel_state = StateChannel(kernel, "state")
    for state in ("idle", "busy", "idle", "busy"):
        kernel_state.send(state)
    wait_until(lambda: client_state.recv() == broker_state.recv() == "busy")
    kernel.close()
    wait_until(lambda: broker.connection_count == 1)

    kernel = make_context()
    kernel_state = StateChannel(kernel, "state")
    if is_set_first:
        kernel_state.send("idle")
    connect(broker, kernel)
    if not is_set_first:
        kernel_state.send("idle")
    wait_until(lambda: client_state.recv() == broker_state.recv() == kernel_state.recv() == "idle")


def test_senders_do_not_wait_for_a_peer_that_has_not_come(make_context):
    binder, late = make_context(), make_context()
    connection = binder.bind("localhost:0")
    pub, sub = PubChannel(binder, "slot"), SubChannel(late, "slot")
    before = time.monotonic()
    for number in range(200):
        pub.send(str(number))
    assert time.monotonic() - before < 1.0
    late.connect(f"localhost:{connection.port1}")
    assert [sub.recv(PATIENCE) for _ in range(200)] == [str(number) for number in range(200)]
