"""Two networks with a cable between them that loses and delays what goes over it, really.

Each end is a process in a network namespace of its own. The system's own traffic control loses
and delays: netem at random, where the kernel has it; elsewhere a shaper, which drops what comes
faster than it lets through.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from support import PATIENCE

#: How the cable is, in the words of tc(8).
IMPAIRMENTS = {
    "netem": "netem loss 3% delay 5ms 3ms",
    "shaper": "tbf rate 40mbit burst 16kb latency 5ms",
}

#: Bytes of data sent each way, in messages of different sizes; the shaper drops part of that.
TOTAL_SIZE = 4_000_000

SERVER = """
import json, subprocess, sys, threading
import yoton

def run(command):
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout

impairment, client, *sizes = sys.argv[1:]
context = yoton.Context()
down = yoton.PubChannel(context, "down", yoton.BINARY)
up = yoton.SubChannel(context, "up", yoton.BINARY)
up.set_high_water_mark(policy="block")
peer = subprocess.Popen(["unshare", "-n", sys.executable, "-c", client, *sizes],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
peer.stdout.readline()  # it is in its own network
run(f"ip link add v0 type veth peer name v1 netns {peer.pid}")
run("ip addr add 10.77.0.1/24 dev v0")
run("ip link set v0 up")
run(f"tc qdisc add dev v0 root {impairment}")
listener = context.listen("10.77.0.1:0")
peer.stdin.write(f"{impairment}\\n{listener.port}\\n")
peer.stdin.flush()
assert down.wait_for_subscribers(timeout=20.0)
sender = threading.Thread(target=lambda: [down.send(bytes([n % 256]) * int(size))
                                          for n, size in enumerate(sizes)], daemon=True)
sender.start()
came = [up.recv(30.0) for _ in sizes]
sender.join(30.0)
told = json.loads(peer.stdout.readline())
[connection] = listener.connections
told["up"] = [(message[0], len(message)) for message in came if message]
told["server reconnections"] = connection.stats()["reconnections"]
told["qdisc"] = run("tc -s qdisc show dev v0")
peer.communicate()
print(json.dumps(told), flush=True)
"""

CLIENT = """
import json, subprocess, sys, threading
import yoton

def run(command):
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout

sizes = sys.argv[1:]
print("here", flush=True)
impairment, port = input(), input()
run("ip addr add 10.77.0.2/24 dev v1")
run("ip link set v1 up")
run(f"tc qdisc add dev v1 root {impairment}")
context = yoton.Context()
up = yoton.PubChannel(context, "up", yoton.BINARY)
down = yoton.SubChannel(context, "down", yoton.BINARY)
down.set_high_water_mark(policy="block")
connection = context.connect(f"10.77.0.1:{port}", 20.0, reconnect=True)
assert up.wait_for_subscribers(timeout=20.0)
sender = threading.Thread(target=lambda: [up.send(bytes([n % 256]) * int(size))
                                          for n, size in enumerate(sizes)], daemon=True)
sender.start()
came = [down.recv(30.0) for _ in sizes]
sender.join(30.0)
context.flush(30.0)
print(json.dumps({"down": [(message[0], len(message)) for message in came if message],
                  "reconnections": connection.stats()["reconnections"],
                  "gaps": down.stats()["gaps"]}), flush=True)
sys.stdin.read()  # until the server is done
"""


def why_not(impairment: str) -> str:
    """Get why this machine cannot make such a cable, "" if it can."""
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "ip", "tc"))):
        return "needs Linux with unshare, ip and tc"
    command = f"ip link set lo up && tc qdisc add dev lo root {impairment}"
    result = subprocess.run(
        ["unshare", "-n", "sh", "-c", command], capture_output=True, text=True, check=False
    )
    return result.stderr.strip() and f"no such network here: {result.stderr.strip()}"


@pytest.mark.parametrize("kind", IMPAIRMENTS)
def test_nothing_is_lost_over_a_cable_that_loses_and_delays(kind: str) -> None:
    if reason := why_not(IMPAIRMENTS[kind]):
        pytest.skip(reason)
    sizes = [10, 3000, 100, 70_000] * (TOTAL_SIZE // 73_110)
    command = [sys.executable, "-c", SERVER, IMPAIRMENTS[kind], CLIENT, *map(str, sizes)]
    result = subprocess.run(
        ["unshare", "-n", *command],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    expected = [[number % 256, size] for number, size in enumerate(sizes)]
    assert told["down"] == told["up"] == expected
    assert told["gaps"] == 0
    # A cable that loses something is no line that is lost.
    assert told["reconnections"] == told["server reconnections"] == 0
    assert "dropped 0," not in told["qdisc"], "nothing was lost on the way"
