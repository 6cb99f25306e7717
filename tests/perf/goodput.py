# SPDX-License-Identifier: Apache-2.0
"""Goodput of large replies over a bad wire: cachee's TCP beside the kernel's, in one run, interleaved.

    client kernel ── tap ── [Impairment] ── cachee                          (net_tap, `impairment:` section)
    client kernel ── tap ── [Impairment] ── tap ── server kernel, redis     (tests/kernel/impaired_wire)

The client is the kernel's TCP in both cases, and the wire is the same code with the same seed. A closed
loop per connection: GET, read the whole reply, compare it, again. Reports for each server the median and
the spread of its rounds, the ratio, and what its loss recovery did. Needs root.

usage: goodput.py BUILD_DIR [--json] [--rounds N] [--seconds S] [--connections 1,8] [--kernel cubic,reno,bbr]
                  [--loss P] [--rtt-us N] [--rate-mbit N] [--value-bytes N] [--set section.key=value ...]
"""
import argparse
import json
import os
import pathlib
import selectors
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import netns  # noqa: E402
from harness.appliance import Appliance  # noqa: E402
from harness.processes import Process, wait_until  # noqa: E402
from harness.wire import Wire, encode  # noqa: E402

CLIENT, SERVER = "198.19.0.1", "198.19.0.2"


class Cachee:
    """The data plane alone, on net_tap, with the bad wire before its port."""

    name = "cachee"

    def __init__(self, options, directory):
        impairment = {"enabled": True, **options.wire}
        settings = {"impairment": impairment}
        for pair in options.set:
            key, value = pair.split("=", 1)
            section, field = key.split(".")
            settings.setdefault(section, {})[field] = json.loads(value)
        self.build = options.build
        self.appliance = Appliance(options.build, directory, "tap", None, None, settings).start()
        self.address, self.netns = self.appliance.address, self.appliance.netns

    def counters(self):
        """The tcp_* ones of `cachee info`, all workers together."""
        text = subprocess.run([os.path.join(self.build, "tools/cachee/cachee"), "info", "--json", "--instance",
                               self.appliance.name], capture_output=True, text=True, timeout=10).stdout
        counters = json.loads(text)["counters"] if text else {}
        return {name: value for name, value in counters.items() if name.startswith("tcp_")}

    def stop(self):
        self.appliance.stop()


class Kernel:
    """redis-server on the kernel's TCP, behind impaired_wire."""

    name = "kernel"

    def __init__(self, options, directory):
        self.netns = "cachee-test-gp%d-cl" % os.getpid()
        self.far = "cachee-test-gp%d-sv" % os.getpid()
        self.address = (SERVER, 6379)
        self.parts = []
        try:
            self._start(options, directory)
        except BaseException:
            self.stop()
            raise

    def _start(self, options, directory):
        for name in (self.netns, self.far):
            netns.add(name)
        arguments = ["%s=%s" % pair for pair in options.wire.items()]
        wire = Process("wire", [os.path.join(options.build, "tests/kernel/impaired_wire"), self.netns + "/wire0",
                                self.far + "/wire0"] + arguments, os.path.join(directory, "wire.log"))
        self.parts.append(wire)
        wait_until("the wire is there\n" + wire.tail(), 10, lambda: "ready" in wire.log() or not wire.alive)
        for name, address in ((self.netns, CLIENT), (self.far, SERVER)):
            netns.run("ip", "address", "add", address + "/30", "dev", "wire0", netns=name)
            netns.run("ip", "link", "set", "wire0", "up", netns=name)
        server = Process("redis", ["redis-server", "--bind", SERVER, "--port", "6379", "--save", "", "--dir",
                                   str(directory), "--protected-mode", "no"],
                         os.path.join(directory, "redis.log"), netns=self.far)
        self.parts.append(server)
        wait_until("redis-server listens\n" + server.tail(), 10, lambda: "Ready to accept" in server.log())

    def use(self, congestion_control):
        """By the route, for a namespace may set only those names by sysctl that the machine allows."""
        netns.run("ip", "route", "replace", "198.19.0.0/30", "dev", "wire0", "src", SERVER, "congctl",
                  congestion_control, netns=self.far)

    def counters(self):
        """The server kernel's own, from its namespace."""
        totals = {}
        for file in ("/proc/net/snmp", "/proc/net/netstat"):
            lines = netns.run("cat", file, netns=self.far).splitlines()
            for names, values in zip(lines[::2], lines[1::2]):
                totals.update(zip(names.split()[1:], map(int, values.split()[1:])))
        wanted = ("RetransSegs", "TCPTimeouts", "TCPFastRetrans", "TCPSlowStartRetrans", "TCPLossProbes",
                  "TCPSackRecovery")
        return {name: totals.get(name, 0) for name in wanted}

    def stop(self):
        for part in reversed(self.parts):
            part.terminate(5)
        for name in (self.netns, self.far):
            netns.delete(name)


def connect(server, timeout=30):
    return Wire(server.address, netns=server.netns, timeout=timeout)


