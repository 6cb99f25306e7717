# SPDX-License-Identifier: Apache-2.0
"""Benchmarks p5 and p7: the data plane and the load generator on two cores, joined by shared memory (net_memif),
and beside them, in turns, kernel-socket servers over loopback.

usage: link_cost.py p5|p7 BUILD_DIR [--json]

p5 is CPU time per GET on the server's side, in cycles of the time-stamp counter. Of cachee: the cycles of polls that
found work, as the worker itself counts them (it polls all the time, so its CPU time says nothing). Of the others: the
time on a CPU of all their threads, user and system, times the counter's rate. Both include all of TCP/IP that runs on
the server's side; what memif costs is in cachee's figure, what loopback costs in the others'. The kernel handles an
arriving loopback segment in the context of its sender: on both ends part of the receiving is the other's cost.

The server has the first CPU of this process, the load generator the second one; servers that have not their turn are
stopped. As root the threads of both have real-time priority: whatever else runs on the machine then gets no time in
the middle of a measurement (but the kernel's reserve of one twentieth). CACHEE_BENCH_REALTIME=0 leaves that out.
"""

import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

P5_ROUNDS = 7
P7_ROUNDS = 15
CONNECTIONS = 50
KEYS = 10000
GETS = {1: 60000, 16: 400000}  # per measurement, by pipeline depth
KERNEL_GETS = {1: 30000, 16: 200000}
SERVER_IP, CLIENT_IP = "10.77.0.1", "10.77.0.2"
HUGEPAGES_WANTED = 110


