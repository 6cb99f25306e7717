# SPDX-License-Identifier: Apache-2.0
"""Benchmark p8: times GETs that miss L1 in turns with GETs sent to L2 directly, and prints rows.

usage: p8.py BUILD_DIR [--json]

One request at a time. Each key is asked for once through the appliance, so that all of those are misses; its own
count of misses is checked. First the planes alone: the asker is a worker with its requests in memory, and polls for
its answers, those of L2 included, on a core of its own. Then a client over loopback sockets, to either; a hit is
timed in the same turns, and what a hit takes of a miss is the client's network. Wants an idle machine: in the
second part client, L2 and both planes are four processes that take turns on the cores.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
sys.dont_write_bytecode = True

from harness.appliance import Appliance  # noqa: E402
from harness.processes import Server  # noqa: E402

ROUNDS = 21
SAMPLES = 200  # per round
VALUE = b"v" * 64
REPLY_BYTES = len(b"$64\r\n") + len(VALUE) + 2


class Client:
    def __init__(self, address):
        self.socket = socket.create_connection(address, 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_us(self, request):
        start = time.perf_counter_ns()
        self.socket.sendall(request)
        reply = self.socket.recv(4096)
        while len(reply) < REPLY_BYTES:
            more = self.socket.recv(4096)
            if not more:
                sys.exit("p8: the connection was closed")
            reply += more
        took = time.perf_counter_ns() - start
        if reply != b"$64\r\n" + VALUE + b"\r\n":
            sys.exit(f"p8: a wrong reply: {reply[:80]!r}")
        return took / 1000


def request_of(number):
    key = b"p8:%013d" % number
    return b"*2\r\n$3\r\nGET\r\n$16\r\n" + key + b"\r\n"


def fill(server, count):
    with server.connect() as wire:
        for first in range(0, count, 1000):
            words = ["MSET"]
            for number in range(first, min(first + 1000, count)):
                words += ["p8:%013d" % number, VALUE]
            assert wire.call(*words) == b"OK"


def misses_of(appliance):
    with appliance.connect() as wire:
        for line in wire.call("INFO", "stats").splitlines():
            if line.startswith(b"keyspace_misses:"):
                return int(line.split(b":")[1])
    sys.exit("p8: INFO tells no keyspace_misses")


def planes_alone(build, directory, server):
    """The same without a client's network: miss_cost.cc is the data plane, the control plane is the real one."""
    appliance = Appliance(build, directory, "socket", server, None)
    cpus = sorted(os.sched_getaffinity(0))
    try:
        appliance.start_controlplane()
        if len(cpus) > 1:  # a worker has a core of its own
            for process in (appliance.controlplane.pid, server.process.pid):
                for thread in os.listdir(f"/proc/{process}/task"):
                    os.sched_setaffinity(int(thread), set(cpus[1:]))
        bench = subprocess.run(
            ["taskset", "-c", str(cpus[0]), os.path.join(build, "tests/perf/miss_cost_bench"), appliance.name,
             os.path.join(appliance.directory, "run"), str(server.address[1]), str(ROUNDS), str(SAMPLES)],
            stdout=subprocess.PIPE, text=True, check=False, timeout=120)
        if bench.returncode != 0:
            sys.exit("p8: miss_cost_bench failed\n" + appliance.controlplane.tail(10))
        return [tuple(int(word) / 1000 for word in line.split()) for line in bench.stdout.splitlines()]
    finally:
        appliance.stop(check=False)


def measure(build):
    kind = "valkey" if shutil.which("valkey-server") else "redis"
    with tempfile.TemporaryDirectory() as directory:
        server = Server(kind, directory)
        appliance = None
        try:
            fill(server, ROUNDS * SAMPLES + 101)
            alone = planes_alone(build, directory, server)
            appliance = Appliance(build, directory, "socket", server, None).start()
            direct, through = Client(server.address), Client(appliance.address)
            hit = request_of(ROUNDS * SAMPLES)
            for number in range(ROUNDS * SAMPLES, ROUNDS * SAMPLES + 101):  # warm, the hit's key included
                through.get_us(request_of(number))
                direct.get_us(hit)
            before = misses_of(appliance)
            rounds = []
            for turn in range(ROUNDS):
                times = {"miss": [], "direct": [], "hit": []}
                for number in range(turn * SAMPLES, (turn + 1) * SAMPLES):
                    request = request_of(number)
                    times["direct"].append(direct.get_us(request))
                    times["miss"].append(through.get_us(request))
                    times["hit"].append(through.get_us(hit))
                rounds.append({name: statistics.median(values) for name, values in times.items()})
            missed = misses_of(appliance) - before
            if missed < ROUNDS * SAMPLES:
                sys.exit(f"p8: only {missed} of {ROUNDS * SAMPLES} GETs missed; nothing was measured")
            appliance.stop()
            return kind, alone, rounds
        finally:
            if appliance is not None:
                appliance.stop(check=False)
            server.stop()


def row(what, values, peer, peer_values, promise=None, ambition=None):
    value = round(statistics.median(values), 1)
    return {"what": what, "value": value, "unit": "us", "promise": promise, "ambition": ambition,
            "holds": None if promise is None else value <= promise,
            "peer": {"name": peer, "value": round(statistics.median(peer_values), 1),
                     "spread": f"{min(peer_values):.1f}..{max(peer_values):.1f}"},
            "spread": f"{min(values):.1f}..{max(values):.1f} over {len(values)} rounds of {SAMPLES}"}


def rows_of(kind, alone, rounds):
    direct = [one["direct"] for one in rounds]
    return [
        row("time that a miss adds to a round trip to L2: both planes, no client's network, median",
            [miss - asked for miss, asked in alone], f"{kind}-server, the same GET from the worker's thread",
            [asked for _, asked in alone], 15, 5),
        row("the same seen by a client over kernel sockets on loopback, median",
            [one["miss"] - one["direct"] for one in rounds], f"{kind}-server, the same GET directly", direct, 15, 5),
        row("of that, more than a hit takes: without the client's own way to the appliance",
            [one["miss"] - one["direct"] - one["hit"] for one in rounds], "a hit, the same client",
            [one["hit"] for one in rounds]),
        row("time that a hit saves of a round trip to L2", [one["direct"] - one["hit"] for one in rounds],
            f"{kind}-server, the same GET directly", direct)]


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    rows = rows_of(*measure(sys.argv[1]))
    if "--json" in sys.argv[2:]:
        print(json.dumps({"name": "p8", "rows": rows}))
        return
    for entry in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[entry["holds"]]
        promise = "" if entry["promise"] is None else f"promise {entry['promise']}"
        print(f"  {entry['value']:>7} {entry['unit']}  {promise:<11} {verdict:<14} {entry['what']}")
        print(f"          spread {entry['spread']}; {entry['peer']['name']}: {entry['peer']['value']} us "
              f"({entry['peer']['spread']})")


main()
