# SPDX-License-Identifier: Apache-2.0
"""A raw RESP2/RESP3 client: what goes out and what comes back are bytes, so that two servers can be
compared byte for byte. Not a Redis client library: no retries, no pool. One thread per connection."""
import socket
import time

from .netns import inside


class Error(Exception):
    """An error reply, as a value: never raised by this module."""

    def __eq__(self, other):
        return isinstance(other, Error) and self.args == other.args

    def __hash__(self):
        return hash(self.args)


class Closed(Exception):
    """The peer closed the connection before a whole reply had come."""


def encode(*args):
    """One command as an array of bulk strings; str and int arguments are encoded as text."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            arg = arg.encode()
        elif isinstance(arg, (int, float)):
            arg = str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


def reply_end(data, start):
    """Index after the reply that begins at `start`, or None while it is incomplete."""
    pending = 1
    at = start
    while pending:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        kind = data[at]
        size = data[at + 1:line_end]
        at = line_end + 2
        pending -= 1
        if kind in b"$=!":
            if size[:1] != b"-":
                at += int(size) + 2
                if at > len(data):
                    return None
        elif kind in b"*~>":
            if size[:1] != b"-":
                pending += int(size)
        elif kind in b"%":
            pending += 2 * int(size)
        elif kind in b"|":
            pending += 2 * int(size) + 1
        elif kind not in b"+-:_#,(":
            raise ValueError("not RESP at offset %d: %r" % (at, bytes(data[start:start + 80])))
    return at


def decode(data, at=0):
    """(value, index after it). Maps become dicts, sets lists, errors Error objects, nulls None."""
    line_end = data.index(b"\r\n", at)
    kind = data[at:at + 1]
    text = bytes(data[at + 1:line_end])
    at = line_end + 2
    if kind == b"+":
        return text, at
    if kind == b"-":
        return Error(text.decode(errors="replace")), at
    if kind == b":":
        return int(text), at
    if kind == b"(":
        return int(text), at
    if kind == b",":
        return float(text), at
    if kind == b"#":
        return text == b"t", at
    if kind == b"_":
        return None, at
    if kind in (b"$", b"=", b"!"):
        if text == b"-1":
            return None, at
        body = bytes(data[at:at + int(text)])
        return (Error(body.decode()) if kind == b"!" else body), at + int(text) + 2
    if kind in (b"*", b"~", b">"):
        if text == b"-1":
            return None, at
        items = []
        for _ in range(int(text)):
            item, at = decode(data, at)
            items.append(item)
        return items, at
    if kind == b"%":
        pairs = {}
        for _ in range(int(text)):
            key, at = decode(data, at)
            pairs[repr(key) if isinstance(key, list) else key], at = decode(data, at)
        return pairs, at
    raise ValueError("not RESP: %r" % bytes(data[:80]))


class Wire:
    """One connection. Every wait ends after `timeout` seconds with socket.timeout."""

    def __init__(self, address, netns=None, timeout=10.0, protocol=2, receive_buffer=None,
                 congestion_control=None):
        with inside(netns):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if congestion_control:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion_control.encode())
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()
        self._at = 0
        if protocol == 3:
            self.hello = self.call("HELLO", "3")
            assert not isinstance(self.hello, Error), self.hello

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, *args):
        self.sock.sendall(encode(*args))

    def send_raw(self, data):
        self.sock.sendall(data)

    def read_raw(self):
        """The bytes of exactly one reply (or push)."""
        while True:
            end = reply_end(self._data, self._at) if len(self._data) > self._at else None
            if end is not None:
                reply = bytes(self._data[self._at:end])
                self._at = end
                if self._at > 1 << 20 or self._at == len(self._data):
                    del self._data[:self._at]
                    self._at = 0
                return reply
            chunk = self.sock.recv(1 << 20)
            if not chunk:
                raise Closed("closed by the peer; unread: %r" % bytes(self._data[self._at:self._at + 200]))
            self._data += chunk

    def read(self):
        return decode(self.read_raw())[0]

    def call_raw(self, *args):
        self.send(*args)
        return self.read_raw()

    def call(self, *args):
        self.send(*args)
        return self.read()

    def pipeline_raw(self, commands):
        """All commands sent, by a second thread where they are many, so that neither side can block the
        other; all replies read."""
        payload = b"".join(encode(*command) for command in commands)
        if len(payload) < 32768:
            self.sock.sendall(payload)
            return [self.read_raw() for _ in commands]
        return self.exchange(payload, len(commands))

    def exchange(self, payload, replies):
        """Sends and receives at once on a socket that does not block."""
        deadline = time.monotonic() + self.sock.gettimeout()
        timeout = self.sock.gettimeout()
        view = memoryview(payload)
        out = []
        while len(out) < replies:
            if view:
                self.sock.settimeout(0.0005)
                try:
                    view = view[self.sock.send(view[:65536]):]
                except (socket.timeout, BlockingIOError):
                    pass
            else:
                self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            out.extend(self._complete(replies - len(out)))
            if len(out) == replies:
                break
            if view:
                self.sock.settimeout(0.0005)
            try:
                chunk = self.sock.recv(1 << 20)
                if not chunk:
                    raise Closed("closed after %d of %d replies" % (len(out), replies))
                self._data += chunk
            except (socket.timeout, BlockingIOError):
                if time.monotonic() > deadline:
                    raise socket.timeout("%d of %d replies in %.1f s" % (len(out), replies, timeout))
        self.sock.settimeout(timeout)
        return out

    def _complete(self, most):
        out = []
        while len(out) < most and len(self._data) > self._at:
            end = reply_end(self._data, self._at)
            if end is None:
                break
            out.append(bytes(self._data[self._at:end]))
            self._at = end
        del self._data[:self._at]
        self._at = 0
        return out

    def drain(self, seconds):
        """All bytes until the peer closes or nothing came for `seconds`: (bytes, closed)."""
        data = bytes(self._data[self._at:])
        self._data.clear()
        self._at = 0
        self.sock.settimeout(seconds)
        try:
            while True:
                chunk = self.sock.recv(1 << 16)
                if not chunk:
                    return data, True
                data += chunk
        except socket.timeout:
            return data, False
        except ConnectionError:
            return data, True
