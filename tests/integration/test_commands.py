# SPDX-License-Identifier: Apache-2.0
"""Every command through the appliance, compared byte for byte with a plain server of the same version."""
import time

import pytest

from harness import scripts
from harness.compare import Differences
from harness.wire import encode, reply_end


def run_script(target, name, protocol, readers=0):
    """One command at a time; with `readers`, the commands alternate over so many more connections."""
    differences = Differences(target, "%s, RESP%d" % (name, protocol))
    patience = 60 if target.driver == "sim-lossy" else 20
    fronts = [target.connect(protocol=protocol, timeout=patience) for _ in range(readers + 1)]
    with target.reference.connect(protocol=protocol, timeout=20) as wanted:
        for index, (how, command) in enumerate(scripts.commands(name)):
            if how == "sleep":
                time.sleep(command / 1000)
                continue
            front = fronts[index % len(fronts)]
            differences.check(how, command, front.call_raw(*command), wanted.call_raw(*command))
    for front in fronts:
        front.close()
    differences.report()


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.bound(120)
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", sorted(scripts.SCRIPTS))
def test_script_one_by_one_same_as_reference(target, name, protocol):
    target.flush()
    run_script(target, name, protocol)


@pytest.mark.quick
@pytest.mark.parametrize("name", sorted(set(scripts.SCRIPTS) - scripts.STATEFUL))
def test_script_over_three_connections_same_as_reference(target, name):
    target.flush()
    run_script(target, name, 2, readers=2)


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.bound(240)
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", sorted(set(scripts.SCRIPTS) - scripts.NOT_PIPELINED))
def test_script_pipelined_same_as_reference(target, name, protocol):
    """Everything at once, twice: the second time with whatever the first left in the cache."""
    for _ in range(2):
        target.flush()
        steps = scripts.commands(name)
        differences = Differences(target, "%s pipelined, RESP%d" % (name, protocol))
        # Megabytes over a link that loses 1 % take their time.
        patience = 110 if target.driver == "sim-lossy" else 30
        with target.connect(protocol=protocol, timeout=patience) as front, \
                target.reference.connect(protocol=protocol, timeout=30) as wanted:
            got = front.pipeline_raw([command for _, command in steps])
            reference = wanted.pipeline_raw([command for _, command in steps])
        for (how, command), left, right in zip(steps, got, reference):
            differences.check(how, command, left, right)
        differences.report()


