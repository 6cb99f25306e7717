# SPDX-License-Identifier: Apache-2.0
"""Sessions with state: transactions with WATCH, publish and subscribe, blocking commands, SELECT, several
connections at once. Expected values are written out, as Redis documents them."""
import threading
import time

import pytest

from harness.wire import Error


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("writer_is", ["inside", "outside"])
def test_watch_write_by_other_connection_aborts_exec(target, writer_is):
    target.flush()
    with target.connect() as wire, (target.connect() if writer_is == "inside" else target.outside()) as other:
        wire.call("SET", "w", "1")
        wire.call("GET", "w")
        assert wire.call("WATCH", "w") == b"OK"
        assert wire.call("GET", "w") == b"1"
        other.call("SET", "w", "2")
        assert wire.call("MULTI") == b"OK"
        assert wire.call("SET", "w", "3") == b"QUEUED"
        assert wire.call("EXEC") is None
        assert wire.call("GET", "w") == b"2"
        assert wire.call("WATCH", "w") == b"OK"
        wire.call("MULTI")
        wire.call("INCR", "w")
        assert wire.call("EXEC") == [3]
        assert other.call("GET", "w") == b"3"


@pytest.mark.quick
def test_exec_written_keys_are_fresh_for_everybody(target):
    target.flush()
    with target.connect() as wire, target.connect() as reader:
        for round_number in range(100):
            value = b"%d" % round_number
            replies = [wire.call(*command) for command in (
                ["MULTI"], ["SET", "m1", value], ["SET", "m2", value], ["EXEC"])]
            assert replies[-1] == [b"OK", b"OK"]
            assert reader.call("GET", "m1") == value
            assert reader.call("MGET", "m1", "m2") == [value, value]


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("protocol", [2, 3])
def test_publish_reaches_subscribers_of_channel_and_pattern(target, protocol):
    with target.connect(protocol=protocol) as one, target.connect(protocol=protocol) as two, \
            target.connect() as publisher:
        one.send("SUBSCRIBE", "news", "sport")
        assert [one.read()[2] for _ in range(2)] == [1, 2]
        two.send("PSUBSCRIBE", "n*")
        assert two.read() == [b"psubscribe", b"n*", 1]
        for number in range(50):
            assert publisher.call("PUBLISH", "news", "item-%d" % number) == 2
        for number in range(50):
            text = b"item-%d" % number
            assert one.read() == [b"message", b"news", text]
            assert two.read() == [b"pmessage", b"n*", b"news", text]
        assert publisher.call("PUBSUB", "NUMSUB", "news") == [b"news", 1]
        if protocol == 2:
            assert "only (P|S)SUBSCRIBE" in str(one.call("GET", "x"))
            assert one.call("PING") == [b"pong", b""]
        else:
            assert one.call("GET", "x") is None
        one.send("UNSUBSCRIBE")
        assert sorted(one.read()[2] for _ in range(2)) == [0, 1]
        assert one.call("SET", "after", "1") == b"OK"
        assert one.call("GET", "after") == b"1"


@pytest.mark.quick
def test_publish_from_outside_reaches_subscriber(target):
    with target.connect() as wire, target.outside() as outside:
        wire.call("SUBSCRIBE", "c")
        assert outside.call("PUBLISH", "c", "x" * 100000) == 1
        assert wire.read() == [b"message", b"c", b"x" * 100000]


@pytest.mark.quick
@pytest.mark.every_driver
def test_blocking_pop_wakes_on_push_and_times_out(target):
    target.flush()
    with target.connect() as waiter, target.connect() as pusher:
        waiter.send("BLPOP", "q1", "q2", "5")
        time.sleep(0.1)
        assert pusher.call("GET", "other") is None
        assert pusher.call("RPUSH", "q2", "job") == 1
        assert waiter.read() == [b"q2", b"job"]
        start = time.monotonic()
        assert waiter.call("BRPOP", "q1", "0.2") is None
        assert 0.15 < time.monotonic() - start < 3
        pusher.call("RPUSH", "q1", "a", "b")
        assert waiter.call("BLMOVE", "q1", "q3", "LEFT", "RIGHT", "1") == b"a"
        assert waiter.call("BZPOPMIN", "nope", "0.05") is None
        assert isinstance(waiter.call("BLPOP", "q1", "abc"), Error)
        assert waiter.call("GET", "q4") is None


