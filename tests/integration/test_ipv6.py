# SPDX-License-Identifier: Apache-2.0
"""cachee's own TCP/IP with the Linux kernel at the other end, over IPv6, a VLAN, and both: neighbour
discovery, echo, the configured and the link-local address, what the appliance says of its clients."""
import re

import pytest

from harness import netns as namespaces
from harness.processes import wait_until

pytestmark = [pytest.mark.appliance_only]

OURS, PEERS = "fd00:ca:c4ee::2", "fd00:ca:c4ee::1"
DEVICES = {"tap": "cacheetap", "af_xdp": "vethA"}


def own_hardware_address(appliance, device):
    """net_tap gives both ends one hardware address, and so one link-local address."""
    namespaces.run("ip", "link", "set", device, "address", "02:00:00:00:00:77", netns=appliance.netns)


@pytest.fixture(params=["tap", "af_xdp"])
def dual(request, make_appliance):
    """An appliance with an IPv6 address, and the client's end of the link with one of the same prefix."""
    reason = namespaces.available()
    if reason:
        pytest.skip(reason)
    appliance = make_appliance(request.param, settings={"ip": {"ipv6": True, "ipv6_addresses": [OURS + "/64"]}})
    appliance.device = DEVICES[request.param]
    ours = appliance.device if request.param == "tap" else "vethB"
    appliance.link_local = link_local(hardware_address(appliance.plane_netns, ours))
    if request.param == "tap":
        own_hardware_address(appliance, appliance.device)
    namespaces.run("ip", "address", "add", PEERS + "/64", "dev", appliance.device, "nodad", netns=appliance.netns)
    return appliance


def cli(appliance, host, *command):
    code, output = appliance.run("timeout", "10", "redis-cli", "-h", host, "-p", "6379", *command)
    assert code == 0, output
    return output.strip()


def hardware_address(netns, device):
    text = namespaces.run("ip", "-o", "link", "show", device, netns=netns)
    return [int(byte, 16) for byte in re.search(r"link/ether (\S+)", text).group(1).split(":")]


def link_local(mac):
    """RFC 4291, appendix A."""
    bytes_ = [mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]]
    return "fe80::" + ":".join("%02x%02x" % pair for pair in zip(bytes_[::2], bytes_[1::2]))


def test_redis_cli_over_ipv6(dual):
    assert cli(dual, OURS, "PING") == "PONG"
    assert cli(dual, OURS, "SET", "six", "v6") == "OK"
    assert cli(dual, dual.address[0], "GET", "six") == "v6", "the same appliance over IPv4"
    big = "x" * 100_000
    assert cli(dual, OURS, "SET", "big", big) == "OK"
    assert cli(dual, OURS, "GET", "big") == big
    assert re.search(r"addr=\[%s\]:\d+ " % PEERS, cli(dual, OURS, "CLIENT", "LIST"))


def test_ping_over_ipv6(dual):
    code, output = dual.run("ping", "-6", "-c", "3", "-i", "0.2", "-W", "2", "-s", "1000", OURS)
    assert code == 0, output


def test_link_local_address(dual):
    if dual.driver == "tap":
        pytest.skip("the kernel's end of a tap device has had the same link-local address from the start")
    host = dual.link_local + "%" + dual.device
    assert cli(dual, host, "PING") == "PONG"
    code, output = dual.run("ping", "-6", "-c", "2", "-i", "0.2", "-W", "2", "ff02::1%" + dual.device)
    assert code == 0, output


def test_many_connections_over_ipv6(dual):
    code, output = dual.run("timeout", "50", "redis-benchmark", "-h", OURS, "-p", "6379", "-t", "set,get",
                            "-n", "2000", "-c", "50", "-d", "3000", "-q")
    assert code == 0, output
    assert "GET:" in output.replace("\r", "\n"), output


@pytest.mark.parametrize("host", ["198.18.251.2", OURS])
def test_vlan(make_appliance, host):
    """A tagged link: the kernel's end is a VLAN device over the tap device."""
    reason = namespaces.available()
    if reason:
        pytest.skip(reason)
    appliance = make_appliance("tap", start=False, settings={
        "listen": {"address": "198.18.251.2"},
        "ip": {"vlan_id": 42, "ipv6": True, "ipv6_addresses": [OURS + "/64"]}})
    appliance.start_dataplane()
    appliance.start_controlplane()
    run = lambda *command: namespaces.run(*command, netns=appliance.netns)  # noqa: E731
    own_hardware_address(appliance, "cacheetap")
    try:
        run("ip", "link", "add", "link", "cacheetap", "name", "tagged", "type", "vlan", "id", "42")
    except RuntimeError as error:
        pytest.skip("this kernel has no VLAN devices: %s" % error)
    run("ip", "link", "set", "tagged", "up")
    run("ip", "address", "add", "198.18.251.1/30", "dev", "tagged")
    run("ip", "address", "add", PEERS + "/64", "dev", "tagged", "nodad")
    wait_until("the appliance answers in its VLAN", 20,
               lambda: appliance.run("timeout", "2", "redis-cli", "-h", host, "GET", "none")[0] == 0 and
               cli(appliance, host, "PING") == "PONG")
    big = "y" * 100_000
    assert cli(appliance, host, "SET", "big", big) == "OK"
    assert cli(appliance, host, "GET", "big") == big