def round_trip_us(server, count=60):
    with connect(server) as wire:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            wire.call("PING")
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def one_round(server, value, connections, seconds):
    """Bytes of values per second over `connections` closed loops. Every reply is compared."""
    request = encode("GET", "goodput")
    reply = b"$%d\r\n%b\r\n" % (len(value), value)
    selector = selectors.DefaultSelector()
    wires = [connect(server) for _ in range(connections)]
    pending = {}
    for wire in wires:
        wire.sock.setblocking(False)
        pending[wire] = bytearray()
        selector.register(wire.sock, selectors.EVENT_READ, wire)
        wire.sock.send(request)
    replies, start = 0, time.perf_counter()
    stalled = start
    received = 0
    while (now := time.perf_counter()) - start < seconds:
        for key, _ in selector.select(0.05):
            data = pending[key.data]
            chunk = key.data.sock.recv(1 << 18)
            assert chunk, "%s closed the connection" % server.name
            received += len(chunk)
            stalled = now
            data += chunk
            if len(data) >= len(reply):
                assert data == reply, "%s: the reply differs" % server.name
                data.clear()
                replies += 1
                key.data.sock.send(request)
        assert now - stalled < 10, "%s: nothing arrived for 10 s" % server.name
    took = time.perf_counter() - start
    for wire in wires:
        wire.close()
    return received / took


def measure(servers, options, value, congestion_control, connections):
    servers[1].use(congestion_control)
    rounds = {server.name: [] for server in servers}
    before = {server.name: server.counters() for server in servers}
    for number in range(options.rounds):
        order = servers if number % 2 == 0 else servers[::-1]
        for server in order:
            rounds[server.name].append(one_round(server, value, connections, options.seconds) / 1e6)
    row = {"kernel_congestion_control": congestion_control, "connections": connections}
    for server in servers:
        rates = rounds[server.name]
        after = server.counters()
        row[server.name] = {
            "mb_per_s_median": round(statistics.median(rates), 3),
            "mb_per_s_min": round(min(rates), 3), "mb_per_s_max": round(max(rates), 3),
            "recovery": {key: after[key] - before[server.name].get(key, 0) for key in after
                         if after[key] != before[server.name].get(key, 0)}}
    row["ratio"] = round(row["cachee"]["mb_per_s_median"] / row["kernel"]["mb_per_s_median"], 3)
    row["ratios"] = [round(a / b, 3) for a, b in zip(rounds["cachee"], rounds["kernel"])]
    return row


def report(row):
    for name in ("cachee", "kernel"):
        side = row[name]
        print("%3d connections  %-12s %8.2f MB/s  (%.2f .. %.2f)  %s" % (
            row["connections"], name if name == "cachee" else "kernel " + row["kernel_congestion_control"], side["mb_per_s_median"], side["mb_per_s_min"], side["mb_per_s_max"],
            " ".join("%s=%d" % pair for pair in sorted(side["recovery"].items()))))
    print("%3d connections  cachee / kernel %s: %.2f  (per round: %s)" % (
        row["connections"], row["kernel_congestion_control"], row["ratio"], ", ".join("%.2f" % ratio for ratio in row["ratios"])))


def parse(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", default="1,8")
    parser.add_argument("--kernel", default="cubic,bbr", help="congestion controls of the server's kernel")
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument("--rtt-us", type=int, default=1000)
    parser.add_argument("--rate-mbit", type=int, default=0)
    parser.add_argument("--value-bytes", type=int, default=65536)
    parser.add_argument("--set", action="append", default=[], help="a key of cachee's configuration")
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)
    options.wire = {"seed": 11, "loss": options.loss, "delay_us": options.rtt_us // 2,
                    "rate_mbit": options.rate_mbit}
    return options


def main(arguments):
    options = parse(arguments)
    reason = netns.available()
    if reason:
        print(json.dumps({"name": "goodput", "rows": [], "reason": reason}) if options.json
              else "goodput: not measured: " + reason)
        return 3
    servers, rows = [], []
    with tempfile.TemporaryDirectory(prefix="cachee-goodput-") as directory:
        try:
            for kind in (Cachee, Kernel):
                servers.append(kind(options, directory))
            value = os.urandom(options.value_bytes)
            trips = {}
            for server in servers:
                with connect(server) as wire:
                    assert wire.call("SET", "goodput", value) == b"OK"
                trips[server.name] = round(round_trip_us(server))
            if not options.json:
                print("replies of %d bytes, loss %g %% each way, measured round trips: %s us" % (
                    options.value_bytes, options.loss * 100, trips))
            for congestion_control in options.kernel.split(","):
                for connections in map(int, options.connections.split(",")):
                    rows.append(measure(servers, options, value, congestion_control, connections))
                    if not options.json:
                        report(rows[-1])
        finally:
            for server in servers:
                server.stop()
    if options.json:
        print(json.dumps({"name": "goodput", "round_trip_us": trips, "loss": options.loss, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
