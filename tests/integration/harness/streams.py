# SPDX-License-Identifier: Apache-2.0
"""What every TCP path must carry whole, as plain functions over a Target: values of awkward sizes, megabytes,
pipelines, half-closed and reset clients, closed windows, many connections. Used over real drivers with a bad
wire (test_kernel_peer.py) and in guests (tests/guest). A wait longer than STALL_SECONDS is a stall and fails."""
import random
import socket
import struct
import threading
import time

from .processes import wait_until
from .wire import encode

STALL_SECONDS = 15
# Around the segment sizes of a 1500-byte MTU, with and without timestamps, and larger.
SIZES = (1, 1447, 1448, 1449, 1460, 2 * 1448, 65535, 65536, 300_000, 1_000_000)


def dial(peer, **options):
    return peer.connect(timeout=STALL_SECONDS, **options)


def in_parallel(count, work, seconds=80):
    """work(number) in `count` threads; the first failure is raised here."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive(), "a client is still at it after %d s" % seconds
    if failures:
        raise failures[0]


def exchange(wire, key, value):
    """A value to the appliance and back."""
    assert wire.call("SET", key, value) == b"OK"
    got = wire.call("GET", key)
    assert got == value, "%s: %d bytes came back for %d" % (key, len(got or b""), len(value))


def values_of_every_size(peer, seed, sizes=SIZES):
    draw = random.Random(seed)
    with dial(peer) as wire:
        for size in sizes:
            exchange(wire, "size:%d" % size, draw.randbytes(size))


def megabytes_at_once(peer, seed, clients=4, rounds=3, most=600_000, **options):
    def client(number):
        draw = random.Random(seed + number)
        with dial(peer, **options) as wire:
            for step in range(rounds):
                exchange(wire, "mega:%d:%d" % (number, step), draw.randbytes(draw.randrange(most // 3, most)))

    in_parallel(clients, client)


def pipeline(peer, seed, requests=200):
    draw = random.Random(seed)
    values = [draw.randbytes(draw.randrange(1, 30_000)) for _ in range(20)]
    with dial(peer) as wire:
        for at, value in enumerate(values):
            assert wire.call("SET", "pipe:%d" % at, value) == b"OK"
        asked = [draw.randrange(len(values)) for _ in range(requests)]
        replies = wire.exchange(b"".join(encode("GET", "pipe:%d" % at) for at in asked), len(asked))
    for at, reply in zip(asked, replies):
        assert reply == b"$%d\r\n%b\r\n" % (len(values[at]), values[at])


def all_sessions_gone(peer):
    wait_until("all sessions are gone", 30, lambda: peer.sessions() == 0, every=0.2)


def many_connections(peer, clients=20, each=10):
    def client(number):
        for step in range(each):
            with dial(peer) as wire:
                exchange(wire, "many:%d" % number, b"%d:%d" % (number, step) * 100)

    in_parallel(clients, client)
    all_sessions_gone(peer)


def half_close(peer, seed, replies=10):
    value = random.Random(seed).randbytes(100_000)
    with dial(peer) as wire:
        assert wire.call("SET", "half", value) == b"OK"
        wire.send_raw(encode("GET", "half") * replies)
        wire.sock.shutdown(socket.SHUT_WR)
        data, closed = wire.drain(STALL_SECONDS)
    assert data == (b"$100000\r\n" + value + b"\r\n") * replies
    assert closed, "the appliance did not close its half"


def reset_inside_a_reply(peer, times=10):
    with dial(peer) as wire:
        assert wire.call("SET", "reset", b"r" * 500_000) == b"OK"
    for _ in range(times):
        wire = dial(peer)
        wire.send_raw(encode("GET", "reset") * 5)
        wire.sock.recv(1000)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()  # RST, which a wire may lose: then the next segment is answered with one
    all_sessions_gone(peer)
    peer.check_alive()


def closed_window(peer, seed, pause_s=1.5):
    value = random.Random(seed).randbytes(64_000)
    with dial(peer, receive_buffer=8192) as slow, dial(peer) as other:
        assert other.call("SET", "window", value) == b"OK"
        slow.send_raw(encode("GET", "window") * 12)
        time.sleep(pause_s)  # its window is closed by now: probes
        exchange(other, "beside", b"b" * 10_000)
        for _ in range(12):
            assert slow.read() == value