@pytest.mark.quick
def test_blocking_pop_behind_pipelined_commands_keeps_order(target):
    target.flush()
    with target.connect() as waiter, target.connect() as pusher:
        for command in (["SET", "a", "1"], ["GET", "a"], ["BLPOP", "bq", "5"], ["GET", "a"], ["PING"]):
            waiter.send(*command)
        assert waiter.read() == b"OK"
        assert waiter.read() == b"1"
        time.sleep(0.05)
        assert pusher.call("SET", "a", "2") == b"OK"
        pusher.call("RPUSH", "bq", "x")
        assert waiter.read() == [b"bq", b"x"]
        assert waiter.read() == b"2"
        assert waiter.read() == b"PONG"


@pytest.mark.quick
def test_client_gone_while_blocked_takes_nothing(target):
    target.flush()
    waiter = target.connect()
    waiter.send("BLPOP", "gone", "0")
    time.sleep(0.1)
    waiter.close()
    time.sleep(0.3)
    with target.connect() as wire:
        wire.call("RPUSH", "gone", "kept")
        time.sleep(0.1)
        assert wire.call("LLEN", "gone") == 1


@pytest.mark.quick
@pytest.mark.every_driver
def test_select_sessions_see_their_own_database(target):
    target.flush()
    with target.connect() as zero, target.connect() as three:
        assert three.call("SELECT", "3") == b"OK"
        for round_number in range(20):
            assert zero.call("SET", "k", "zero-%d" % round_number) == b"OK"
            assert three.call("SET", "k", "three-%d" % round_number) == b"OK"
            assert zero.call("GET", "k") == b"zero-%d" % round_number
            assert three.call("GET", "k") == b"three-%d" % round_number
        assert three.call("FLUSHDB") == b"OK"
        assert zero.call("GET", "k") == b"zero-19"
        assert three.call("GET", "k") is None


@pytest.mark.quick
def test_reset_leaves_transaction_database_and_name(target):
    target.flush()
    with target.connect() as wire:
        wire.call("SELECT", "2")
        wire.call("CLIENT", "SETNAME", "x")
        wire.call("MULTI")
        assert wire.call("RESET") == b"RESET"
        assert wire.call("SET", "r", "1") == b"OK"
        assert wire.call("CLIENT", "GETNAME") in (None, b"")
        with target.outside() as outside:
            assert outside.call("GET", "r") == b"1"


@pytest.mark.quick
def test_quit_answers_ok_and_closes(target):
    with target.connect() as wire:
        wire.send("SET", "q", "1")
        wire.send("QUIT")
        data, closed = wire.drain(3)
        assert (data, closed) == (b"+OK\r\n+OK\r\n", True)


@pytest.mark.quick
def test_client_reply_off_and_skip(target):
    with target.connect() as wire:
        wire.send("CLIENT", "REPLY", "OFF")
        wire.send("SET", "quiet", "1")
        wire.send("GET", "quiet")
        assert wire.call("CLIENT", "REPLY", "ON") == b"OK"
        wire.send("CLIENT", "REPLY", "SKIP")
        wire.send("GET", "quiet")
        assert wire.call("GET", "quiet") == b"1"


@pytest.mark.quick
@pytest.mark.every_driver
def test_many_connections_each_gets_its_own_replies(target):
    target.flush()
    connections = 20 if target.slow else 100
    wrong = []

    def talk(number):
        with target.connect(timeout=20) as wire:
            for step in range(20):
                value = b"%d-%d" % (number, step)
                wire.send("SET", "own:%d" % number, value)
                wire.send("GET", "own:%d" % number)
                wire.send("ECHO", value)
                replies = [wire.read(), wire.read(), wire.read()]
                if replies != [b"OK", value, value]:
                    wrong.append((number, step, replies))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive(), "a client hangs"
    assert not wrong, wrong[:3]


@pytest.mark.quick
def test_redis_py_client_works_unchanged(target):
    target.flush()
    client = target.redis()
    assert client.set("py", "1", ex=100)
    assert client.get("py") == b"1"
    assert client.hset("pyh", mapping={"a": 1, "b": 2}) == 2
    assert client.hgetall("pyh") == {b"a": b"1", b"b": b"2"}
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr("n").incr("n").get("n")
        assert pipeline.execute() == [1, 2, b"2"]
    lock = client.lock("lock", timeout=5)
    assert lock.acquire(blocking=False)
    lock.release()
    script = client.register_script("return redis.call('get', KEYS[1])")
    assert script(keys=["py"]) == b"1"
    pubsub = client.pubsub()
    pubsub.subscribe("ch")
    assert pubsub.get_message(timeout=2)["type"] == "subscribe"
    client.publish("ch", "hi")
    assert pubsub.get_message(timeout=2)["data"] == b"hi"
    pubsub.close()
    assert sorted(client.scan_iter(count=10)) == [b"n", b"py", b"pyh"]
    client.close()
