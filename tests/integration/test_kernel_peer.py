# SPDX-License-Identifier: Apache-2.0
"""The Linux kernel's TCP as the peer of ours, over a bad wire: whatever is lost, overtaken, repeated or
damaged, both byte streams arrive whole and nothing stalls. The wire is drivers/sim/impaired_port.h between
the DPDK port (net_tap, net_af_xdp) and the stack; the client is this host's kernel in a namespace of its
own, where its TCP can be told to do without SACK, timestamps or window scaling. Standalone: no L2, so that
only TCP is in the way."""
import time

import pytest

from harness import netns as namespaces
from harness import streams
from harness.appliance import Appliance

pytestmark = [pytest.mark.appliance_only, pytest.mark.bound(90)]

WIRES = {
    "clean": {},
    "lossy": {"loss": 0.02, "delay_us": 500},
    "shuffled": {"reordering": 0.1, "duplication": 0.05, "delay_us": 200, "jitter_us": 300},
    "damaged": {"corruption": 0.02, "delay_us": 200},
    "narrow": {"rate_mbit": 100, "delay_us": 1000, "frames_max": 64},
    "long": {"loss": 0.002, "delay_us": 10000},
    "all": {"loss": 0.01, "reordering": 0.03, "duplication": 0.02, "corruption": 0.01, "delay_us": 300,
            "jitter_us": 200, "rate_mbit": 400, "frames_max": 256},
}
DEVICES = ("tap", "af_xdp")
PEERS = ["tap-" + wire for wire in WIRES] + ["af_xdp-clean", "af_xdp-all"]


@pytest.fixture(scope="module")
def appliances(binaries, work_dir, pytestconfig):
    """get(device, wire): one appliance at a time, for each polls a core."""
    reason = namespaces.available()
    if reason:
        pytest.skip(reason)
    made = {}

    def get(device, wire):
        if device not in pytestconfig.getoption("drivers").split(","):
            pytest.skip("driver %s is not among --drivers" % device)
        if (device, wire) not in made:
            while made:
                made.popitem()[1].stop()
            # A damaged frame is to be found out; the pair's ends leave no checksum unfinished.
            settings = {"impairment": {"enabled": bool(WIRES[wire]), **WIRES[wire]},
                        "tcp": {"verify_checksums": True}}
            made[device, wire] = Appliance(binaries, work_dir, device, None, None, settings).start(30)
        return made[device, wire]

    yield get
    while made:
        made.popitem()[1].stop()


@pytest.fixture(scope="module", params=PEERS)
def peer(request, appliances):
    return appliances(*request.param.split("-"))


@pytest.fixture(scope="module")
def badly_connected(appliances):
    """One device: what the kernel's TCP does or leaves out does not depend on it."""
    return appliances("tap", "all")


def test_values_of_every_size_arrive_whole(peer, seed):
    streams.values_of_every_size(peer, seed)


def test_several_clients_move_megabytes_at_once(peer, seed):
    streams.megabytes_at_once(peer, seed)


def test_pipelined_replies_arrive_in_order_and_whole(peer, seed):
    streams.pipeline(peer, seed)


def test_many_connections_open_and_close(peer):
    streams.many_connections(peer)


def test_half_closed_client_gets_all_its_replies(peer, seed):
    streams.half_close(peer, seed)


def test_reset_inside_a_reply_leaves_nothing(peer):
    streams.reset_inside_a_reply(peer)


def test_closed_window_opens_again_and_nothing_is_lost(peer, seed):
    streams.closed_window(peer, seed)


KERNEL_OPTIONS = {
    "no_sack": {"tcp_sack": 0},
    "no_timestamps": {"tcp_timestamps": 0},
    "no_window_scaling": {"tcp_window_scaling": 0},
    "nothing": {"tcp_sack": 0, "tcp_timestamps": 0, "tcp_window_scaling": 0},
    "ecn": {"tcp_ecn": 1},
    "no_dsack": {"tcp_dsack": 0},
    "no_rack": {"tcp_recovery": 0, "tcp_early_retrans": 0},
    "as_in_2001": {"tcp_sack": 0, "tcp_timestamps": 0, "tcp_recovery": 0, "tcp_frto": 0, "tcp_early_retrans": 0},
}


def sysctl(peer, values):
    """Sets keys of the client's kernel; what they were."""
    before = {}
    for name, value in values.items():
        before[name] = namespaces.run("sysctl", "-n", "net.ipv4." + name, netns=peer.netns).strip()
        namespaces.run("sysctl", "-qw", "net.ipv4.%s=%s" % (name, value), netns=peer.netns)
    return before


@pytest.mark.parametrize("name", sorted(KERNEL_OPTIONS))
def test_kernel_without_options_is_served(badly_connected, name, seed):
    before = sysctl(badly_connected, KERNEL_OPTIONS[name])
    try:
        streams.megabytes_at_once(badly_connected, seed, clients=3, rounds=1)
    finally:
        sysctl(badly_connected, before)


@pytest.mark.parametrize("name", ["cubic", "reno", "bbr"])
def test_kernel_with_this_congestion_control_is_served(badly_connected, name, seed):
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as names:
        if name not in names.read().split():
            pytest.skip("this kernel has no congestion control " + name)
    streams.megabytes_at_once(badly_connected, seed, clients=2, rounds=1, most=900_000, congestion_control=name)


@pytest.mark.parametrize("device", DEVICES)
def test_wire_delays_and_is_announced(appliances, device):
    peer = appliances(device, "long")
    assert "impairment.enabled" in peer.dataplane.log()
    with streams.dial(peer) as wire:
        times = []
        for _ in range(7):
            start = time.monotonic()
            wire.call("PING")
            times.append(time.monotonic() - start)
    assert 0.020 <= sorted(times)[3] < 0.060, times
