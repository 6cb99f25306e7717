# SPDX-License-Identifier: Apache-2.0
"""Child processes with a log each, ended by pid and never by name, and the L2 servers among them."""
import os
import re
import signal
import socket
import subprocess
import time

from .wire import Wire

_BAD_LOG = re.compile(r"Sanitizer|runtime error:|assertion|ASSERT|terminate called|stack smashing", re.I)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, seconds, condition, every=0.01):
    """Polls `condition` until it is true; after `seconds` an AssertionError says `what`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %.1f s: %s" % (seconds, what))
        time.sleep(every)


class Process:
    """A child with its output in a file. It dies with the thread that started it (pdeathsig)."""

    def __init__(self, name, command, log_path, netns=None, environment=None, cwd=None):
        self.name = name
        self.log_path = log_path
        self.log_start = os.path.getsize(log_path) if os.path.exists(log_path) else 0
        full = ["setpriv", "--pdeathsig", "KILL"] + command
        if netns:
            full = ["ip", "netns", "exec", netns] + full
        with open(log_path, "ab") as log:
            self.child = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                                          env={**os.environ, **(environment or {})})
        self.pid = self.child.pid

    @property
    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.alive:
            os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait(10)

    def terminate(self, seconds=10):
        """SIGTERM; the exit code, or None when it had to be killed."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def log(self):
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines=20):
        return "\n".join(self.log().splitlines()[-lines:])

    def bad_log_lines(self):
        return [line for line in self.log().splitlines() if _BAD_LOG.search(line)]

    def fd_count(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def rss_kib(self):
        with open("/proc/%d/status" % self.pid) as status:
            for line in status:
                if line.startswith("VmRSS"):
                    return int(line.split()[1])
        return 0


class Server:
    """A real valkey-server or redis-server on a loopback port, without persistence unless asked."""

    def __init__(self, kind, directory, port=None, arguments=(), name=None):
        self.kind = kind
        self.port = port or free_port()
        self.address = ("127.0.0.1", self.port)
        self.name = name or kind
        self.directory = os.path.join(str(directory), "%s-%d" % (self.name, self.port))
        os.makedirs(self.directory, exist_ok=True)
        self.arguments = list(arguments)
        self.process = None
        self.start()

    def start(self):
        binary = {"valkey": "valkey-server", "redis": "redis-server"}[self.kind]
        self.process = Process(self.name, [
            binary, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", self.directory,
            "--daemonize", "no", "--enable-debug-command", "yes"] + self.arguments,
            os.path.join(self.directory, "log"))
        wait_until("%s answers PING" % self.name, 10, self._answers)

    def _answers(self):
        if not self.process.alive:
            raise AssertionError("%s did not start:\n%s" % (self.name, self.process.tail()))
        try:
            with Wire(self.address, timeout=1) as wire:
                return wire.call("PING") == b"PONG"
        except OSError:
            return False

    def connect(self, **options):
        return Wire(self.address, **options)

    def stop(self):
        if self.process and self.process.alive:
            self.process.signal(signal.SIGCONT)
            self.process.kill()

    def restart(self):
        self.stop()
        self.start()
