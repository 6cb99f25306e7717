# SPDX-License-Identifier: Apache-2.0
"""Data planes of their own on emulated PCI NICs: sessions spread by RSS, start and stop, and what the driver says
when it cannot have the device."""
import re
import subprocess

import pytest

from harness import streams
from nics import NICS, OnNic, bind


@pytest.fixture
def make(machine, binaries, work_dir):
    """make(nic, settings): an appliance that is not started."""
    made = []

    def one(nic, settings=None):
        made.append(OnNic(nic, binaries, work_dir, "socket", None, None, settings))
        return made[-1]

    yield one
    for appliance in made:
        if appliance.dataplane and appliance.dataplane.alive:
            appliance.stop()


def requests_of(appliance):
    return [worker["requests"] for worker in appliance.counters()]


def test_rss_spreads_sessions_and_flows_stay(make):
    """Two workers on virtio-net: the device hashes, each worker sees whole connections only."""
    appliance = make("virtio").start(60)
    wires = [streams.dial(appliance) for _ in range(24)]
    for number, wire in enumerate(wires):
        streams.exchange(wire, "rss:%d" % number, b"%d" % number * 500)
    opened = [worker["sessions_opened"] for worker in appliance.counters()]
    assert min(opened) >= 4, "sessions per worker: %s" % opened
    for wire in wires[:5]:
        before = requests_of(appliance)
        for _ in range(10):
            assert wire.call("PING") == b"PONG"
        grown = [after - was for was, after in zip(before, requests_of(appliance))]
        assert sorted(grown) == [0, 10], "requests of one connection per worker: %s" % grown
    for worker in appliance.counters():
        assert worker["drop_no_listener"] == 0 and worker["tcp_resets_out"] == 0, worker
    for wire in wires:
        wire.close()
    assert "no RSS" not in appliance.dataplane.log(), appliance.tail()
    appliance.stop()


@pytest.mark.parametrize("nic", sorted(NICS))
def test_start_and_stop_again_and_again(make, nic):
    for _ in range(2):
        appliance = make(nic).start(60)  # until a GET is answered
        appliance.stop()  # asserts exit code 0 and that nothing is left


def refusal(appliance):
    """What the data plane says when it does not start."""
    appliance.start_dataplane()
    assert appliance.dataplane.child.wait(40) == 1, appliance.tail()
    return appliance.dataplane.log()


def test_more_workers_than_queues_is_refused(make):
    text = refusal(make("virtio", {"workers": {"count": 3}}))
    assert "dpdk.device 0000:00:10.0 has 2 queue pairs, 3 workers need one each" in text, text
    assert "mq=on" in text and "workers.count" in text, text


def test_device_that_the_kernel_holds_is_refused(make):
    """Bound to its kernel driver: the error says which, and how to bind it to vfio-pci."""
    address = NICS["e1000e"][0]
    subprocess.run(["modprobe", "e1000e"], check=True)
    bind(address, "e1000e")
    try:
        text = refusal(make("e1000e"))
    finally:
        bind(address, "vfio-pci")
    assert "dpdk.device " + address in text and "kernel driver e1000e" in text, text
    assert "dpdk-devbind.py --bind=vfio-pci " + address in text, text


def test_device_that_is_not_there_is_refused(make):
    text = refusal(make("e1000e", {"dpdk": {"device": "0000:00:1f.7"}}))
    assert "dpdk.device 0000:00:1f.7" in text and "no PCI device" in text, text


def test_too_few_hugepages_is_refused(make):
    text = refusal(make("e1000e", {"dpdk": {"memory_mib": 4096}}))
    assert "hugepages" in text and "vm.nr_hugepages" in text, text
