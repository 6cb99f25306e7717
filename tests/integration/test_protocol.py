# SPDX-License-Identifier: Apache-2.0
"""Abuse of the protocol: the same error as the plain server, then the connection is closed; everybody else is
served on; nothing is left behind."""
import os
import socket
import struct
import time

import pytest

from harness.processes import wait_until
from harness.wire import Closed, encode

MALFORMED = {
    "not_a_length": b"*x\r\n$3\r\nGET\r\n",
    "negative_array": b"*-1\r\nPING\r\n",
    "empty_array": b"*0\r\nPING\r\n",
    "huge_array": b"*2147483648\r\n",
    "array_overflow": b"*99999999999999999999999\r\n",
    "array_plus_sign": b"*+1\r\n$4\r\nPING\r\n",
    "array_leading_zero": b"*01\r\n$4\r\nPING\r\n",
    "array_space": b"* 1\r\n$4\r\nPING\r\n",
    "bulk_not_a_length": b"*1\r\n$x\r\nPING\r\n",
    "bulk_negative": b"*1\r\n$-1\r\n",
    "bulk_over_limit": b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    "bulk_overflow": b"*1\r\n$99999999999999999999999\r\n",
    "bulk_leading_zero": b"*1\r\n$04\r\nPING\r\n",
    "expected_dollar": b"*2\r\n$3\r\nGET\r\n:5\r\n",
    "expected_dollar_star": b"*1\r\n*1\r\n$4\r\nPING\r\n",
    "array_line_too_long": b"*" + b"1" * 70000,
    "bulk_line_too_long": b"*1\r\n$" + b"1" * 70000,
    "inline_too_long": b"x" * 70000,
    "inline_unbalanced": b"SET a \"b\r\n",
    "inline_unbalanced_single": b"SET a 'b\r\n",
    "inline_quote_glued": b"SET a \"b\"c\r\n",
    "valid_then_bad": encode("SET", "ok", "1") + encode("GET", "ok") + b"*1\r\n!\r\n" + encode("PING"),
    "bad_in_multi": encode("MULTI") + encode("SET", "ok", "2") + b"*1\r\nbad\r\n",
    "bulk_without_crlf": b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    "empty_lines": b"\r\n\n\r\n" + encode("PING"),
    "http_get": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "http_post": b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n",
    "zeros": b"\0\0\0\0\r\n",
    "only_cr": b"PING\r",
    "null_in_name": encode(b"PI\0NG"),
    "resp3_reply_as_request": b"%1\r\n+a\r\n+b\r\n",
}

@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_request_same_as_reference(target, name):
    payload = MALFORMED[name]
    with target.connect() as wire, target.reference.connect() as reference:
        for connection in (wire, reference):
            try:
                connection.send_raw(payload)
            except ConnectionError:
                pass
        wanted = reference.drain(0.4)
        got = wire.drain(0.4)
        patience = time.monotonic() + 5  # over a lossy link a lost SYN alone takes a second
        while got != wanted and not got[1] and wanted[0].startswith(got[0]) and time.monotonic() < patience:
            more = wire.drain(0.4)
            got = (got[0] + more[0], more[1])
    assert got == wanted, "%s: %r\n got    %r\n wanted %r" % (name, payload[:60], got, wanted)
    target.check_alive()


@pytest.mark.quick
@pytest.mark.appliance_only
def test_more_arguments_than_limits_arguments_max_is_an_error(target):
    """A reviewed difference: Redis takes up to 2^31 - 1 arguments of a client that may run commands."""
    with target.connect() as wire:
        wire.send_raw(b"*1048577\r\n")
        assert wire.drain(1) == (b"-ERR Protocol error: invalid multibulk length\r\n", True)


@pytest.mark.quick
@pytest.mark.every_driver
def test_replies_before_the_error_arrive_in_order(target):
    target.flush()
    with target.connect() as wire:
        wire.send_raw(encode("SET", "e", "1") + encode("GET", "e") * 5 + b"*1\r\n$bad\r\n")
        data, closed = wire.drain(2)
    assert data == b"+OK\r\n" + b"$1\r\n1\r\n" * 5 + b"-ERR Protocol error: invalid bulk length\r\n"
    assert closed


