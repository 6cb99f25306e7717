# SPDX-License-Identifier: Apache-2.0
"""Benchmark p8: times GETs that miss L1 in turns with GETs sent to L2 directly, and prints rows.

usage: p8.py BUILD_DIR [--json]

One client, one request at a time, both over loopback sockets. Each key is asked for once through the appliance,
so that all of those are misses; its own count of misses is checked. A hit is timed in the same turns. Wants an
idle machine: client, L2 and both planes are four processes that take turns on the cores.
"""

import json
import os
import shutil
import socket
import statistics
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


def measure(build):
    kind = "valkey" if shutil.which("valkey-server") else "redis"
    with tempfile.TemporaryDirectory() as directory:
        server = Server(kind, directory)
        appliance = None
        try:
            fill(server, ROUNDS * SAMPLES + 101)
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
            return kind, rounds
        finally:
            if appliance is not None:
                appliance.stop(check=False)
            server.stop()


def rows_of(kind, rounds):
    added = sorted(one["miss"] - one["direct"] for one in rounds)
    saved = sorted(one["direct"] - one["hit"] for one in rounds)
    direct = statistics.median(one["direct"] for one in rounds)
    peer = {"name": f"{kind}-server, the same GET directly", "value": round(direct, 1),
            "spread": "{:.1f}..{:.1f}".format(*(f(one["direct"] for one in rounds) for f in (min, max)))}

    def row(what, values, promise, ambition):
        value = round(statistics.median(values), 1)
        return {"what": what, "value": value, "unit": "us", "promise": promise, "ambition": ambition,
                "holds": None if promise is None else value <= promise, "peer": peer,
                "spread": f"{values[0]:.1f}..{values[-1]:.1f} over {len(values)} rounds of {SAMPLES}"}
    return [row("time that a miss adds to a round trip to L2, kernel sockets on loopback, median", added, 15, 5),
            row("time that a hit saves of it", saved, None, None)]


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
