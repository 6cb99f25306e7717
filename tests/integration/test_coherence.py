# SPDX-License-Identifier: Apache-2.0
"""Nobody sees an old value after a write was acknowledged; writes made around the appliance show within a
bound; nothing outlives its time-to-live. The checker that these tests use is proved in test_checker.py."""
import statistics
import time

import pytest

from harness.checker import Checker

OUTSIDE_BOUND_S = 1.0   # the promise under any load; the median must be far below
OUTSIDE_MEDIAN_S = 0.05


def warm(target, wire, key, value):
    """Reads until the value has surely been kept: the first read fills, the following ones hit."""
    for _ in range(3):
        assert wire.call("GET", key) == value
    time.sleep(0.002)
    assert wire.call("GET", key) == value


def until_seen(wire, key, wanted, bound=OUTSIDE_BOUND_S):
    """Seconds until GET gives `wanted`."""
    start = time.monotonic()
    while True:
        sent = time.monotonic()
        got = wire.call("GET", key)
        if got == wanted:
            return time.monotonic() - start
        assert sent - start <= bound, "GET %s is still %r after %.3f s, L2 has %r" % (
            key, got, sent - start, wanted)


OUTSIDE_WRITES = {
    "set": (["SET", "o", "new"], b"new"),
    "del": (["DEL", "o"], None),
    "unlink": (["UNLINK", "o"], None),
    "append": (["APPEND", "o", "+"], b"old+"),
    "setrange": (["SETRANGE", "o", "0", "O"], b"Old"),
    "expired_at_once": (["PEXPIRE", "o", "-1"], None),
    "expire_soon": (["PEXPIRE", "o", "30"], None),
    "getdel": (["GETDEL", "o"], None),
    "getset": (["GETSET", "o", "new"], b"new"),
    "rename_away": (["RENAME", "o", "o2"], None),
    "rename_onto": (["EVAL", "redis.call('set','src','moved') return redis.call('rename','src','o')", "0"],
                    b"moved"),
    "copy_onto": (["EVAL", "redis.call('set','src','copied') return redis.call('copy','src','o','REPLACE')",
                   "0"], b"copied"),
    "eval_undeclared": (["EVAL", "return redis.call('set','o','lua')", "0"], b"lua"),
    "mset": (["MSET", "o", "new", "p", "x"], b"new"),
    "flushall": (["FLUSHALL"], None),
    "flushdb": (["FLUSHDB"], None),
    "move": (["MOVE", "o", "5"], None),
    "swapdb": (["SWAPDB", "0", "6"], None),
}


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("name", sorted(OUTSIDE_WRITES))
def test_outside_write_becomes_visible(target, name):
    command, wanted = OUTSIDE_WRITES[name]
    target.flush()
    with target.connect() as wire, target.outside() as outside:
        for _ in range(3):
            wire.call("SET", "o", "old")
            warm(target, wire, "o", b"old")
            outside.call_raw(*command)
            until_seen(wire, "o", wanted, 2 * OUTSIDE_BOUND_S if name == "swapdb" else OUTSIDE_BOUND_S)
            outside.call("FLUSHALL")


@pytest.mark.quick
@pytest.mark.every_driver
def test_outside_writes_are_usually_visible_in_milliseconds(target):
    target.flush()
    with target.connect() as wire, target.outside() as outside:
        delays = []
        for number in range(60 if target.slow else 150):
            outside.call("SET", "ms", str(number))
            delays.append(until_seen(wire, "ms", str(number).encode()))
            wire.call("GET", "ms")
        print("outside write to visible: median %.2f ms, max %.2f ms" % (
            statistics.median(delays) * 1e3, max(delays) * 1e3))
        assert statistics.median(delays) < OUTSIDE_MEDIAN_S


@pytest.mark.quick
@pytest.mark.every_driver
def test_missing_key_written_outside_becomes_visible(target):
    target.flush()
    with target.connect() as wire, target.outside() as outside:
        for number in range(20):
            key = "missing:%d" % number
            for _ in range(3):
                assert wire.call("GET", key) is None
            outside.call("SET", key, "there")
            until_seen(wire, key, b"there")


