# SPDX-License-Identifier: Apache-2.0
"""Programs that people have: redis-benchmark, redis-cli, valkey-cli work against the appliance."""
import re

import pytest

from harness.wire import encode


def address(target):
    return ["-h", target.address[0], "-p", str(target.address[1])]


def benchmark(target, requests, *options):
    code, output = target.run("redis-benchmark", *address(target), "-t", "get,set", "-c", "50", "-n",
                              str(requests), "-r", "1000", "-q", *options, timeout=100)
    assert code == 0, output + target.tail(20)
    assert "rror" not in output.replace("ERROR: failed to fetch CONFIG", ""), output
    rates = re.findall(r"(SET|GET): ([\d.]+) requests per second", output.replace("\r", "\n"))
    assert {name for name, _ in rates} == {"SET", "GET"}, output
    print(" ".join("%s %s/s" % rate for rate in rates))


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_completes(target, pipeline):
    benchmark(target, 2000 if target.slow else 20000, "-P", pipeline)


@pytest.mark.bound(200)
@pytest.mark.every_driver
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_long_run_completes(target, pipeline):
    benchmark(target, 20000 if target.slow else 200000, "-P", pipeline)


@pytest.mark.bound(100)
def test_redis_benchmark_every_test_completes(target):
    code, output = target.run("redis-benchmark", *address(target), "-c", "20", "-n", "2000", "-q", timeout=90)
    assert code == 0, output + target.tail(20)
    for name in ("PING_INLINE", "INCR", "LPUSH", "HSET", "SPOP", "ZADD", "LRANGE_600", "MSET"):
        assert name in output, output


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("program", ["redis-cli", "valkey-cli"])
def test_cli_works(target, program):
    target.flush()
    run = lambda *words: target.run(program, *address(target), *words)  # noqa: E731
    assert run("set", "cli", "value with spaces") == (0, "OK\n")
    assert run("get", "cli") == (0, "value with spaces\n")
    assert run("-3", "hset", "h", "a", "1") == (0, "1\n")
    assert run("-3", "hgetall", "h") == (0, "a 1\n")
    assert run("-n", "3", "set", "in3", "x") == (0, "OK\n")
    assert run("get", "in3") == (0, "\n")
    assert sorted(run("--scan")[1].split()) == ["cli", "h"]
    code, output = run("--bigkeys")
    assert code == 0 and "Sampled 2 keys" in output, output
    code, output = run("nosuchcommand")
    assert "unknown command" in output


@pytest.mark.quick
def test_cli_pipe_mode_loads_everything(target, tmp_path):
    target.flush()
    commands = tmp_path / "commands"
    commands.write_bytes(b"".join(encode("SET", "pipe:%d" % i, "v" * (i % 300)) for i in range(20000)))
    code, output = target.run("sh", "-c", "redis-cli -h %s -p %d --pipe < %s" % (
        target.address[0], target.address[1], commands))
    assert code == 0 and "errors: 0, replies: 20000" in output, output
    with target.connect() as wire:
        assert wire.call("DBSIZE") == 20000
        assert wire.call("GET", "pipe:299") == b"v" * 299
