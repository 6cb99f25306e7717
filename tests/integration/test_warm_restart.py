# SPDX-License-Identifier: Apache-2.0
"""A data plane that comes back finds its L1 as it left it: what did not change is hit without a word to L2,
what changed meanwhile, through the appliance or around it, is never seen again in its old form.
CACHEE_RESTARTS=<number> restarts so often under load (default 4)."""
import mmap
import os
import re
import signal
import time

import pytest

from harness.checker import Checker
from harness.processes import wait_until
from harness.wire import Closed, Error

pytestmark = [pytest.mark.appliance_only]
RESTARTS = int(os.environ.get("CACHEE_RESTARTS", "4"))


def gets_at(l2):
    """How many GETs L2 has executed."""
    found = re.search(rb"cmdstat_get:calls=(\d+)", l2.call("INFO", "commandstats"))
    return int(found.group(1)) if found else 0


def end(appliance, how):
    if how == signal.SIGTERM:
        assert appliance.dataplane.terminate(10) == 0, appliance.tail()
    else:
        appliance.kill_dataplane()


def warm(wire, names):
    """Reads every key until L1 has it: a second round asks L2 for none."""
    for name in names:
        wire.call("GET", name)


def leased(appliance, wire, name):
    """L1 answers again: reads of one key do not reach L2."""
    def hit():
        with appliance.outside() as l2:
            before = gets_at(l2)
            wire.call("GET", name)
            return gets_at(l2) == before
    wait_until("L1 is trusted again\n" + appliance.tail(), 5, hit)


@pytest.mark.quick
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("driver", ["socket", "socket-2w"])
def test_unchanged_keys_are_hit_and_changed_ones_are_not_stale(make_appliance, driver, how):
    appliance = make_appliance(driver)
    names = ["key:%d" % i for i in range(600)]
    with appliance.connect() as wire, appliance.outside() as l2:
        for name in names:
            assert wire.call("SET", name, "old " + name) == b"OK"
        warm(wire, names)
        before = gets_at(l2)
        warm(wire, names)
        assert gets_at(l2) == before, "L1 does not hold them before the restart"
    end(appliance, how)
    changed = names[::6]
    with appliance.outside() as l2:
        for name in changed[::2]:
            l2.call("SET", name, "new " + name)
        for name in changed[1::2]:
            l2.call("DEL", name)
    appliance.start_dataplane()
    appliance.wait_serving(10)
    assert "L1 is kept: 600 items" in appliance.dataplane.log(), appliance.tail()
    with appliance.connect() as wire, appliance.outside() as l2:
        leased(appliance, wire, names[1])
        before = gets_at(l2)
        for name in names:
            if name not in changed:
                assert wire.call("GET", name) == b"old " + name.encode()
        assert gets_at(l2) == before, "unchanged keys were asked of L2\n" + appliance.tail()
        for i, name in enumerate(changed):
            assert wire.call("GET", name) == (None if i % 2 else b"new " + name.encode()), name
    assert "goes on: %d keys changed" % len(changed) in appliance.controlplane.log(), appliance.tail()


@pytest.mark.quick
def test_flush_while_the_data_plane_is_down_leaves_nothing(make_appliance):
    appliance = make_appliance()
    with appliance.connect() as wire:
        wire.call("SET", "a", "1")
        wire.call("GET", "a")
    appliance.kill_dataplane()
    time.sleep(0.3)
    with appliance.outside() as l2:
        l2.call("FLUSHALL")
    appliance.start_dataplane()
    appliance.wait_serving(10)
    with appliance.connect() as wire:
        assert wire.call("GET", "a") is None
    assert "L1 is kept: 1 items" in appliance.dataplane.log(), appliance.tail()


@pytest.mark.quick
def test_both_planes_killed_nothing_old_is_trusted(make_appliance):
    appliance = make_appliance()
    with appliance.connect() as wire:
        wire.call("SET", "a", "old")
        wire.call("GET", "a")
    appliance.kill_dataplane()
    appliance.kill_controlplane()
    with appliance.outside() as l2:
        l2.call("SET", "a", "new")
    appliance.start_dataplane()
    appliance.start_controlplane()
    appliance.wait_serving(10)
    with appliance.connect() as wire:
        assert wire.call("GET", "a") == b"new"