def fail(text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def wait_until(what, seconds, condition, log=None):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tail = open(log, errors="replace").read()[-2000:] if log else ""
            fail(f"not within {seconds} s: {what}\n{tail}")
        time.sleep(0.02)


def free_hugepages():
    try:
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as pages:
            return int(pages.read())
    except OSError:
        return 0


class Bench:
    """The two CPUs, the priority, and the load generator on the second one."""

    def __init__(self, build):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            fail("two CPUs are needed, one for each end of the link")
        self.server_cpu, self.client_cpu = cpus[:2]
        self.build = build
        wanted = os.environ.get("CACHEE_BENCH_REALTIME", "1") != "0"
        self.realtime = wanted and os.geteuid() == 0
        self.cli = os.path.join(build, "tools", "cachee", "cachee")
        self.echo = os.path.join(build, "tests", "perf", "core_echo_bench")
        for path in (self.cli, self.echo, os.path.join(build, "tools", "loadgen", "cachee-loadgen"),
                     os.path.join(build, "src", "bin", "cachee-dataplane")):
            if not os.access(path, os.X_OK):
                fail(f"{path} is missing; build first (./tools/bench p5 and p7 do)")

    def load(self, server, *options):
        command = [self.cli, "bench", *server.target(), "--json", "--quiet", "--keys", str(KEYS), "--value-bytes",
                   "64", "--cores", str(self.client_cpu), *options]
        if self.realtime:
            command += ["--priority", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
        return json.loads(done.stdout)

    def bare_cores(self, rate, seconds):
        """The schedule of a load without any work: what the machine takes by itself (core_echo.cc)."""
        done = subprocess.run([self.echo, str(self.server_cpu), str(self.client_cpu), str(rate), str(seconds),
                               "1" if self.realtime else "0"], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            fail(f"{self.echo}: {done.stderr}")
        return json.loads(done.stdout)

    def gets(self, server, pipeline, count):
        """Cycles of the server per GET, over a load of `count` of them; the load includes its connects."""
        before = server.cycles()
        report = self.load(server, "-c", str(CONNECTIONS), "-P", str(pipeline), "-n", str(count), "-d", "60",
                           "--warmup", "0", "--reads", "100", "--no-populate")
        after = server.cycles()
        if report["misses"] != 0:
            fail(f"{server.name}: {report['misses']} keys were not there")
        return (after - before) / report["all"]["requests"]


class Server:
    """A process on the first CPU; stopped when it has not its turn."""

    name = ""

    def start(self, command, log):
        self.log = log
        self.child = subprocess.Popen(command, stdout=open(log, "wb"), stderr=subprocess.STDOUT,
                                      stdin=subprocess.DEVNULL)

    def settle(self, bench, polling):
        """CPU and priority of a server that runs. The thread named `polling` owns its CPU already; all others come
        before it, since they only wake up now and then and would wait for ever otherwise."""
        for task in os.listdir(f"/proc/{self.child.pid}/task"):
            with open(f"/proc/{self.child.pid}/task/{task}/comm", encoding="utf-8") as comm:
                name = comm.read().strip()
            if polling is None:
                os.sched_setaffinity(int(task), {bench.server_cpu})
            if bench.realtime:
                os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(1 if name == polling else 2))

    def __enter__(self):
        os.kill(self.child.pid, signal.SIGCONT)
        return self

    def __exit__(self, *unused):
        os.kill(self.child.pid, signal.SIGSTOP)

    def end(self):
        if self.child.poll() is None:
            os.kill(self.child.pid, signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Cachee(Server):
    """cachee-dataplane, standalone, on a net_memif port in server role."""

    def __init__(self, bench, directory):
        self.bench = bench
        self.instance = f"perf-{os.getpid()}"
        self.name = "cachee"
        self.socket = os.path.join(directory, "memif.sock")
        self.hugepages = free_hugepages() >= HUGEPAGES_WANTED
        self.options = [] if self.hugepages else ["--no-hugepages"]
        path = os.path.join(directory, "cachee.yaml")
        with open(path, "w", encoding="ascii") as config:
            config.write(f"""
instance: {{name: {self.instance}, runtime_dir: {directory}}}
driver: dpdk
workers: {{cores: [{bench.server_cpu}]}}
listen: {{address: {SERVER_IP}, port: 6379}}
dpdk:
  device: "net_memif0,role=server,socket={self.socket},socket-abstract=no"
  mbufs: 8192
  memory_mib: 64
  hugepages: {str(self.hugepages).lower()}
l1: {{bytes: {64 << 20}, hugepages: {"auto" if self.hugepages else "off"}}}
""")
        log = os.path.join(directory, "dataplane.log")
        self.start([os.path.join(bench.build, "src", "bin", "cachee-dataplane"), "--config", path], log)
        wait_until("the data plane is ready", 20, lambda: b"ready:" in open(log, "rb").read() or self.child.poll()
                   is not None, log)
        if self.child.poll() is not None:
            fail("the data plane ended:\n" + open(log, errors="replace").read()[-2000:])
        self.tsc_hz = self.info()["dataplane"]["tsc_hz"]
        self.settle(bench, "worker0")

    def target(self):
        return [f"{SERVER_IP}:6379", "--memif", self.socket, "--local-ip", CLIENT_IP, *self.options]

    def info(self):
        done = subprocess.run([self.bench.cli, "info", "--instance", self.instance, "--json"], capture_output=True,
                              text=True, timeout=20)
        if done.returncode != 0:
            fail(f"cachee info: {done.stderr}")
        return json.loads(done.stdout)

    def cycles(self):
        return self.info()["counters"]["cycles_busy"]


class KernelServer(Server):
    """redis-server or valkey-server on loopback."""

    def __init__(self, bench, directory, program, tsc_hz):
        version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout
        number = [word for word in version.split() if word.startswith("v=")]
        self.name = program + (" " + number[0][2:] if number else "")
        self.tsc_hz = tsc_hz
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start([program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                           "no", "--dir", directory], os.path.join(directory, program + ".log"))
        wait_until(f"{program} listens", 20, self.listens, self.log)
        self.settle(bench, None)

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def target(self):
        return [f"127.0.0.1:{self.port}"]

    def cycles(self):
        """Time on a CPU of all threads, user and system (schedstat: in nanoseconds; stat: in clock ticks)."""
        try:
            on_cpu_ns = 0
            for path in glob.glob(f"/proc/{self.child.pid}/task/*/schedstat"):
                with open(path, encoding="ascii") as stat:
                    on_cpu_ns += int(stat.read().split()[0])
            if on_cpu_ns > 0:
                return on_cpu_ns * self.tsc_hz / 1e9
        except OSError:
            pass
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * self.tsc_hz


def spread(values, digits=0):
    return f"{min(values):.{digits}f}..{max(values):.{digits}f} over {len(values)} rounds"


def row(what, value, unit, promise=None, ambition=None, holds=None, peer=None, spread_text=None):
    return {"what": what, "value": value, "unit": unit, "promise": promise, "ambition": ambition, "holds": holds,
            "peer": peer, "spread": spread_text}


def rows_of_p5(cachee, peers, figures):
    rows = []
    promises = {("redis-server", 1): (10, 25), ("redis-server", 16): (5, 10)}
    for pipeline, shape in ((1, "no pipelining"), (16, "pipeline of 16")):
        ours = figures[cachee.name, pipeline]
        for peer in peers:
            theirs = figures[peer.name, pipeline]
            ratios = [their / our for their, our in zip(theirs, ours)]
            promise, ambition = promises.get((peer.name.split()[0], pipeline), (None, None))
            value = round(statistics.median(ratios), 1)
            rows.append(row(f"CPU cycles per GET, {peer.name.split()[0]} / cachee, {CONNECTIONS} connections, {shape}",
                            value, "x", promise, ambition, None if promise is None else value >= promise,
                            {"name": f"{peer.name} over loopback, cycles per GET",
                             "value": round(statistics.median(theirs)), "spread": spread(theirs)}, spread(ratios, 1)))
        rows.append(row(f"cachee's cycles per GET, memory link, {CONNECTIONS} connections, {shape}",
                        round(statistics.median(ours)), "cycles", spread_text=spread(ours)))
    return rows


def measure_p5(bench, directory, servers):
    if shutil.which("redis-server") is None:
        fail("redis-server is not installed; ./tools/setup installs it")
    cachee = Cachee(bench, directory)
    servers.append(cachee)
    with cachee:
        bench.load(cachee, "-n", "1000", "--warmup", "0")  # sets all keys
    for program in ("redis-server", "valkey-server"):
        if shutil.which(program) is None:
            print(f"note: {program} is not installed and not measured", file=sys.stderr)
            continue
        peer = KernelServer(bench, directory, program, cachee.tsc_hz)
        servers.append(peer)
        with peer:
            bench.load(peer, "-n", "1000", "--warmup", "0")
    figures = {}
    for _ in range(P5_ROUNDS):  # interleaved
        for server in servers:
            for pipeline in GETS:
                count = (GETS if server is cachee else KERNEL_GETS)[pipeline]
                with server:
                    figures.setdefault((server.name, pipeline), []).append(bench.gets(server, pipeline, count))
    return rows_of_p5(cachee, servers[1:], figures)


P7_LOADS = {"one connection, closed loop": (["-c", "1"], 0),
            "8 connections, open loop, 50,000 per second at random times": (["-c", "8", "--rate", "50000"], 50000)}
P7_SECONDS = 0.4


def measure_p7(bench, directory, servers):
    cachee = Cachee(bench, directory)
    servers.append(cachee)
    with cachee:
        bench.load(cachee, "-n", "1000", "--warmup", "0")
    reports = {name: [] for name in P7_LOADS}
    bare = {name: [] for name in P7_LOADS}
    for _ in range(P7_ROUNDS):  # interleaved; the data plane is stopped while the cores are measured bare
        for name, (options, rate) in P7_LOADS.items():
            with cachee:
                reports[name].append(bench.load(cachee, *options, "-d", str(P7_SECONDS), "--warmup", "0.05",
                                                "--reads", "100", "--no-populate"))
            bare[name].append(bench.bare_cores(rate, P7_SECONDS))
    rows = []
    for name, found in reports.items():
        for key, title, promise, ambition in (("p50_ns", "p50", 4, 2), ("p99_ns", "P99", 8, 4),
                                              ("p99_9_ns", "P99.9", None, None)):
            values = [report["all"][key] / 1000 for report in found]
            value = round(statistics.median(values), 2)
            nothing = [echo[key] / 1000 for echo in bare[name]]
            peer = {"name": "the same schedule on the same cores without any work",
                    "value": round(statistics.median(nothing), 2), "spread": spread(nothing, 2)}
            rows.append(row(f"request to reply over a memory link (net_memif), {name}: {title}", value, "us", promise,
                            ambition, None if promise is None else value <= promise, peer, spread(values, 2)))
        away = [report["away_percent"] for report in found]
        echoes = bare[name]
        peer = {"name": "without any work; the server's core "
                        f"{statistics.median(echo['server_away_percent'] for echo in echoes):.2f} %, longest "
                        f"{max(echo['server_longest_us'] for echo in echoes):.0f} us; the load's core",
                "value": round(statistics.median(echo["client_away_percent"] for echo in echoes), 2),
                "spread": spread([echo["client_away_percent"] for echo in echoes], 2)}
        rows.append(row(f"share of that time in which the machine took the load's core away, {name}",
                        round(statistics.median(away), 2), "%", peer=peer, spread_text=spread(away, 2)))
        rates = [report["all"]["per_second"] for report in found]
        rows.append(row(f"GETs per second, {name}", round(statistics.median(rates)), "per s",
                        spread_text=spread(rates)))
    return rows


def print_table(name, rows, bench):
    priority = "real-time priority" if bench.realtime else "ordinary priority"
    print(f"{name}: {len(rows)} rows; server on CPU {bench.server_cpu}, load on CPU {bench.client_cpu}, {priority}; "
          "medians; memory and loopback links: no figure here is a NIC's")
    for entry in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[entry["holds"]]
        promise = "" if entry["promise"] is None else f"promise {entry['promise']:g}"
        print(f"  {entry['value']:>10,} {entry['unit']:<7} {promise:<11} {verdict:<13}  {entry['what']}")
        print(f"             {entry['spread']}")
        if entry["peer"]:
            print(f"             {entry['peer']['name']}: {entry['peer']['value']:,} ({entry['peer']['spread']})")


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("p5", "p7"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    name = sys.argv[1]
    bench = Bench(os.path.abspath(sys.argv[2]))
    servers = []
    # Ctrl-C and SIGTERM must not leave a real-time process polling.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="cachee-") as directory:
        try:
            measure = measure_p5 if name == "p5" else measure_p7
            rows = measure(bench, directory, servers)
        finally:
            for server in servers:
                server.end()
    if "--json" in sys.argv[3:]:
        print(json.dumps({"name": name, "rows": rows}))
    else:
        print_table(name, rows, bench)


main()
