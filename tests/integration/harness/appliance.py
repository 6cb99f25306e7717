# SPDX-License-Identifier: Apache-2.0
"""The appliance under test: its two processes, its configuration file, its namespaces, and what must be
true after it stopped. `Plain` has the same interface and is a Valkey server alone: it proves the tests."""
import glob
import json
import os
import re
import signal
import subprocess

import redis

from . import netns as namespaces
from .processes import Process, Server, free_port, wait_until
from .wire import Closed, Wire

DRIVERS = ("socket", "socket-2w", "socket-redis7", "sim", "sim-lossy", "tap", "af_xdp")
_serial = iter(range(1, 1 << 30))


class NetnsConnection(redis.Connection):
    """redis-py's connection, created inside a network namespace."""

    def __init__(self, netns=None, **options):
        self.netns = netns
        super().__init__(**options)

    def _connect(self):
        with namespaces.inside(self.netns):
            return super()._connect()


class Target:
    """What every test sees: an address to talk to, the L2 behind it, a reference server beside it."""

    driver = "plain"
    netns = None

    def __init__(self, address, l2, reference):
        self.address = address
        self.l2 = l2
        self.reference = reference

    @property
    def slow(self):
        """True for drivers that pay a kernel pass or a simulated delay per packet."""
        return self.driver in ("sim-lossy", "tap", "af_xdp")

    def connect(self, **options):
        return Wire(self.address, netns=self.netns, **options)

    def outside(self, **options):
        """A connection to L2 itself, around the appliance."""
        return self.l2.connect(**options)

    def redis(self, **options):
        pool = redis.ConnectionPool(connection_class=NetnsConnection, netns=self.netns, host=self.address[0],
                                    port=self.address[1], socket_timeout=10, **options)
        return redis.Redis(connection_pool=pool)

    def run(self, *command, timeout=60):
        """A program beside the client, e.g. redis-cli: (exit code, output)."""
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        done = subprocess.run(prefix + list(command), capture_output=True, timeout=timeout)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def flush(self):
        with self.connect() as wire:
            assert wire.call("FLUSHALL") == b"OK", "FLUSHALL through the target"
        if self.reference:
            with self.reference.connect() as wire:
                wire.call("FLUSHALL")

    def tail(self, lines=20):
        return ""

    def check_alive(self):
        with self.connect(timeout=5) as wire:
            assert wire.call("PING") == b"PONG"

    def stop(self):
        pass


class Plain(Target):
    """No appliance: clients talk to L2 directly."""

    def __init__(self, l2, reference, driver="socket"):
        super().__init__(l2.address, l2, reference)
        self.driver = driver

    def tail(self, lines=20):
        return self.l2.process.tail(lines)


