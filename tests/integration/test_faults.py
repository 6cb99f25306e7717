# SPDX-License-Identifier: Apache-2.0
"""What happens when things die: every fault under load, judged by the coherence checker (no stale read, no
version that was never written), by L2's contents (no acknowledged write lost) and by the clock (service is
back). Every test has an appliance and an L2 of its own."""
import os
import signal
import socket
import subprocess
import time

import pytest

from harness.checker import Checker
from harness.processes import wait_until
from harness.wire import Closed, Error

pytestmark = [pytest.mark.appliance_only]
BACK_S = 2.0           # service is back this long after the last process was started again
KILLS = 20


def durable_l2(make_server):
    return make_server("valkey", name="l2-durable",
                       arguments=["--appendonly", "yes", "--appendfsync", "always"])


def load(appliance, seed, **options):
    """A checker that forgives errors (not wrong answers) while faults happen."""
    options = {"keys": 16, "rare": 60, "readers": 3, "tolerate_errors": True, **options}
    return Checker(lambda: appliance.connect(timeout=8), lambda: appliance.l2.connect(timeout=8), seed,
                   outside_bound_s=1.0, **options).run()


def finish(checker, appliance):
    checker.stop()
    appliance.wait_serving(5)
    print("%d reads, %d writes, %d errors" % (checker.reads, checker.writes, checker.errors))
    with appliance.outside() as l2:
        lost = checker.lost_writes(l2)
    checker.assert_clean(appliance.tail(20), reads=200)
    assert not lost, "acknowledged writes lost:\n" + "\n".join(lost)
    converged(checker, appliance)


def converged(checker, appliance):
    """After the fault is healed, L1 and L2 agree on every key."""
    time.sleep(0.2)
    with appliance.outside() as l2, appliance.connect() as wire:
        for key in checker.keys:
            for _ in range(2):
                assert wire.call("GET", key.name) == l2.call("GET", key.name), key.name


def is_back(appliance, what):
    start = time.monotonic()
    appliance.wait_serving(15)
    took = time.monotonic() - start
    assert took <= BACK_S, "%s: service back after %.2f s, wanted %.1f\n%s" % (what, took, BACK_S,
                                                                          appliance.tail(30))
    return took


@pytest.mark.bound(150)
@pytest.mark.parametrize("driver", ["socket", "sim"])
def test_dataplane_killed_twenty_times_under_load(make_appliance, seed, driver):
    appliance = make_appliance(driver)
    checker = load(appliance, seed)
    for round_number in range(KILLS):
        time.sleep(0.15)
        appliance.kill_dataplane()
        appliance.start_dataplane()
        is_back(appliance, "data plane killed, round %d" % round_number)
    finish(checker, appliance)


