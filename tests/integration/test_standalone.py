# SPDX-License-Identifier: Apache-2.0
"""Without an L2 the appliance is a cache server of its own: what it offers behaves as Valkey does."""
import random
import time

import pytest

from harness import scripts
from harness.compare import Differences
from harness.processes import wait_until
from harness.wire import Error

# The commands that a standalone appliance must have; everything else may be refused, clearly.
OFFERED = {b"GET", b"MGET", b"SET", b"DEL", b"EXISTS", b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT",
           b"PERSIST", b"TTL", b"PTTL", b"INCR", b"DECR", b"INCRBY", b"DECRBY", b"PING", b"ECHO"}
# Names that may be missing: compared where the appliance has them.
OPTIONAL = {b"SETNX", b"SETEX", b"PSETEX", b"GETSET", b"GETDEL", b"GETEX", b"UNLINK", b"TOUCH", b"STRLEN",
            b"APPEND", b"EXPIRETIME", b"PEXPIRETIME", b"TYPE", b"MSET", b"GETRANGE", b"SETRANGE", b"DBSIZE",
            b"FLUSHALL", b"FLUSHDB", b"INCRBYFLOAT"}


@pytest.fixture(scope="module")
def standalone(binaries, work_dir, references):
    from harness.appliance import Appliance
    appliance = Appliance(binaries, work_dir, "socket", None, references("valkey")).start()
    yield appliance
    appliance.stop()


pytestmark = [pytest.mark.appliance_only]


@pytest.fixture
def pair(standalone):
    """(front, reference, names that the appliance has), both without keys."""
    with standalone.connect() as front, standalone.reference.connect() as reference:
        assert front.call("FLUSHALL") == b"OK"
        reference.call("FLUSHALL")
        have = set(OFFERED)
        for name in OPTIONAL:
            reply = front.call(name)
            if not isinstance(reply, Error) or "wrong number of arguments" in str(reply):
                have.add(name)
        front.call("FLUSHALL")
        yield front, reference, have


@pytest.mark.quick
@pytest.mark.parametrize("name", ["set_options", "strings", "numbers", "keys", "ttl", "large_values"])
def test_script_standalone_same_as_valkey(standalone, pair, name):
    """A key that a command left out of the comparison has written is removed on both sides."""
    front, reference, have = pair
    differences = Differences(standalone, name + ", standalone")
    compared = 0
    for how, command in scripts.commands(name):
        if how == "sleep":
            time.sleep(command / 1000)
            continue
        too_large = any(len(word) > 500000 for word in command)
        if command[0].upper() in have and not too_large:
            differences.check(how, command, front.call_raw(*command), reference.call_raw(*command))
            compared += 1
    differences.report()
    assert compared >= 8


@pytest.mark.quick
def test_random_stream_standalone_same_as_valkey(standalone, pair, seed):
    front, reference, _ = pair
    chooser = random.Random(seed)
    differences = Differences(standalone, "stream of seed %d" % seed)
    key = lambda: b"s%d" % chooser.randrange(6)  # noqa: E731
    makers = [lambda: [b"GET", key()], lambda: [b"SET", key(), b"%d" % chooser.randrange(100)],
              lambda: [b"SET", key(), chooser.randbytes(chooser.randrange(300))],
              lambda: [b"SET", key(), b"x", chooser.choice([b"NX", b"XX", b"GET", b"KEEPTTL"])],
              lambda: [b"DEL", key(), key()], lambda: [b"EXISTS", key(), key()], lambda: [b"INCR", key()],
              lambda: [b"INCRBY", key(), b"%d" % chooser.randrange(-9, 9)], lambda: [b"DECR", key()],
              lambda: [b"EXPIRE", key(), b"1000"], lambda: [b"PERSIST", key()], lambda: [b"TTL", key()],
              lambda: [b"EXPIRE", key(), b"-1"], lambda: [b"MGET", key(), key(), key()]]
    for _ in range(200):
        burst = [chooser.choice(makers)() for _ in range(chooser.randint(1, 30))]
        for command, left, right in zip(burst, front.pipeline_raw(burst), reference.pipeline_raw(burst)):
            how = "near" if command[0] == b"TTL" else "exact"
            differences.check(how, command, left, right)
        if differences.found:
            break
    differences.report()


@pytest.mark.quick
def test_deadline_standalone_exact_to_milliseconds(standalone):
    with standalone.connect() as wire:
        for lifetime in (0.03, 0.1):
            sent = time.monotonic()
            wire.call("SET", "d", "v", "PX", str(int(lifetime * 1000)))
            acknowledged = time.monotonic()
            while True:
                asked = time.monotonic()
                if wire.call("GET", "d") is None:
                    assert time.monotonic() >= sent + lifetime - 0.002
                    break
                assert asked <= acknowledged + lifetime + 0.001


@pytest.mark.quick
def test_more_data_than_fits_evicts_and_goes_on(standalone):
    with standalone.connect(timeout=20) as wire:
        value = b"e" * 20000
        for start in range(0, 6000, 500):
            replies = wire.pipeline_raw([["SET", "fill:%d" % i, value] for i in range(start, start + 500)])
            assert set(replies) == {b"+OK\r\n"}
        assert wire.call("SET", "last", "1") == b"OK"
        assert wire.call("GET", "last") == b"1"
        present = sum(reply != b"$-1\r\n" for reply in wire.pipeline_raw(
            [["GET", "fill:%d" % i] for i in range(6000)]))
        assert 500 < present < 3400, present
        wire.call("FLUSHALL")


@pytest.mark.quick
def test_refused_commands_say_why(standalone):
    with standalone.connect() as wire:
        for command in (["LPUSH", "l", "x"], ["HSET", "h", "f", "v"], ["EVAL", "return 1", "0"],
                        ["SUBSCRIBE", "c"], ["MULTI"], ["SELECT", "1"]):
            reply = wire.call(*command)
            assert isinstance(reply, Error) and len(str(reply)) > 10, "%s: %r" % (command, reply)
        assert wire.call("SET", "after", "1") == b"OK"


@pytest.mark.quick
def test_dataplane_killed_standalone_serves_again(make_appliance):
    appliance = make_appliance(l2=None)
    with appliance.connect() as wire:
        assert wire.call("SET", "k", "v") == b"OK"
    for _ in range(3):
        appliance.kill_dataplane()
        start = time.monotonic()
        appliance.start_dataplane()
        wait_until("serving", 2, appliance.serves)
        print("serving %.2f s after the start" % (time.monotonic() - start))
        with appliance.connect() as wire:
            assert wire.call("GET", "k") in (None, b"v")
            assert wire.call("SET", "k", "v") == b"OK"
