# SPDX-License-Identifier: Apache-2.0
"""The DPDK driver on emulated PCI NICs bound to vfio-pci, behind an IOMMU: virtio-net with two queues, e1000e
and vmxnet3 carry every stream whole, and survive the loss of the link."""
import re
import time

import pytest

from harness import streams
from nics import NICS, OnNic, monitor


@pytest.fixture(scope="module", params=sorted(NICS))
def peer(request, machine, binaries, work_dir):
    appliance = OnNic(request.param, binaries, work_dir, "socket", None, None).start(60)
    yield appliance
    appliance.stop()


def test_streams_arrive_whole(peer, seed):
    streams.values_of_every_size(peer, seed, (1, 1448, 1449, 1460, 200_000))
    streams.megabytes_at_once(peer, seed, clients=2, rounds=1, most=200_000)
    streams.pipeline(peer, seed, requests=30)
    total = {name: sum(worker[name] for worker in peer.counters())
             for name in ("drop_checksum", "drop_malformed", "drop_no_buffer")}
    assert total == {"drop_checksum": 0, "drop_malformed": 0, "drop_no_buffer": 0}


def test_segmentation_is_left_to_devices_that_offer_it(peer):
    """Large replies leave in frames far larger than the MTU, and arrive whole. e1000e's driver offers none."""
    with streams.dial(peer) as wire:
        assert wire.call("SET", "tso", b"t" * 400_000) == b"OK"
        before = peer.counters()
        assert wire.call("GET", "tso") == b"t" * 400_000
    frames, size = (sum(after[name] - was[name] for after, was in zip(peer.counters(), before))
                    for name in ("frames_out", "frame_bytes_out"))
    largest = 1600 if peer.nic == "e1000e" else 16384
    assert size / frames <= largest, (frames, size)
    if peer.nic != "e1000e":
        assert size / frames > 1600, "%d bytes left in %d frames" % (size, frames)


def test_large_values_leave_l1_uncopied(peer, seed):
    """The devices read L1 itself, through the IOMMU; what is overwritten meanwhile still arrives as it was."""
    lent = sum(worker["values_lent"] for worker in peer.counters())
    values = [bytes([65 + i]) * (50_000 + i) for i in range(8)]
    with streams.dial(peer) as reader, streams.dial(peer) as writer:
        for value in values:
            assert writer.call("SET", "lent", value) == b"OK"
            for _ in range(10):
                reader.send("GET", "lent")
            replies = [reader.read()]
            assert writer.call("SET", "lent", value[::-1] + b"!") == b"OK"
            replies += [reader.read() for _ in range(9)]
            assert replies[0] == value
            assert set(replies) <= {value, value[::-1] + b"!"}
    lent = sum(worker["values_lent"] for worker in peer.counters()) - lent
    assert lent == 80, peer.tail(20)


def test_connections_come_and_go(peer, seed):
    streams.many_connections(peer, clients=5, each=2)
    streams.half_close(peer, seed, replies=2)
    streams.reset_inside_a_reply(peer, times=2)
    streams.closed_window(peer, seed)


def test_redis_programs_work(peer):
    host = ["-h", peer.address[0], "-p", "6379"]
    assert peer.run("redis-cli", *host, "set", "program", "value") == (0, "OK\n")
    assert peer.run("redis-cli", *host, "get", "program") == (0, "value\n")
    code, output = peer.run("redis-benchmark", *host, "-t", "get,set", "-c", "20", "-n", "2000", "-P", "4", "-q")
    assert code == 0 and "rror" not in output.replace("ERROR: failed to fetch CONFIG", ""), output
    assert set(re.findall(r"(SET|GET): [\d.]+ requests per second", output)) == {"SET", "GET"}, output


def test_link_goes_down_and_comes_back(peer, seed):
    """Both NICs of the wire lose it; a connection survives two seconds of that."""
    with streams.dial(peer) as wire:
        streams.exchange(wire, "link", b"before" * 1000)
        monitor("set_link %s off" % peer.nic)
        wire.send("GET", "link")
        time.sleep(2)
        monitor("set_link %s on" % peer.nic)
        assert wire.read() == b"before" * 1000
        streams.exchange(wire, "link", b"after" * 1000)