@pytest.mark.quick
@pytest.mark.every_driver
def test_byte_by_byte_is_understood(target):
    target.flush()
    with target.connect() as wire:
        for payload, wanted in ((encode("SET", "slow", "a\r\nb"), b"OK"), (encode("GET", "slow"), b"a\r\nb"),
                                (b"GET slow\r\n", b"a\r\nb"), (encode("MGET", "slow", "no"), [b"a\r\nb", None])):
            for at in range(len(payload)):
                wire.send_raw(payload[at:at + 1])
                if at % 7 == 0:
                    time.sleep(0.001)
            assert wire.read() == wanted


@pytest.mark.quick
def test_every_split_of_a_pipeline_is_understood(target):
    target.flush()
    payload = encode("SET", "k", "v") + encode("GET", "k") + b"PING\r\n" + encode("MGET", "k", "x")
    wanted = b"+OK\r\n$1\r\nv\r\n+PONG\r\n*2\r\n$1\r\nv\r\n$-1\r\n"
    with target.connect() as wire:
        for at in range(1, len(payload)):
            wire.send_raw(payload[:at])
            time.sleep(0.001)
            wire.send_raw(payload[at:])
            assert b"".join(wire.read_raw() for _ in range(4)) == wanted, "split at %d" % at


@pytest.mark.quick
@pytest.mark.every_driver
def test_half_closed_client_still_gets_its_replies(target):
    target.flush()
    with target.connect() as wire:
        wire.send_raw(encode("SET", "half", "x" * 1000) + encode("GET", "half") * 200)
        wire.sock.shutdown(socket.SHUT_WR)
        data, closed = wire.drain(5)
    assert closed
    wanted = b"+OK\r\n" + (b"$1000\r\n" + b"x" * 1000 + b"\r\n") * 200
    if hasattr(target, "dataplane"):
        assert data == wanted, "%d of %d bytes" % (len(data), len(wanted))
    else:
        assert wanted.startswith(data), "a server alone may stop early, not answer wrongly"