def mixed_commands(count):
    """A deterministic mixture of hits, misses, writes, other lanes and errors."""
    kinds = (lambda i: ["SET", "mix:%d" % (i % 97), "v%d" % i], lambda i: ["GET", "mix:%d" % (i % 97)],
             lambda i: ["GET", "mix:%d" % ((i * 7) % 97)], lambda i: ["INCR", "count:%d" % (i % 5)],
             lambda i: ["GET", "count:%d" % (i % 5)], lambda i: ["DEL", "mix:%d" % ((i * 3) % 97)],
             lambda i: ["RPUSH", "list:%d" % (i % 3), "x%d" % i], lambda i: ["LLEN", "list:%d" % (i % 3)],
             lambda i: ["MGET", "mix:%d" % (i % 97), "mix:%d" % ((i * 5) % 97), "count:1"],
             lambda i: ["EVAL", "return redis.call('incr','count:'..ARGV[1])", "0", str(i % 5)],
             lambda i: ["PING"], lambda i: ["GET", "list:%d" % (i % 3)],
             lambda i: ["HSET", "h", "f%d" % (i % 9), i], lambda i: ["HGETALL", "h"], lambda i: ["EXPIRE", "mix:%d" % (i % 97), "100"],
             lambda i: ["TTL", "mix:%d" % (i % 97)], lambda i: ["WRONG", "x"], lambda i: ["GET"])
    return [[str(word).encode() for word in kinds[(i * 11 + i // 18) % len(kinds)](i)] for i in range(count)]


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("depth", [1, 2, 16, 257, 1000, 10000])
def test_mixed_pipeline_same_as_reference(target, depth):
    target.flush()
    commands = mixed_commands(depth)
    differences = Differences(target, "pipeline of %d" % depth)
    with target.connect(timeout=50) as front, target.reference.connect(timeout=50) as wanted:
        got = front.pipeline_raw(commands)
        reference = wanted.pipeline_raw(commands)
    for command, left, right in zip(commands, got, reference):
        # On a busy machine half a second may pass between an EXPIRE and the TTL behind it.
        differences.check("near_s" if command[0] == b"TTL" else "exact", command, left, right)
    differences.report()


@pytest.mark.quick
@pytest.mark.parametrize("depth", [1, 10000])
def test_get_pipeline_all_hits_same_value(target, depth):
    target.flush()
    with target.connect(timeout=50) as wire:
        assert wire.call("SET", "hot", "value") == b"OK"
        wire.call("GET", "hot")
        assert set(wire.pipeline_raw([["GET", "hot"]] * depth)) == {b"$5\r\nvalue\r\n"}


@pytest.mark.quick
@pytest.mark.every_driver
def test_inline_commands_same_as_reference(target):
    target.flush()
    lines = [b"SET a 1", b"GET a", b"  GET   a  ", b"PING", b"ping hello",
             b"SET b \"two words\\x00\\n\"", b"GET b",
             b"SET c 'single \\' quoted'", b"GET c", b"NOSUCH x", b"GET", b"GET a\n"[:-1], b"EXISTS a b c"]
    differences = Differences(target, "inline")
    with target.connect() as front, target.reference.connect() as wanted:
        for line in lines:
            for ending in (b"\r\n", b"\n"):
                front.send_raw(line + ending)
                wanted.send_raw(line + ending)
                differences.check("exact", [line + ending], front.read_raw(), wanted.read_raw())
        for wire in (front, wanted):
            wire.send_raw(b"\r\n\r\nGET a\r\n\r\n" + encode("GET", "b") + b"GET c\r\n")
        for _ in range(3):
            differences.check("exact", [b"empty lines, then GETs"], front.read_raw(), wanted.read_raw())
    differences.report()


@pytest.mark.quick
@pytest.mark.every_driver
def test_values_of_every_size_come_back_whole(target):
    target.flush()
    sizes = sorted({1 << shift for shift in range(0, 21)} | {(1 << shift) + 1 for shift in range(4, 21)} |
                   {1447, 1449, 8 << 20})
    if target.slow:
        sizes = sizes[::3] + [1 << 20]
    with target.connect(timeout=40) as writer, target.connect(timeout=40) as reader:
        for size in sizes:
            value = bytes((size + i * 31) & 0xff for i in range(min(size, 4096))) * (size // 4096 + 1)
            value = value[:size]
            assert writer.call("SET", "sized", value) == b"OK", size
            for read in range(3):
                assert reader.call("GET", "sized") == value, "value of %d bytes, read %d" % (size, read)


@pytest.mark.quick
@pytest.mark.every_driver
def test_many_keys_each_has_its_own_value(target):
    target.flush()
    count = 3000 if target.slow else 20000
    with target.connect(timeout=50) as wire:
        wire.pipeline_raw([["SET", "many:%d" % i, "value-%d" % (i * 7)] for i in range(count)])
        for _ in range(2):
            replies = wire.pipeline_raw([["GET", "many:%d" % i] for i in range(count)])
            wrong = [i for i, reply in enumerate(replies) if reply != (b"$%d\r\nvalue-%d\r\n" % (
                len("value-%d" % (i * 7)), i * 7))]
            assert not wrong, "wrong value for keys %s, first %r" % (wrong[:5], replies[wrong[0]])
        assert wire.call("DBSIZE") == count


@pytest.mark.quick
def test_scan_walk_finds_every_key_once_at_least(target):
    target.flush()
    with target.connect() as wire:
        wire.pipeline_raw([["SET", "walk:%d" % i, "x"] for i in range(500)])
        cursor, seen = b"0", set()
        for _ in range(600):
            cursor, keys = wire.call("SCAN", cursor, "COUNT", "20", "MATCH", "walk:*")
            seen.update(keys)
            if cursor == b"0":
                break
        assert len(seen) == 500


@pytest.mark.quick
def test_evalsha_after_script_load_runs(target):
    target.flush()
    with target.connect() as wire:
        digest = wire.call("SCRIPT", "LOAD", "return redis.call('incrby',KEYS[1],ARGV[1])")
        for total in (5, 10, 15):
            assert wire.call("EVALSHA", digest, "1", "sum", "5") == total
            assert wire.call("GET", "sum") == str(total).encode()
        assert wire.call("SCRIPT", "EXISTS", digest) == [1]


@pytest.mark.quick
@pytest.mark.parametrize("protocol", [2, 3])
def test_hello_answers_with_the_server_it_stands_for(target, protocol):
    with target.connect() as front, target.reference.connect() as wanted:
        got, reference = front.call("HELLO", protocol), wanted.call("HELLO", protocol)
    assert type(got) is type(reference)
    if isinstance(got, list):
        got, reference = dict(zip(got[::2], got[1::2])), dict(zip(reference[::2], reference[1::2]))
    assert set(got) == set(reference)
    assert got[b"proto"] == protocol
    assert reply_end(encode("x"), 0) is not None
