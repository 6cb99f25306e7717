# SPDX-License-Identifier: Apache-2.0
"""Readers of L1 in processes of their own while data planes, control planes, writers and readers are killed:
no value is torn, older than an acknowledged write or DEL, or past its deadline.

CACHEE_KILLS sets how many processes are killed in each test (40)."""
import json
import os
import random
import subprocess
import time

import pytest

from harness.processes import Process, wait_until

pytestmark = [pytest.mark.appliance_only]

KILLS = int(os.environ.get("CACHEE_KILLS", "40"))
NO_FALLBACK = 1


class Stress:
    """A writer and some readers around one appliance, and the board on which they count."""

    def __init__(self, appliance, binaries, directory, seed):
        self.appliance = appliance
        self.chooser = random.Random(seed)
        self.program = os.path.join(binaries, "tests/unit/client/libcachee_stress")
        self.directory = directory
        self.board = os.path.join("/dev/shm", "cachee-board-" + appliance.name)
        self.serial = 0
        self.writer = None
        self.readers = []

    def start(self, *arguments):
        self.serial += 1
        log = os.path.join(str(self.directory), "stress-%d.log" % self.serial)
        return Process("stress", [self.program, arguments[0], self.board] + list(arguments[1:]), log)

    def start_writer(self):
        # Numbers begin anew with each writer, so that one lives as long as the test does.
        address = "%s:%d" % self.appliance.address
        self.writer = self.start("write", address, str(self.chooser.randrange(1 << 30)))

    def start_reader(self, fallback):
        flags = 0 if fallback else NO_FALLBACK
        return self.start("read", self.appliance.name, str(self.chooser.randrange(1 << 30)), str(flags)), fallback

    def counts(self):
        text = subprocess.run([self.program, "show", self.board], check=True, capture_output=True, timeout=10).stdout
        return json.loads(text)

    def kill_reader(self):
        at = self.chooser.randrange(len(self.readers))
        process, fallback = self.readers[at]
        assert process.alive, "a reader ended by itself: %s\n%s" % (process.child.returncode, process.tail())
        process.kill()
        self.readers[at] = self.start_reader(fallback)

    def kill_dataplane(self):
        self.appliance.kill_dataplane()
        time.sleep(self.chooser.random() * 0.02)
        self.appliance.start_dataplane()
        wait_until("it serves again", 20, self.appliance.serves)

    def kill_controlplane(self):
        self.appliance.kill_controlplane()
        self.appliance.start_controlplane()
        wait_until("it serves again", 20, self.appliance.serves)

    def run(self, kinds):
        self.start_writer()
        self.readers = [self.start_reader(fallback) for fallback in (False, True, False)]
        for _ in range(KILLS):
            time.sleep(self.chooser.random() * 0.06)
            self.chooser.choice(kinds)()
        before = self.counts()
        wait_until("L1 is read again", 10, lambda: self.counts()["from_l1"] > before["from_l1"] + 100)
        wait_until("writes go on", 10, lambda: self.counts()["writes"] > before["writes"] + 20)
        return self.counts()

    def stop(self):
        for process in [self.writer] + [reader for reader, _ in self.readers]:
            if process is not None and process.alive:
                process.kill()
        if os.path.exists(self.board):
            os.unlink(self.board)


def check(stress, kinds):
    try:
        counts = stress.run(kinds)
    finally:
        stress.stop()
    print("%d kills: %s" % (KILLS, counts))
    assert {name: counts[name] for name in ("torn", "stale", "expired", "foreign")} == {
        "torn": 0, "stale": 0, "expired": 0, "foreign": 0}, counts
    assert counts["from_l1"] > 1000 and counts["writes"] > 100, counts
    assert counts["from_appliance"] + counts["absent"] > 10, counts


@pytest.mark.quick
@pytest.mark.bound(60 + 2 * KILLS)
def test_kills_standalone_nothing_torn_stale_or_expired(make_appliance, binaries, work_dir, seed):
    appliance = make_appliance(l2=None)
    stress = Stress(appliance, binaries, work_dir, seed)
    check(stress, [stress.kill_dataplane, stress.kill_reader])


@pytest.mark.bound(60 + 3 * KILLS)
def test_kills_in_front_of_l2_nothing_torn_stale_or_expired(make_appliance, binaries, work_dir, seed):
    appliance = make_appliance(driver="socket-2w")
    stress = Stress(appliance, binaries, work_dir, seed)
    check(stress, [stress.kill_dataplane, stress.kill_reader, stress.kill_reader, stress.kill_controlplane])
