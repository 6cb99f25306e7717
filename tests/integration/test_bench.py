# SPDX-License-Identifier: Apache-2.0
"""`cachee bench`: against plain servers, against the appliance over each driver, and when things go wrong."""
import json
import os
import signal
import subprocess
import time

import pytest

from harness.processes import free_port


def cli_of(binaries):
    cli = os.path.join(binaries, "tools/cachee/cachee")
    generator = os.path.join(binaries, "tools/loadgen/cachee-loadgen")
    for path in (cli, generator):
        if not os.access(path, os.X_OK):
            pytest.fail("%s is not there: build it" % path)
    return cli


def bench(target, binaries, *options, timeout=50):
    """(exit code, the report as a dict, everything printed)."""
    code, output = target.run(cli_of(binaries), "bench", "%s:%d" % target.address, "--json", *options,
                              timeout=timeout)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return code, json.loads(lines[-1]) if lines else None, output


def assert_clean(code, report, output):
    assert code == 0, output
    assert report["good"] and report["failure"] is None, output
    assert report["all"]["requests"] > 0, output
    percentiles = [report["all"][name] for name in ("p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns")]
    assert percentiles == sorted(percentiles), output
    assert percentiles[0] > 0, output


@pytest.mark.quick
@pytest.mark.every_driver
def test_closed_loop_every_value_checked(target, binaries):
    target.flush()
    result = bench(target, binaries, "-n", "5000", "--warmup", "0", "-c", "20", "-P", "4", "--keys", "500",
                   "--reads", "80", "--value-bytes", "lognormal:200:1:4000", "--distribution", "zipf", "--verify",
                   "--timeout", "15")
    assert_clean(*result)
    report = result[1]
    assert report["all"]["requests"] == 5000
    assert report["populated"] == 500
    assert report["misses"] == 0, result[2]
    # The values are really there.
    with target.connect() as wire:
        assert wire.call("EXISTS", "key:000000000499") == 1


@pytest.mark.quick
def test_open_loop_and_threads(target, binaries):
    target.flush()
    result = bench(target, binaries, "--rate", "2000", "-d", "1", "--warmup", "0.2", "-t", "2", "-c", "8", "--keys",
                   "1000", "--mget", "5", "--verify")
    assert_clean(*result)
    assert 1700 < result[1]["all"]["requests"] < 2300, result[2]
    assert result[1]["reads"]["requests"] * 5 == result[1]["hits"], result[2]


@pytest.mark.quick
def test_expiring_keys_are_misses_not_faults(target, binaries):
    target.flush()
    result = bench(target, binaries, "-d", "1", "--warmup", "0", "-c", "4", "--keys", "2000", "--ttl-ms", "50:100",
                   "--reads", "99", "--rate", "3000", "--verify")
    assert_clean(*result)
    assert result[1]["misses"] > 0, result[2]


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_plain_servers(references, binaries, kind):
    server = references(kind)
    done = subprocess.run([cli_of(binaries), "bench", "%s:%d" % server.address, "-n", "2000", "--warmup", "0",
                           "--keys", "100", "--verify"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "errors   none" in done.stdout
    assert "kernel sockets" in done.stdout


@pytest.mark.quick
def test_nobody_listens_is_said_at_once(binaries):
    started = time.monotonic()
    done = subprocess.run([cli_of(binaries), "bench", "127.0.0.1:%d" % free_port()], capture_output=True, text=True,
                          timeout=50)
    assert done.returncode == 1
    assert "no connection could be opened" in done.stderr
    assert done.stdout == ""
    assert time.monotonic() - started < 3


@pytest.mark.quick
def test_wrong_type_of_key_is_an_error_reply_by_kind(make_server, binaries):
    server = make_server("redis")
    with server.connect() as wire:
        wire.call("LPUSH", "key:000000000003", "x")
    done = subprocess.run([cli_of(binaries), "bench", "%s:%d" % server.address, "-n", "1000", "--warmup", "0",
                           "--keys", "10", "--no-populate", "--reads", "100", "--json"], capture_output=True,
                          text=True, timeout=50)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert list(report["errors"]["kinds"]) == ["WRONGTYPE"]
    assert "WRONGTYPE" in done.stderr


@pytest.mark.quick
def test_server_killed_under_load_ends_and_says_so(make_server, binaries):
    server = make_server("redis")
    child = subprocess.Popen([cli_of(binaries), "bench", "%s:%d" % server.address, "-d", "60", "--keys", "100",
                              "--timeout", "1", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(2.5)
        server.stop()
        stopped = time.monotonic()
        output, errors = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert time.monotonic() - stopped < 10
    assert child.returncode == 1
    report = json.loads(output)
    assert report["errors"]["disconnects"] >= 50, output
    assert report["all"]["requests"] > 0, output
    assert "could be opened again" in errors, errors


@pytest.mark.quick
def test_interrupt_reports_what_was_measured(references, binaries):
    server = references("redis")
    child = subprocess.Popen([cli_of(binaries), "bench", "%s:%d" % server.address, "-d", "60", "--warmup", "0.1",
                              "--keys", "100", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1.5)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=10)
    finally:
        child.kill()
        child.wait()
    report = json.loads(output)
    assert child.returncode == 0, output
    assert report["all"]["requests"] > 0 and report["good"], output
