# SPDX-License-Identifier: Apache-2.0
"""What a hit costs L2 (nothing), and what happens at the limits: sessions, memory, passwords."""
import os
import re
import threading
import time

import pytest

from harness.processes import wait_until
from harness.wire import Closed, Error, encode

pytestmark = [pytest.mark.appliance_only]


def calls_of(l2, command):
    """How often L2 has executed `command`."""
    match = re.search(rb"cmdstat_%s:calls=(\d+)" % command, l2.call("INFO", "commandstats"))
    return int(match.group(1)) if match else 0


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("protocol", [2, 3])
def test_hits_do_not_reach_l2(target, protocol):
    target.flush()
    with target.connect(protocol=protocol) as wire, target.outside() as l2:
        for size in (0, 1, 100, 5000, 100000):
            wire.call("SET", "hot", "h" * size)
            wire.call("GET", "hot")
            time.sleep(0.05)
            wire.call("GET", "hot")
            before = calls_of(l2, b"get") + calls_of(l2, b"mget")
            for _ in range(50):
                assert wire.call("GET", "hot") == b"h" * size
                assert wire.call("MGET", "hot", "hot") == [b"h" * size] * 2
            asked = calls_of(l2, b"get") + calls_of(l2, b"mget") - before
            assert asked <= 5, "%d of 100 reads of a hot key of %d bytes went to L2" % (asked, size)


@pytest.mark.quick
def test_concurrent_misses_of_one_key_are_one_fetch(target):
    """Single flight: a crowd that asks for the same missing key does not become a crowd at L2."""
    target.flush()
    wires = [target.connect() for _ in range(30)]
    with target.outside() as l2:
        l2.call("SET", "crowd", "c" * 1000)
        time.sleep(0.1)
        before = calls_of(l2, b"get")
        for wire in wires:
            wire.send("GET", "crowd")
        assert {wire.read() for wire in wires} == {b"c" * 1000}
        assert calls_of(l2, b"get") - before <= 15
    for wire in wires:
        wire.close()


@pytest.mark.quick
def test_sessions_over_the_limit_are_refused_others_served(make_appliance):
    appliance = make_appliance(settings={"listen": {"sessions_max": 20}})
    wires, refused = [], 0
    with appliance.connect() as first:
        for _ in range(40):
            try:
                wire = appliance.connect(timeout=2)
                wire.send("PING")
                reply = wire.read()
                if isinstance(reply, Error):
                    refused += 1
                    assert "max number of clients" in str(reply), reply
                wires.append(wire)
            except (OSError, Closed):
                refused += 1
        assert 20 <= refused <= 25, refused
        assert first.call("SET", "limit", "1") == b"OK"
        for wire in wires:
            wire.close()
        time.sleep(0.2)
        with appliance.connect() as again:
            assert again.call("GET", "limit") == b"1"


@pytest.mark.quick
def test_password_is_asked_for_before_anything_is_answered(make_appliance):
    appliance = make_appliance(settings={"listen": {"password": "secret"}}, start=False)
    appliance.serves = lambda: authenticated(appliance)
    appliance.start()
    with appliance.connect() as wire, appliance.connect() as stranger:
        assert wire.call("AUTH", "secret") == b"OK"
        assert wire.call("SET", "p", "hidden") == b"OK"
        assert wire.call("GET", "p") == b"hidden"
        for command in (["GET", "p"], ["MGET", "p"], ["SET", "p", "x"], ["EVAL", "return 1", "0"], ["INFO"],
                        ["SUBSCRIBE", "c"], ["MULTI"], ["PING"], ["NOSUCH"]):
            assert stranger.call(*command) == Error("NOAUTH Authentication required."), command
        assert str(stranger.call("AUTH", "wrong")).startswith("WRONGPASS")
        assert str(stranger.call("AUTH", "default", "wrong")).startswith("WRONGPASS")
        assert str(stranger.call("HELLO", "3")).startswith("NOAUTH")
        assert stranger.call("GET", "p") == Error("NOAUTH Authentication required.")
        assert isinstance(stranger.call("HELLO", "3", "AUTH", "default", "secret"), dict)
        assert stranger.call("GET", "p") == b"hidden"


def authenticated(appliance):
    try:
        with appliance.connect(timeout=0.5) as wire:
            return wire.call("AUTH", "secret") == b"OK" and wire.call("GET", "probe") is None
    except (OSError, Closed):
        return False


@pytest.mark.quick
def test_l2_with_password_in_the_address_is_used(make_appliance, make_server):
    l2 = make_server(name="l2-locked")
    with l2.connect() as wire:
        wire.call("CONFIG", "SET", "requirepass", "l2secret")
    address = "redis://default:l2secret@127.0.0.1:%d" % l2.port
    appliance = make_appliance(l2=l2, settings={"l2": {"backend": address}})
    with appliance.connect() as wire:
        assert wire.call("SET", "a", "1") == b"OK"
        assert wire.call("EVAL", "return redis.call('get',KEYS[1])", "1", "a") == b"1"
        wire.send("MULTI")
        wire.send("GET", "a")
        wire.send("EXEC")
        assert [wire.read() for _ in range(3)] == [b"OK", b"QUEUED", [b"1"]]
        text = open(appliance.dataplane.log_path).read() + open(appliance.controlplane.log_path).read()
        assert "l2secret" not in text, "the password is in the log"


@pytest.mark.quick
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="AddressSanitizer keeps freed memory in quarantine")
def test_memory_is_flat_after_many_sessions_and_values(make_appliance):
    """The second and third rounds of the same load cost nothing that stays."""
    appliance = make_appliance()

    def one_client(number):
        with appliance.connect(timeout=20) as wire:
            for step in range(40):
                wire.call("SET", "flat:%d:%d" % (number, step), "f" * 20000)
                wire.pipeline_raw([["GET", "flat:%d:%d" % (number, at)] for at in range(step)])

    sizes = []
    for _ in range(4):
        threads = [threading.Thread(target=one_client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        time.sleep(0.2)
        sizes.append((appliance.dataplane.rss_kib(), appliance.controlplane.rss_kib()))
    for plane in (0, 1):
        growth = sizes[-1][plane] - sizes[1][plane]
        assert growth < 8192, "%s grew by %d KiB: %s" % (("data", "control")[plane], growth, sizes)


@pytest.mark.quick
def test_pinned_sessions_over_their_limit_get_an_error(make_appliance):
    appliance = make_appliance(settings={"l2": {"pinned_connections_max": 5}})
    wires = [appliance.connect() for _ in range(8)]
    replies = [wire.call("MULTI") for wire in wires]
    assert replies.count(b"OK") == 5, replies
    assert sum(isinstance(reply, Error) for reply in replies) == 3, replies
    for wire in wires:
        wire.close()

    def free_again():
        with appliance.connect() as wire:
            return wire.call("MULTI") == b"OK"

    wait_until("a pinned connection is free again", 3, free_again)
    with appliance.connect() as wire:
        wire.send_raw(encode("SET", "x", "1") + encode("GET", "x"))
        assert [wire.read(), wire.read()] == [b"OK", b"1"]