@pytest.mark.bound(150)
def test_controlplane_killed_twenty_times_under_load(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    for round_number in range(KILLS):
        time.sleep(0.15)
        appliance.kill_controlplane()
        appliance.start_controlplane()
        is_back(appliance, "control plane killed, round %d" % round_number)
    finish(checker, appliance)


@pytest.mark.bound(100)
def test_both_planes_killed_under_load(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    for round_number in range(5):
        time.sleep(0.2)
        kills = [appliance.kill_dataplane, appliance.kill_controlplane]
        for kill in kills if round_number % 2 else kills[::-1]:
            kill()
        if round_number % 2:
            appliance.start_dataplane()
            appliance.start_controlplane()
        else:
            appliance.start_controlplane()
            time.sleep(0.1)
            appliance.start_dataplane()
        is_back(appliance, "both killed, round %d" % round_number)
    finish(checker, appliance)


@pytest.mark.quick
def test_each_plane_killed_once_service_returns(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    for kill, start in ((appliance.kill_dataplane, appliance.start_dataplane),
                        (appliance.kill_controlplane, appliance.start_controlplane)):
        time.sleep(0.2)
        kill()
        start()
        is_back(appliance, kill.__name__)
    finish(checker, appliance)


@pytest.mark.quick
@pytest.mark.bound(90)
def test_controlplane_stopped_two_seconds_no_stale_read(make_appliance, seed):
    """The lease: a stopped control plane cannot apply invalidations, so L1 must fall silent by itself."""
    appliance = make_appliance()
    checker = load(appliance, seed, outside_writers=2)
    for _ in range(2):
        time.sleep(0.3)
        appliance.controlplane.signal(signal.SIGSTOP)
        time.sleep(2)
        appliance.controlplane.signal(signal.SIGCONT)
        is_back(appliance, "control plane continued")
    finish(checker, appliance)


@pytest.mark.quick
def test_lease_lapses_hot_key_is_not_answered_stale(make_appliance):
    """One key, one outside write while the control plane sleeps: the old value is gone after the lease."""
    appliance = make_appliance()
    with appliance.connect(timeout=10) as wire, appliance.outside() as outside:
        wire.call("SET", "lease", "old")
        for _ in range(3):
            assert wire.call("GET", "lease") == b"old"
        appliance.controlplane.signal(signal.SIGSTOP)
        outside.call("SET", "lease", "new")
        time.sleep(0.35)
        wire.send("GET", "lease")
        time.sleep(0.3)
        appliance.controlplane.signal(signal.SIGCONT)
        reply = wire.read()
        assert reply == b"new" or isinstance(reply, Error), reply


@pytest.mark.quick
@pytest.mark.bound(90)
def test_l2_killed_and_restarted_service_returns(make_appliance, make_server, seed):
    appliance = make_appliance(l2=durable_l2(make_server), settings={"l2": {"reconnect_max_ms": 500}})
    checker = load(appliance, seed)
    for round_number in range(3):
        time.sleep(0.4)
        appliance.l2.process.kill()
        time.sleep(0.3)
        appliance.l2.start()
        is_back(appliance, "L2 restarted, round %d" % round_number)
    finish(checker, appliance)


@pytest.mark.quick
def test_l2_gone_every_request_is_answered(make_appliance):
    """Errors are fine, silence is not; and what is said names the cause."""
    appliance = make_appliance(settings={"l2": {"request_timeout_ms": 1000}})
    with appliance.connect(timeout=5) as wire:
        wire.call("SET", "a", "1")
        wire.call("GET", "a")
        appliance.l2.process.kill()
        time.sleep(0.4)
        for command in (["GET", "a"], ["GET", "never"], ["SET", "a", "2"], ["EVAL", "return 1", "0"],
                        ["LPUSH", "l", "x"]):
            reply = wire.call(*command)
            assert isinstance(reply, Error), "%s answered %r without L2" % (command, reply)
            assert reply.args[0].split(" ")[0].isupper(), reply
        assert wire.call("PING") == b"PONG"
        appliance.l2.start()
        is_back(appliance, "L2 started again")
        assert wire.call("SET", "a", "3") == b"OK"
        assert wire.call("GET", "a") == b"3"


@pytest.mark.bound(60)
def test_l2_stopped_no_stale_read_then_service(make_appliance, seed):
    appliance = make_appliance(settings={"l2": {"request_timeout_ms": 1000}})
    checker = load(appliance, seed)
    time.sleep(0.3)
    appliance.l2.process.signal(signal.SIGSTOP)
    time.sleep(2)
    appliance.l2.process.signal(signal.SIGCONT)
    is_back(appliance, "L2 continued")
    finish(checker, appliance)


@pytest.mark.quick
def test_l2_client_pause_no_error_and_coherent(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    with appliance.outside() as outside:
        for mode in ("WRITE", "ALL"):
            time.sleep(0.2)
            outside.call("CLIENT", "PAUSE", "500", mode)
    time.sleep(1)
    is_back(appliance, "pause over")
    finish(checker, appliance)


def tracking_clients(l2):
    """Ids of L2's clients that track keys (flag t)."""
    ids = []
    for line in l2.call("CLIENT", "LIST").decode().splitlines():
        fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
        if "t" in fields["flags"]:
            ids.append(fields["id"])
    return ids


@pytest.mark.quick
@pytest.mark.bound(90)
def test_tracking_connection_killed_repeatedly_coherent(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed, outside_writers=2)
    with appliance.outside() as outside:
        for _ in range(10):
            time.sleep(0.15)
            ids = wait_until("the appliance tracks", 5, lambda: tracking_clients(outside))
            for client in ids:
                outside.call("CLIENT", "KILL", "ID", client)
    is_back(appliance, "tracking connection killed")
    finish(checker, appliance)


@pytest.mark.quick
def test_all_l2_connections_killed_service_returns(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    for _ in range(5):
        time.sleep(0.2)
        with appliance.outside() as outside:
            outside.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    is_back(appliance, "all connections of L2 killed")
    finish(checker, appliance)


@pytest.mark.quick
def test_sigterm_under_load_clean_exit_nothing_lost(make_appliance, seed):
    appliance = make_appliance()
    checker = load(appliance, seed)
    time.sleep(0.5)
    start = time.monotonic()
    appliance.stop()
    assert time.monotonic() - start < 5
    checker.stop()
    with appliance.outside() as l2:
        lost = checker.lost_writes(l2)
    checker.assert_clean(reads=20)
    assert not lost, lost


@pytest.mark.quick
def test_dataplane_sigterm_alone_then_restart(make_appliance):
    appliance = make_appliance()
    for _ in range(3):
        assert appliance.dataplane.terminate() == 0
        appliance.start_dataplane()
        is_back(appliance, "data plane restarted in good order")
    for _ in range(3):
        assert appliance.controlplane.terminate() == 0
        appliance.start_controlplane()
        is_back(appliance, "control plane restarted in good order")


@pytest.mark.quick
@pytest.mark.parametrize("first", ["dataplane", "controlplane"])
def test_planes_may_start_in_any_order(make_appliance, first):
    appliance = make_appliance(start=False)
    second = "controlplane" if first == "dataplane" else "dataplane"
    getattr(appliance, "start_" + first)()
    time.sleep(0.5)
    getattr(appliance, "start_" + second)()
    is_back(appliance, "%s first" % first)


@pytest.mark.quick
def test_l2_down_at_start_served_when_it_comes(make_appliance, make_server):
    l2 = make_server(name="l2-late")
    l2.stop()
    appliance = make_appliance(l2=l2, start=False, settings={"l2": {"reconnect_max_ms": 500}})
    appliance.start_dataplane()
    appliance.start_controlplane()

    def refused():
        try:
            with appliance.connect(timeout=8) as wire:
                return isinstance(wire.call("GET", "a"), Error)
        except (OSError, Closed):
            return False

    wait_until("an error reply while there is no L2", 15, refused)
    l2.start()
    is_back(appliance, "L2 came")


@pytest.mark.quick
@pytest.mark.parametrize("plane", ["dataplane", "controlplane"])
@pytest.mark.parametrize("change,word", [
    ("listen:\n  prot: 1\n", "prot"), ("listen:\n  port: seven\n", "seven"), ("instance: [\n", ":"),
    ("driver: bogus\n", "bogus"), ("l2:\n  backend: \"http://x\"\n", "backend")])
def test_bad_configuration_is_refused_with_its_place(binaries, tmp_path, plane, change, word):
    path = tmp_path / "cachee.yaml"
    path.write_text("# a comment\n" + change)
    done = subprocess.run([os.path.join(binaries, "src/bin", "cachee-" + plane), "--config", str(path)],
                          capture_output=True, text=True, timeout=10)
    assert done.returncode not in (0, -6, -11), done
    assert "cachee.yaml:" in done.stderr + done.stdout and word in done.stderr + done.stdout, done


@pytest.mark.quick
def test_port_in_use_is_a_clear_error(make_appliance):
    appliance = make_appliance(start=False)
    with socket.socket() as holder:
        holder.bind(appliance.address)
        holder.listen()
        appliance.start_dataplane()
        code = appliance.dataplane.child.wait(10)
        log = appliance.dataplane.log()
    assert code not in (0, -6, -11), log
    assert str(appliance.address[1]) in log and "in use" in log.lower(), log
    appliance.past.remove(appliance.dataplane)
    appliance.dataplane = None
