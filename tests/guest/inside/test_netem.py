# SPDX-License-Identifier: Apache-2.0
"""Kernel clients across a network that sch_netem makes bad, in both directions, in front of the appliance with
its L2. The network is a bridge in a namespace of its own; netem sits on both of its ports.

    client namespace ── veth ── [netem] bridge [netem] ── veth, af_xdp ── data plane's namespace

A tap of the data plane gets its bad network from tests/integration/test_kernel_peer.py: both its ends have one
link address, so that a bridge keeps the frames that are meant for the other end."""
import pytest

from harness import netns as namespaces
from harness import scripts, streams
from harness.appliance import Appliance
from harness.compare import Differences

NETEM = {
    "loss": "delay 1ms loss 2%",
    "reorder": "delay 3ms 1ms reorder 10% 50%",  # the jitter reorders, too
    "duplicate": "delay 1ms duplicate 5%",
    "corrupt": "delay 1ms corrupt 2%",
    "all": "delay 1ms 500us loss 1% duplicate 1% corrupt 0.5%",
}
SCRIPT = "strings"


class BehindBridge(Appliance):
    """The appliance with a bridge between it and its clients."""

    def _dpdk(self, config, kind):
        super()._dpdk(config, kind)
        config["tcp"] = {"verify_checksums": True}
        config["workers"].update(idle_spins=100, idle_sleep_us=200)  # two emulated cores for everybody
        self.bridge_netns = self.plane_netns.replace("-dp", "-br")
        self.netns = self.plane_netns.replace("-dp", "-cl")

    def _prepare_network(self):
        if self._own_namespaces:
            return
        for name in dict.fromkeys((self.netns, self.bridge_netns, self.plane_netns)):
            namespaces.add(name)
            self._own_namespaces.append(name)
        namespaces.run("ip", "link", "add", "br0", "type", "bridge", netns=self.bridge_netns)
        namespaces.run("ip", "link", "set", "br0", "up", netns=self.bridge_netns)
        namespaces.veth_pair(self.netns, "vethA", self.bridge_netns, "portA")
        self._join("portA")
        namespaces.run("ip", "address", "add", self._peer_address, "dev", "vethA", netns=self.netns)
        namespaces.veth_pair(self.bridge_netns, "portB", self.plane_netns, "vethB")
        self._join("portB")
        self.ports = ["portA", "portB"]

    def _join(self, port):
        namespaces.run("ip", "link", "set", port, "master", "br0", netns=self.bridge_netns)
        namespaces.run("ip", "link", "set", port, "up", netns=self.bridge_netns)

    def impair(self, netem):
        """Both directions; an empty text: a good network."""
        for port in self.ports:
            namespaces.run("tc", "qdisc", "delete", "dev", port, "root", netns=self.bridge_netns, check=False)
            if netem:
                namespaces.run("tc", "qdisc", "add", "dev", port, "root", "netem", "limit", "2000",
                               *netem.split(), netns=self.bridge_netns)


@pytest.fixture(scope="module")
def servers(make_server):
    return make_server("valkey", name="l2"), make_server("valkey", name="reference")


@pytest.fixture(scope="module")
def appliance(binaries, work_dir, servers):
    made = BehindBridge(binaries, work_dir, "af_xdp", *servers).start(60)
    yield made
    made.impair("")
    made.stop()


@pytest.fixture(params=sorted(NETEM))
def peer(request, appliance):
    appliance.impair("")
    appliance.flush()  # and both sides know the addresses before frames get damaged
    appliance.impair(NETEM[request.param])
    yield appliance
    appliance.impair("")


def test_streams_are_whole_and_replies_those_of_a_plain_server(peer, seed):
    streams.values_of_every_size(peer, seed, (1, 1448, 1449, 60_000))
    streams.megabytes_at_once(peer, seed, clients=2, rounds=1, most=120_000)
    streams.half_close(peer, seed, replies=1)
    differences = Differences(peer, SCRIPT)
    with streams.dial(peer) as front, peer.reference.connect(timeout=30) as wanted:
        steps = scripts.commands(SCRIPT)
        replies = [connection.pipeline_raw([command for _, command in steps]) for connection in (front, wanted)]
        for (how, command), got, reference in zip(steps, *replies):
            differences.check(how, command, got, reference)
        for how, command in steps[:20]:
            differences.check(how, command, front.call_raw(*command), wanted.call_raw(*command))
    differences.report()


def test_sessions_end_when_their_clients_do(appliance):
    appliance.impair(NETEM["loss"])
    streams.many_connections(appliance, clients=5, each=2)
    streams.reset_inside_a_reply(appliance, times=2)
