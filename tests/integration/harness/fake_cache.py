# SPDX-License-Identifier: Apache-2.0
"""A look-through cache for GET in front of a real server, in plain Python: right by default, and broken on
purpose in one way at a time, to prove that the checker sees it. Slow, and not a model of cachee's design.

    correct          single-flight fetches, installed only if nothing happened to the key meanwhile
    no_fill_guard    a fetched value is installed whatever happened meanwhile
    lost             2 % of the invalidations are dropped
    deaf             no invalidation is applied
    early_ack        a write is acknowledged before L2 has it
    dropped_writes   1 % of the writes are acknowledged and never sent"""
import random
import socket
import threading
import time

from .wire import Closed, Wire

BROKEN = ("no_fill_guard", "lost", "deaf", "early_ack", "dropped_writes")


class FakeCache:
    def __init__(self, l2_address, mode="correct", seed=1):
        self.mode = mode
        self.l2_address = l2_address
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.cache = {}
        self.epoch = {}
        self.writing = {}
        self.flights = {}
        self.stopped = False
        self.tracker = Wire(l2_address, protocol=3, timeout=None)
        assert self.tracker.call("CLIENT", "TRACKING", "ON", "BCAST") == b"OK"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listener.getsockname()
        for body in (self._track, self._accept):
            threading.Thread(target=body, daemon=True).start()

    def close(self):
        self.stopped = True
        self.listener.close()
        try:
            self.tracker.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.tracker.close()

    def _track(self):
        try:
            while not self.stopped:
                push = self.tracker.read()
                for key in push[1] or list(self.cache):
                    if self.mode == "deaf" or (self.mode == "lost" and self.random.random() < 0.02):
                        continue
                    with self.lock:
                        self._touch(key)
        except (OSError, Closed):
            pass

    def _touch(self, key):
        self.epoch[key] = self.epoch.get(key, 0) + 1
        self.cache.pop(key, None)
        self.flights.pop(key, None)

    def _accept(self):
        while not self.stopped:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        reader = Wire.__new__(Wire)
        reader.sock, reader._data, reader._at = client, bytearray(), 0
        try:
            with Wire(self.l2_address, timeout=10) as l2:
                while True:
                    self._command(client, l2, reader.read())
        except (OSError, Closed):
            pass
        finally:
            client.close()

    def _command(self, client, l2, arguments):
        name = arguments[0].upper()
        if name == b"GET":
            client.sendall(self._get(l2, arguments[1]))
        elif name == b"MGET":
            client.sendall(b"*%d\r\n" % (len(arguments) - 1) + b"".join(
                self._get(l2, key) for key in arguments[1:]))
        elif name in (b"SET", b"GETSET", b"DEL", b"UNLINK", b"PEXPIRE", b"MSET"):
            self._write(client, l2, arguments[1], arguments)
        elif name == b"EVAL":
            self._write(client, l2, arguments[3], arguments)
        else:
            client.sendall(l2.call_raw(*arguments))

    def _get(self, l2, key):
        with self.lock:
            if key in self.cache:
                return self.cache[key]
            flight = self.flights.get(key)
            mine = flight is None
            if mine:
                flight = self.flights[key] = threading.Event()
                flight.reply = None
            epoch = self.epoch.get(key, 0)
            quiet = not self.writing.get(key)
        if not mine and self.mode != "no_fill_guard" and flight.wait(5) and flight.reply is not None:
            return flight.reply
        reply = l2.call_raw("GET", key)
        if self.mode == "no_fill_guard":
            time.sleep(self.random.random() * 0.002)
        with self.lock:
            same = self.epoch.get(key, 0) == epoch and quiet and not self.writing.get(key)
            if same or self.mode == "no_fill_guard":
                self.cache[key] = reply
            if self.flights.get(key) is flight:
                del self.flights[key]
        flight.reply = reply
        flight.set()
        return reply

    def _write(self, client, l2, key, arguments):
        if self.mode == "dropped_writes" and arguments[0].upper() == b"SET" and self.random.random() < 0.01:
            client.sendall(b"+OK\r\n")
            return
        if self.mode == "early_ack":
            client.sendall(b"+OK\r\n")
            time.sleep(0.001)
        with self.lock:
            self._touch(key)
            self.writing[key] = self.writing.get(key, 0) + 1
        try:
            reply = l2.call_raw(*arguments)
        finally:
            with self.lock:
                self._touch(key)
                self.writing[key] -= 1
        if self.mode != "early_ack":
            client.sendall(reply)


def simple_way(wire, chooser, name, value, deletes, note):
    """The only ways to write that the fake understands (see Checker._way)."""
    return wire.call("DEL", name) if deletes else wire.call("SET", name, value)