@pytest.mark.quick
@pytest.mark.parametrize("change,reason", [
    ("--cold", "L1 starts empty, as it was asked to"),
    ("l1", "has 64 MiB where 32 are configured"),
    ("torn", "its header is torn")])
def test_cold_starts_say_why_and_are_empty(make_appliance, change, reason):
    appliance = make_appliance()
    with appliance.connect() as wire:
        wire.call("SET", "a", "old")
        wire.call("GET", "a")
    appliance.kill_dataplane()
    arguments = []
    if change == "--cold":
        arguments = ["--cold"]
    elif change == "torn":
        # hugetlbfs takes no write().
        with open(appliance.l1_files()[0], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:8] = bytes(8)
    else:
        with open(appliance.config_path) as file:
            text = file.read()
        with open(appliance.config_path, "w") as file:
            file.write(text.replace(str(64 << 20), str(32 << 20)))
    appliance.start_dataplane(*arguments)
    appliance.wait_serving(10)
    assert appliance.dataplane.log().count("L1 starts empty") == 1, appliance.tail()
    assert reason in appliance.dataplane.log(), appliance.tail()
    with appliance.connect() as wire:
        assert wire.call("GET", "a") == b"old"


@pytest.mark.quick
def test_warm_restart_off_leaves_no_file(make_appliance):
    appliance = make_appliance(settings={"l1": {"warm_restart": "false"}})
    assert appliance.l1_files()
    assert appliance.dataplane.terminate(10) == 0
    assert not appliance.l1_files()


@pytest.mark.quick
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_standalone_keeps_everything_acknowledged(make_appliance, how):
    """Killed under writes: whatever was acknowledged is there, with its time to live."""
    appliance = make_appliance(l2=None)
    acknowledged = {}
    with appliance.connect() as wire:
        for i in range(3000):
            wire.send("SET", "k%d" % (i % 700), "v%d" % i, *(("EX", "1000") if i % 3 == 0 else ()))
        for i in range(3000):
            assert wire.read() == b"OK"
            acknowledged["k%d" % (i % 700)] = (b"v%d" % i, i % 3 == 0)
        for i in range(0, 700, 7):
            wire.call("DEL", "k%d" % i)
            del acknowledged["k%d" % i]
        for i in range(3000, 3400):
            wire.send("SET", "k%d" % (i % 700), "v%d" % i)
        end(appliance, how)
        try:
            for i in range(3000, 3400):
                if wire.read() != b"OK":
                    break
                acknowledged["k%d" % (i % 700)] = (b"v%d" % i, False)
        except (OSError, Closed, AssertionError):
            pass
    appliance.start_dataplane()
    appliance.wait_serving(10)
    with appliance.connect() as wire:
        for name, (value, expires) in acknowledged.items():
            reply = wire.call("GET", name)
            later = reply is not None and 3000 <= int(reply[1:]) < 3400  # written, its word lost with the wire
            assert reply == value or later, (name, reply, value)
            if not later:
                assert (900 < wire.call("TTL", name) <= 1000) == expires, name


@pytest.mark.bound(60 + 5 * RESTARTS)
@pytest.mark.quick
def test_restarts_under_load_show_nothing_stale(make_appliance, seed):
    appliance = make_appliance("socket-2w")
    checker = Checker(lambda: appliance.connect(timeout=8), lambda: appliance.l2.connect(timeout=8), seed,
                      keys=16, rare=120, readers=3, tolerate_errors=True, outside_bound_s=1.0).run()
    for round_number in range(RESTARTS):
        time.sleep(0.25)
        end(appliance, signal.SIGKILL if round_number % 3 else signal.SIGTERM)
        time.sleep(0.3 * (round_number % 2))
        appliance.start_dataplane()
        appliance.wait_serving(15)
    checker.stop()
    appliance.wait_serving(5)
    with appliance.outside() as l2:
        lost = checker.lost_writes(l2)
    checker.assert_clean(appliance.tail(20), reads=100)
    assert not lost, "\n".join(lost)
    time.sleep(0.3)
    with appliance.outside() as l2, appliance.connect() as wire:
        for key in checker.keys:
            for _ in range(2):
                assert wire.call("GET", key.name) == l2.call("GET", key.name), key.name
    assert appliance.controlplane.log().count("goes on") >= RESTARTS // 2, appliance.controlplane.log()