INSIDE_WRITES = [
    ["SET", "i", "1"], ["SET", "i", "2", "XX"], ["SET", "i", "3", "PX", "100000"], ["APPEND", "i", "x"],
    ["SETRANGE", "i", "1", "yy"], ["GETSET", "i", "10"], ["INCR", "i"], ["DECRBY", "i", "5"],
    ["INCRBYFLOAT", "i", "0.5"], ["SETBIT", "i", "3", "1"], ["BITFIELD", "i", "SET", "u8", "0", "65"],
    ["GETDEL", "i"], ["SETNX", "i", "nx"], ["MSET", "i", "m", "j", "m"], ["MSETNX", "i", "a", "z", "b"],
    ["DEL", "i"], ["SETEX", "i", "100", "ex"], ["RENAME", "i", "j"], ["RENAME", "j", "i"],
    ["COPY", "j2", "i"], ["SET", "j", "source"], ["COPY", "j", "i", "REPLACE"], ["UNLINK", "i"],
    ["EVAL", "return redis.call('set',KEYS[1],'keyed')", "1", "i"],
    ["EVAL", "return redis.call('set','i','undeclared')", "0"],
    ["EVAL", "return redis.call('del','i')", "0"], ["BITOP", "OR", "i", "j", "j"],
    ["RPUSH", "list", "3", "1"], ["SORT", "list", "STORE", "i"], ["DEL", "i"],
    ["PFADD", "i", "a", "b"], ["DEL", "i"], ["RESTORE", "i", "0", "bad payload"], ["SET", "i", "x"],
    ["PEXPIRE", "i", "-1"], ["SET", "i", "y"], ["EXPIREAT", "i", "1"], ["SET", "i", "z"], ["MOVE", "i", "9"],
    ["SET", "i", "s"], ["SWAPDB", "0", "8"], ["SWAPDB", "0", "8"], ["FLUSHDB"], ["SET", "i", "f"],
    ["FLUSHALL"], ["SET", "i", "f"], ["FLUSHALL", "ASYNC"], ["GETEX", "i", "EX", "10"],
    ["SET", "i", "e"], ["GETEX", "i", "PXAT", "1"], ["LCS", "i", "j"], ["HSET", "i", "f", "v"], ["GET", "i"],
]


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("protocol", [2, 3])
def test_inside_write_is_visible_to_everybody_at_once(target, protocol):
    """After each kind of write: what other connections read is what L2 has."""
    target.flush()
    with target.connect(protocol=protocol) as writer, target.connect() as reader, \
            target.connect(protocol=3) as reader3, target.outside() as l2, target.outside(protocol=3) as l2_3:
        l2.call("FLUSHALL")
        time.sleep(0.05)
        for command in INSIDE_WRITES:
            for key in ("i", "j"):
                reader.call_raw("GET", key)
            writer.call_raw(*command)
            for key in ("i", "j"):
                for _ in range(2):
                    got, got3 = reader.call_raw("GET", key), reader3.call_raw("GET", key)
                    assert got == l2.call_raw("GET", key), "%s of %s after %s" % (got, key, command)
                    assert got3 == l2_3.call_raw("GET", key), "RESP3 %s of %s after %s" % (got3, key, command)


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("how", ["set_px", "pexpire", "outside_pexpire", "pexpireat", "getex"])
def test_value_is_gone_at_its_deadline_not_before(target, how):
    target.flush()
    lifetime = 0.12
    with target.connect() as wire, target.connect() as reader, target.outside() as outside:
        for number in range(4):
            key = "ttl:%s:%d" % (how, number)
            wire.call("SET", key, "v")
            warm(target, reader, key, b"v")
            before = time.monotonic()
            milliseconds = str(int(lifetime * 1000))
            at = str(int((time.time() + lifetime) * 1000))
            command = {"set_px": ["SET", key, "v", "PX", milliseconds],
                       "pexpire": ["PEXPIRE", key, milliseconds], "outside_pexpire": ["PEXPIRE", key, milliseconds], "pexpireat": ["PEXPIREAT", key, at],
                       "getex": ["GETEX", key, "PX", milliseconds]}[how]
            (outside if how.startswith("outside") else wire).call(*command)
            acknowledged = time.monotonic()
            if how.startswith("outside"):
                time.sleep(0.05)
            watch_deadline(reader, key, before + lifetime, acknowledged + lifetime)


