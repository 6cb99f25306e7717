# SPDX-License-Identifier: Apache-2.0
"""`cachee bench`: against plain servers, against the appliance over each driver, and when things go wrong."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import netns as namespaces
from harness.processes import free_port, wait_until


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


# --- our own TCP in client role ---------------------------------------------------------------------

OWN_TCP = ["--no-hugepages", "--keys", "300", "--verify", "--value-bytes", "percentiles:50=64,95=2000,100=20000",
           "--reads", "80", "--timeout", "15", "--warmup", "0"]


def memif_settings(directory, workers=1):
    path = os.path.join(str(directory), "m.sock")
    return path, {"driver": "dpdk", "workers": {"cores": list(range(workers)), "idle_spins": 100}, "listen": {"address": "10.9.0.1", "port": 6379},
                  "dpdk": {"device": "net_memif0,role=server,socket-abstract=no,socket=" + path, "mbufs": 4096,
                           "memory_mib": 64, "hugepages": False}, "l1": {"hugepages": "off"}}


def start_on_memif(make_appliance, directory, l2, workers=1):
    """The appliance cannot be asked over the kernel here: ready is what its log says."""
    path, settings = memif_settings(directory, workers)
    appliance = make_appliance(l2=l2, settings=settings, start=False)
    appliance.start_dataplane()
    if l2:
        appliance.start_controlplane()
    wait_until("the data plane is ready\n" + appliance.tail(), 30,
               lambda: "ready:" in appliance.dataplane.tail(50) or not appliance.dataplane.alive)
    appliance.address = ("10.9.0.1", 6379)
    return appliance, ["--memif", path, "--local-ip", "10.9.0.2", *OWN_TCP]


@pytest.mark.appliance_only
@pytest.mark.bound(150)
def test_memory_link_clients_come_and_go(make_appliance, binaries, tmp_path):
    appliance, options = start_on_memif(make_appliance, tmp_path, None)
    # Two polling processes on CPUs that others use too: one connection gets a few hundred replies per second.
    for connections, pipeline, requests in ((1, 1, 300), (40, 8, 5000), (200, 2, 5000)):
        result = bench(appliance, binaries, "-n", str(requests), "-d", "30", "-c", str(connections), "-P",
                       str(pipeline), *options)
        assert_clean(*result)
        assert result[1]["all"]["requests"] == requests
        assert result[1]["misses"] == 0
        assert result[1]["network"].startswith("net_memif0")
    result = bench(appliance, binaries, "--rate", "1000", "-d", "1", "-c", "5", *options)
    assert_clean(*result)


@pytest.mark.appliance_only
def test_memory_link_with_l2_behind(make_appliance, binaries, tmp_path):
    appliance, options = start_on_memif(make_appliance, tmp_path, "valkey")
    result = bench(appliance, binaries, "-n", "3000", "-d", "30", "-c", "20", "-P", "4", *options)
    assert_clean(*result)
    assert result[1]["misses"] == 0
    with appliance.outside() as wire:
        assert wire.call("DBSIZE") == 300


@pytest.mark.appliance_only
@pytest.mark.skipif(os.cpu_count() < 3, reason="needs a CPU for DPDK's control thread beside the two workers'")
def test_memory_link_two_threads_two_workers(make_appliance, binaries, tmp_path):
    appliance, options = start_on_memif(make_appliance, tmp_path, None, workers=2)
    result = bench(appliance, binaries, "-n", "4000", "-d", "30", "-c", "20", "-P", "4", "-t", "2", *options)
    assert_clean(*result)
    assert result[1]["all"]["requests"] == 4000
    assert result[1]["misses"] == 0


@pytest.mark.appliance_only
def test_memory_link_nobody_there_ends(binaries, tmp_path):
    done = subprocess.run([cli_of(binaries), "bench", "10.9.0.1:6379", "--memif", str(tmp_path / "none.sock"),
                           "--local-ip", "10.9.0.2", "--no-hugepages", "--timeout", "1"], capture_output=True,
                          text=True, timeout=50)
    assert done.returncode == 1
    assert "nobody listens at its socket" in done.stderr, done.stderr


@pytest.mark.appliance_only
def test_af_xdp_client_against_the_kernel(binaries, make_server):
    """Our TCP in client role, through AF_XDP on one end of a veth pair, to a Redis on the kernel's TCP."""
    reason = namespaces.available()
    if reason:
        pytest.skip(reason)
    names = ["cachee-test-bench%d-%s" % (os.getpid(), end) for end in ("a", "b")]
    for name in names:
        namespaces.add(name)
    try:
        namespaces.veth_pair(names[0], "vethA", names[1], "vethB")
        namespaces.run("ip", "address", "add", "198.18.250.1/30", "dev", "vethA", netns=names[0])
        server = subprocess.Popen(["ip", "netns", "exec", names[0], "setpriv", "--pdeathsig", "KILL", "redis-server",
                                   "--port", "6379", "--bind", "198.18.250.1", "--protected-mode", "no", "--save", "",
                                   "--appendonly", "no"], stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            done = subprocess.run(["ip", "netns", "exec", names[1], cli_of(binaries), "bench", "198.18.250.1:6379",
                                   "--driver", "dpdk", "--device", "net_af_xdp0,iface=vethB", "--local-ip",
                                   "198.18.250.2", "--prefix-bits", "30", "--no-verify-checksums", "-n", "3000", "-c",
                                   "10", "-P", "4", "--json", *OWN_TCP], capture_output=True, text=True, timeout=50)
            report = json.loads(done.stdout) if done.stdout else None
            assert_clean(done.returncode, report, done.stdout + done.stderr)
            assert report["all"]["requests"] == 3000 and report["misses"] == 0
        finally:
            server.terminate()
            server.wait(10)
    finally:
        for name in names:
            namespaces.delete(name)


@pytest.mark.quick
def test_memcached_every_value_checked(binaries):
    """The other protocol, for p5's peer: populated and read, each value compared."""
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("memcached is not installed")
    port = free_port()
    command = [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1"]
    server = subprocess.Popen(command + (["-u", "nobody"] if os.geteuid() == 0 else []))
    try:
        wait_until("memcached listens", 10, lambda: listens(port))
        done = subprocess.run([cli_of(binaries), "bench", "127.0.0.1:%d" % port, "--protocol", "memcached", "-n",
                               "4000", "-c", "10", "-P", "16", "--keys", "300", "--value-bytes",
                               "lognormal:200:1:4000", "--verify", "--warmup", "0", "--reads", "80", "--json"],
                              capture_output=True, text=True, timeout=30)
    finally:
        server.terminate()
        server.wait(10)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert_clean(done.returncode, report, done.stdout)
    assert report["populated"] == 300 and report["misses"] == 0 and report["all"]["requests"] == 4000


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