def abort(wire):
    """Closes with a reset."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def settled(target, before):
    """Sessions and descriptors are back to what they were."""
    if target.driver.startswith("socket") and hasattr(target, "dataplane"):
        wait_until("descriptors of the data plane are back at %d" % before["fds"], 5,
                   lambda: target.dataplane.fd_count() <= before["fds"] + 2, 0.05)
        wait_until("descriptors of the control plane are back", 5,
                   lambda: target.controlplane.fd_count() <= before["control_fds"] + 2, 0.05)
    if before["sessions"] is not None:
        wait_until("sessions are back at %d" % before["sessions"], 5,
                   lambda: target.sessions() <= before["sessions"] + 1, 0.05)


def state(target):
    if not hasattr(target, "dataplane"):
        return {"fds": 0, "control_fds": 0, "sessions": None}
    return {"fds": target.dataplane.fd_count(), "control_fds": target.controlplane.fd_count(),
            "sessions": target.sessions()}


@pytest.mark.quick
@pytest.mark.every_driver
def test_aborted_connections_leave_nothing_behind(target):
    target.flush()
    before = state(target)
    payloads = [b"", b"*2\r\n$3\r\nGE", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"x" * 5000,
                encode("GET", "gone") * 500, encode("BLPOP", "nothing", "0"), encode("SUBSCRIBE", "c"),
                encode("MULTI") + encode("SET", "aborted", "1"), encode("SET", "big", "x" * 300000) +
                encode("GET", "big") * 20, encode("WATCH", "k"), encode("SELECT", "4")]
    for round_number in range(4):
        for payload in payloads:
            wire = target.connect()
            wire.send_raw(payload)
            if round_number % 2:
                time.sleep(0.005)
            if round_number < 2:
                abort(wire)
            else:
                wire.close()
    target.check_alive()
    with target.connect() as wire:
        assert wire.call("GET", "aborted") is None
    settled(target, before)


@pytest.mark.quick
@pytest.mark.every_driver
def test_thousands_of_connects_and_closes(target):
    before = state(target)
    for number in range(200 if target.slow else 3000):
        wire = target.connect()
        if number % 3 == 0:
            assert wire.call("PING") == b"PONG"
        if number % 3 == 1:
            abort(wire)
        else:
            wire.close()
    target.check_alive()
    settled(target, before)


@pytest.mark.quick
@pytest.mark.every_driver
def test_hundreds_of_idle_connections_do_not_disturb(target):
    count = 100 if target.slow else 1000
    before = state(target)
    idle = [target.connect() for _ in range(count)]
    with target.connect() as wire:
        for number in range(100):
            assert wire.call("SET", "busy", str(number)) == b"OK"
            assert wire.call("GET", "busy") == str(number).encode()
    assert idle[-1].call("PING") == b"PONG" and idle[0].call("GET", "busy") == b"99"
    for wire in idle:
        wire.close()
    settled(target, before)


@pytest.mark.quick
@pytest.mark.every_driver
def test_reader_that_never_reads_does_not_disturb(target):
    target.flush()
    before = state(target)
    with target.connect() as wire:
        wire.call("SET", "bulky", "x" * 100000)
        lazy = [target.connect(receive_buffer=4096) for _ in range(5)]
        for one in lazy:
            one.sock.settimeout(0.2)
            try:
                one.send_raw(encode("GET", "bulky") * 2000)
            except (socket.timeout, ConnectionError):
                pass
        slowest = 0.0
        for _ in range(100):
            start = time.monotonic()
            assert len(wire.call("GET", "bulky")) == 100000
            slowest = max(slowest, time.monotonic() - start)
        assert slowest < 2, "another client waited %.2f s" % slowest
        for one in lazy:
            abort(one)
    settled(target, before)


@pytest.mark.quick
def test_slow_reader_gets_everything(target):
    target.flush()
    with target.connect(receive_buffer=4096, timeout=20) as wire:
        wire.call("SET", "bulky", "y" * 50000)
        wire.send_raw(encode("GET", "bulky") * 100)
        total, wanted = 0, 100 * (len("$50000\r\n") + 50000 + 2)
        while total < wanted:
            if total < 300000:
                time.sleep(0.005)
            chunk = wire.sock.recv(8192 if total < 300000 else 1 << 16)
            if not chunk:
                raise Closed("after %d of %d bytes" % (total, wanted))
            total += len(chunk)
        assert total == wanted
        assert wire.call("PING") == b"PONG"


@pytest.mark.quick
def test_random_bytes_never_harm_others(target, seed):
    import random
    chooser = random.Random(seed)
    seeds = [encode("SET", "r", "1"), encode("GET", "r"), encode("MGET", "a", "b"), b"*1\r\n$4\r\nPING\r\n",
             encode("EVAL", "return 1", "0"), b"PING\r\n"]
    with target.connect() as healthy:
        healthy.call("SET", "healthy", "yes")
        for number in range(300):
            data = bytearray(b"".join(chooser.choice(seeds) for _ in range(chooser.randint(1, 6))))
            for _ in range(chooser.randint(1, 6)):
                at = chooser.randrange(len(data) or 1)
                pick = chooser.random()
                if pick < 0.4 and data:
                    data[at] = chooser.randrange(256)
                elif pick < 0.7:
                    del data[at:at + chooser.randint(1, 4)]
                else:
                    data[at:at] = chooser.choice([b"\r\n", b"$", b"*", b"-1", b"99999999", os.urandom(3)])
            if any(word in bytes(data).upper() for word in (b"FLUSH", b"SHUTDOWN")):
                continue
            with target.connect() as wire:
                try:
                    wire.send_raw(bytes(data))
                    wire.sock.settimeout(0.005)
                    wire.sock.recv(65536)
                except (socket.timeout, ConnectionError):
                    pass
            if number % 50 == 0:
                assert healthy.call("GET", "healthy") == b"yes"
        assert healthy.call("GET", "healthy") == b"yes"