def watch_deadline(reader, key, earliest, latest):
    """Reads without a pause: alive before `earliest`, gone for requests sent after `latest` + 1 ms."""
    gone = 0
    while gone < 5:
        sent = time.monotonic()
        value = reader.call("GET", key)
        received = time.monotonic()
        if value is None:
            gone += 1
            assert received > earliest - 0.002, "%s gone %.1f ms early" % (key, (earliest - received) * 1e3)
        else:
            assert gone == 0, "%s came back" % key
            assert sent <= latest + 0.001, "%s alive %.1f ms late" % (key, (sent - latest) * 1e3)


@pytest.mark.quick
def test_many_short_lived_keys_none_outlives_its_deadline(target):
    target.flush()
    with target.connect(timeout=20) as wire:
        names = ["short:%d" % i for i in range(500)]
        wire.pipeline_raw([["SET", name, "v", "PX", str(100 + i % 100)] for i, name in enumerate(names)])
        acknowledged = time.monotonic()
        wire.pipeline_raw([["GET", name] for name in names])
        while time.monotonic() < acknowledged + 0.25:
            for i, name in enumerate(names[::10]):
                sent = time.monotonic()
                value = wire.call("GET", name)
                limit = acknowledged + (100 + (i * 10) % 100) / 1000 + 0.001
                assert value is None or sent <= limit, "%s alive %.1f ms late" % (name, (sent - limit) * 1e3)


@pytest.mark.quick
def test_ttl_of_cached_key_counts_down(target):
    target.flush()
    with target.connect() as wire:
        wire.call("SET", "count", "v", "PX", "10000")
        warm(target, wire, "count", b"v")
        time.sleep(0.3)
        assert 9000 < wire.call("PTTL", "count") <= 9700


def check(target, seed, seconds, **options):
    checker = Checker(lambda: target.connect(timeout=10), target.outside, seed,
                      outside_bound_s=OUTSIDE_BOUND_S, **options)
    checker.for_seconds(seconds)
    print("%d reads, %d writes" % (checker.reads, checker.writes))
    with target.outside() as l2:
        lost = checker.lost_writes(l2)
    checker.assert_clean(target.tail(20))
    assert not lost, lost


@pytest.mark.quick
@pytest.mark.every_driver
def test_checker_writers_inside_and_outside_coherent(target, seed):
    target.flush()
    check(target, seed, 3)


@pytest.mark.quick
@pytest.mark.every_driver
def test_checker_only_inside_writers_many_readers_coherent(target, seed):
    """Without outside writes there is no tolerance at all."""
    target.flush()
    check(target, seed, 2, outside_writers=0, inside_writers=4, readers=6)


@pytest.mark.quick
@pytest.mark.every_driver
def test_checker_reads_on_another_lane_coherent(target, seed):
    """A value that a GETRANGE showed, and a write that is still in flight did not take back, stays."""
    target.flush()
    check(target, seed, 3, outside_writers=0, inside_writers=3, readers=6, keys=3, hot=2, rare=0, other_lane=0.3)


@pytest.mark.bound(60)
@pytest.mark.every_driver
def test_checker_longer_with_few_hot_keys_coherent(target, seed):
    target.flush()
    check(target, seed, 10, keys=3, hot=2, rare=40, readers=6)


@pytest.mark.bound(60)
def test_checker_more_data_than_l1_coherent(target, seed):
    """Values of up to 200 kB over a small store: fills and evictions race with writes."""
    target.flush()
    check(target, seed, 8, keys=300, hot=8, rare=300, values=(100, 20000, 200000))