def merge(base, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            merge(base.setdefault(key, {}), value)
        else:
            base[key] = value
    return base


def to_yaml(tree, indent=0):
    """Nested dicts and scalars as YAML (JSON scalars and flow lists are YAML)."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines.append(" " * indent + key + ":")
            lines.extend(to_yaml(value, indent + 2))
        else:
            text = value if isinstance(value, str) and re.fullmatch(r"[a-z_]+", value) else json.dumps(value)
            lines.append("%s%s: %s" % (" " * indent, key, text))
    return lines


# 2 MiB pages that one data plane with a DPDK driver takes: L1 and mbufs.
DPDK_HUGEPAGES = 100


def free_hugepages():
    try:
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as file, open("/proc/mounts") as mounts:
            return int(file.read()) if " hugetlbfs " in mounts.read() else 0
    except OSError:
        return 0


class Appliance(Target):
    """cachee-dataplane and cachee-controlplane with one configuration. start() after __init__."""

    def __init__(self, build_dir, directory, driver, l2, reference, settings=None):
        super().__init__(None, l2, reference)
        self.build_dir = build_dir
        self.driver = driver
        self.name = "t%d-%d" % (os.getpid(), next(_serial))
        self.directory = os.path.join(str(directory), self.name)
        os.makedirs(os.path.join(self.directory, "run"))
        self.plane_netns = None
        self._own_namespaces = []
        self.dataplane = None
        self.controlplane = None
        self.past = []
        config = self._configuration()
        merge(config, settings or {})
        self.config_path = os.path.join(self.directory, "cachee.yaml")
        with open(self.config_path, "w") as file:
            file.write("\n".join(to_yaml(config)) + "\n")

    # -- configuration -----------------------------------------------------------------------------

    def _configuration(self):
        port = free_port()
        config = {
            "instance": {"name": self.name, "runtime_dir": os.path.join(self.directory, "run"),
                         "log_level": "info"},
            "driver": "socket",
            "workers": {"count": 1},
            "listen": {"address": "127.0.0.1", "port": port},
            "l1": {"bytes": 64 << 20},
        }
        if self.l2:
            config["l2"] = {"backend": "redis://127.0.0.1:%d" % self.l2.port}
        self.address = ("127.0.0.1", port)
        if self.driver.endswith("-2w"):
            config["workers"]["count"] = 2
        kind = self.driver.split("-")[0]
        if kind == "sim":
            self._simulated(config, port)
        elif kind in ("tap", "af_xdp"):
            self._dpdk(config, kind)
        return config

    def _simulated(self, config, port):
        config["driver"] = "sim"
        config["listen"] = {"address": "198.18.0.2", "port": 6379}
        config["sim"] = {"seed": 7, "gateway_port": port}
        if self.driver == "sim-lossy":
            config["sim"].update(loss=0.01, reordering=0.02, duplication=0.01, delay_us=100, jitter_us=50)

    def _dpdk(self, config, kind):
        number = int(self.name.split("-")[1])
        subnet = "198.18.%d" % (number % 250 + 1)
        config["driver"] = "dpdk"
        config["listen"] = {"address": subnet + ".2", "port": 6379}
        config["dpdk"] = {"memory_mib": 128, "mbufs": 8192, "prefix_bits": "30"}
        if free_hugepages() < DPDK_HUGEPAGES:
            config["dpdk"]["hugepages"] = False
        self.address = (subnet + ".2", 6379)
        self._peer_address = subnet + ".1/30"
        self.plane_netns = "cachee-test-%s-dp" % self.name
        if kind == "tap":
            self.netns = self.plane_netns
            config["dpdk"]["device"] = "net_tap0,iface=cacheetap"
        else:
            self.netns = "cachee-test-%s-cl" % self.name
            config["dpdk"]["device"] = "net_af_xdp0,iface=vethB"
            config["tcp"] = {"verify_checksums": False}

    def _prepare_network(self):
        if self.plane_netns and not self._own_namespaces:
            for name in dict.fromkeys((self.plane_netns, self.netns)):
                namespaces.add(name)
                self._own_namespaces.append(name)
            if self.driver == "af_xdp":
                namespaces.veth_pair(self.netns, "vethA", self.plane_netns, "vethB")
                namespaces.run("ip", "address", "add", self._peer_address, "dev", "vethA", netns=self.netns)

    def _address_tap(self):
        """The kernel's end of the tap device exists only while the data plane runs."""
        if self.driver == "tap":
            wait_until("the tap device is there\n" + self.dataplane.tail(), 20, lambda: "cacheetap" in
                       namespaces.run("ip", "-o", "link", netns=self.netns) or not self.dataplane.alive)
            namespaces.run("ip", "address", "replace", self._peer_address, "dev", "cacheetap",
                           netns=self.netns)
            namespaces.run("ip", "link", "set", "cacheetap", "up", netns=self.netns)

    # -- life --------------------------------------------------------------------------------------

    def _spawn(self, plane, netns=None, arguments=()):
        process = Process(plane, [os.path.join(self.build_dir, "src/bin", "cachee-" + plane), "--config",
                                  self.config_path, *arguments], os.path.join(self.directory, plane + ".log"),
                          netns=netns, cwd=self.directory)
        self.past.append(process)
        return process

    def start_dataplane(self, *arguments):
        self._prepare_network()
        self.dataplane = self._spawn("dataplane", self.plane_netns, arguments)
        self._address_tap()

    def start_controlplane(self):
        self.controlplane = self._spawn("controlplane")

    def start(self, seconds=20):
        self.start_dataplane()
        if self.l2:
            self.start_controlplane()
        try:
            self.wait_serving(seconds)
        except BaseException:
            self.stop(check=False)
            raise
        return self

    def serves(self):
        """True when a read that misses is answered through the wire: both planes and L2 work."""
        for plane in (self.dataplane, self.controlplane):
            if plane is not None and not plane.alive:
                raise AssertionError("%s ended with %s\n%s" % (plane.name, plane.child.returncode,
                                                               self.tail()))
        try:
            with self.connect(timeout=0.5) as wire:
                reply = wire.call_raw("GET", "harness:probe:%d" % next(_serial))
                return reply == b"$-1\r\n"
        except (OSError, Closed):
            return False

    def wait_serving(self, seconds):
        try:
            wait_until("a GET is answered through the wire", seconds, self.serves)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.tail(40))) from None

    def tail(self, lines=20):
        return "\n".join("--- %s, last lines ---\n%s" % (plane.name, plane.tail(lines))
                         for plane in (self.dataplane, self.controlplane) if plane)

    def l1_files(self):
        """L1 outlives the data plane, for the next one (l1.warm_restart)."""
        return [path for pattern in ("/dev/shm/cachee-%s-l1", "/dev/hugepages/cachee-%s-l1")
                for path in glob.glob(pattern % self.name)]

    def left_over_files(self):
        return [path for pattern in ("/dev/shm/cachee-%s*", "/dev/hugepages/cachee-%s*",
                                     "/dev/hugepages/*%s*")
                for path in glob.glob(pattern % self.name) if not path.endswith("-l1")]

    def stop(self, check=True):
        """Stops both planes as an operator would; with `check` the clean end is asserted."""
        problems = []
        for plane in (self.controlplane, self.dataplane):
            if plane is None:
                continue
            plane.signal(signal.SIGCONT)
            if not plane.alive:
                if plane.child.returncode != 0:
                    problems.append("%s had ended before: %s" % (plane.name, plane.child.returncode))
                continue
            code = plane.terminate(10)
            if code != 0:
                problems.append("%s: exit code %s after SIGTERM, wanted 0" % (plane.name, code))
        for plane in self.past:
            problems += ["%s: %s" % (plane.name, line) for line in plane.bad_log_lines()]
        problems += ["core file " + path for path in glob.glob(os.path.join(self.directory, "core*"))]
        for path in self.l1_files():
            os.unlink(path)
        left = self.left_over_files()
        problems += ["left behind: " + path for path in left]
        for path in left:
            os.unlink(path)
        for name in self._own_namespaces:
            namespaces.delete(name)
        self._own_namespaces = []
        if check and problems:
            raise AssertionError("\n".join(problems) + "\n" + self.tail())

    # -- what it says of itself --------------------------------------------------------------------

    def sessions(self):
        """Sessions open in the appliance, from its own INFO; None when it does not tell."""
        with self.connect() as wire:
            text = wire.call("INFO")
        match = re.search(rb"connected_clients:(\d+)", text if isinstance(text, bytes) else b"")
        return int(match.group(1)) - 1 if match else None

    def kill_dataplane(self):
        self.dataplane.kill()

    def kill_controlplane(self):
        self.controlplane.kill()
