# SPDX-License-Identifier: Apache-2.0
"""L1 gets another size while it runs: the configuration is changed, SIGHUP applies it."""
import os
import re
import signal

import pytest

from harness.appliance import free_hugepages
from harness.processes import wait_until

pytestmark = [pytest.mark.appliance_only]

MIB = 1 << 20
VALUE = b"v" * 1000


def set_l1(appliance, **values):
    """Changes keys of the section l1 in the file, as an operator's editor would."""
    with open(appliance.config_path) as file:
        text = file.read()
    for key, value in values.items():
        text, changed = re.subn(r"(?m)^(\s+%s: ).*$" % key, r"\g<1>%s" % value, text)
        assert changed == 1, text
    with open(appliance.config_path, "w") as file:
        file.write(text)


def reload(appliance, *expected):
    """SIGHUP; waits for what the log has to say."""
    before = len(appliance.dataplane.log())
    os.kill(appliance.dataplane.pid, signal.SIGHUP)
    for text in expected:
        wait_until("the log says " + text, 15, lambda: text in appliance.dataplane.log()[before:])


def memory_of(appliance):
    with appliance.connect() as wire:
        info = wire.call("INFO", "memory")
    return int(re.search(rb"maxmemory:(\d+)", info).group(1))


def fill(wire, count, prefix=b"key"):
    for first in range(0, count, 500):
        for number in range(first, first + 500):
            wire.send("SET", b"%s:%d" % (prefix, number), VALUE)
        for _ in range(500):
            assert wire.read() == b"OK"


def present(wire, count, prefix=b"key"):
    there = 0
    for first in range(0, count, 500):
        for number in range(first, first + 500):
            wire.send("GET", b"%s:%d" % (prefix, number))
        for _ in range(500):
            value = wire.read()
            assert value in (None, VALUE)
            there += value is not None
    return there


def test_grows_and_shrinks_under_load(make_appliance):
    appliance = make_appliance(l2=None, settings={"l1": {"bytes": 64 * MIB, "bytes_max": 160 * MIB}})
    path = appliance.l1_files()[0]
    with appliance.connect() as wire:
        fill(wire, 20000)
        assert present(wire, 20000) == 20000
        set_l1(appliance, bytes=160 * MIB)
        reload(appliance, "l1.bytes: 64MiB -> 160MiB", "L1 has 160 MiB now")
        assert memory_of(appliance) == 160 * MIB
        assert wire.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"%d" % (160 * MIB)]
        fill(wire, 100000)
        assert present(wire, 100000) == 100000
        assert os.stat(path).st_blocks * 512 > 150 * MIB
        set_l1(appliance, bytes=64 * MIB)
        reload(appliance, "L1 has 64 MiB now")
        assert 20000 < present(wire, 100000) < 62000
        assert os.stat(path).st_blocks * 512 < 72 * MIB
        fill(wire, 1000, b"new")
        assert present(wire, 1000, b"new") == 1000


def test_what_cannot_be_done_is_said_and_changes_nothing(make_appliance):
    appliance = make_appliance(l2=None, settings={"l1": {"bytes": 64 * MIB, "bytes_max": 96 * MIB}})
    reload(appliance, "the configuration is the same")
    set_l1(appliance, bytes=4 * MIB)
    reload(appliance, "L1 keeps its size: L1 can have ")
    set_l1(appliance, bytes="128MiB")
    reload(appliance, "l1.bytes_max: is less than l1.bytes", "nothing was changed, the configuration has mistakes")
    set_l1(appliance, bytes="80MiB", bytes_max="112MiB")
    reload(appliance, "l1.bytes_max: 96MiB -> 112MiB is not done while it runs: restart for it", "L1 has 80 MiB now")
    assert memory_of(appliance) == 80 * MIB


@pytest.mark.skipif(not 100 <= free_hugepages() < 560, reason="wants 100 to 560 free hugepages")
def test_more_hugepages_than_there_are_is_said(make_appliance):
    appliance = make_appliance(l2=None, settings={"l1": {"bytes": 160 * MIB, "bytes_max": 1200 * MIB}})
    free = free_hugepages()
    set_l1(appliance, bytes=1200 * MIB)
    reload(appliance, "L1 keeps its size: not enough free hugepages")
    assert free_hugepages() == free, "what could not be completed was not given back"
    with appliance.connect() as wire:
        fill(wire, 1000)
        assert present(wire, 1000) == 1000


def test_size_for_good_says_what_to_set(make_appliance):
    appliance = make_appliance(l2=None, settings={"l1": {"bytes": 64 * MIB}})
    set_l1(appliance, bytes=80 * MIB)
    reload(appliance, "L1 keeps its size: l1.bytes_max was not set when the data plane started")
    assert memory_of(appliance) == 64 * MIB
