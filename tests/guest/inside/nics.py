# SPDX-License-Identifier: Apache-2.0
"""The PCI NICs of the vfio suite and an appliance on one of them. tests/guest/run gives them their
addresses; the other end of each wire is a NIC that the guest's kernel owns, in a namespace of its own."""
import glob
import json
import os
import pathlib
import subprocess

from harness import netns as namespaces
from harness.appliance import Appliance
from harness.processes import wait_until

# PCI addresses: cachee's NIC and the one at the other end of its wire. The names are the device ids of QEMU.
NICS = {"virtio": ("0000:00:10.0", "0000:00:11.0"), "e1000e": ("0000:00:12.0", "0000:00:13.0"),
        "vmxnet3": ("0000:00:14.0", "0000:00:15.0")}
DEVICES = pathlib.Path("/sys/bus/pci/devices")


def write(path, text):
    pathlib.Path(path).write_text(text)


def bind(address, driver):
    """Gives a PCI device to a kernel driver; "": to none."""
    device = DEVICES / address
    if (device / "driver").exists():
        write(device / "driver/unbind", address)
    write(device / "driver_override", driver or "\n")
    if driver:
        write("/sys/bus/pci/drivers_probe", address)
        assert (device / "driver").resolve().name == driver, "%s was not bound to %s" % (address, driver)


def interface_of(address):
    found = glob.glob("/sys/bus/pci/devices/%s/net/*" % address) + \
        glob.glob("/sys/bus/pci/devices/%s/virtio*/net/*" % address)
    assert found, "the kernel has no interface on " + address
    return os.path.basename(found[0])


def monitor(line):
    """One line for QEMU's monitor, through the host; returns when it was executed."""
    path = pathlib.Path(os.environ["GUEST_SHARE"], "monitor")
    path.with_suffix(".new").write_text(line + "\n")
    path.with_suffix(".new").rename(path)
    wait_until("QEMU has done: " + line, 20, lambda: not path.exists(), every=0.1)


class OnNic(Appliance):
    """The data plane on a PCI NIC; standalone."""

    def __init__(self, nic, *arguments, **options):
        self.nic = nic
        super().__init__(*arguments, **options)

    def _configuration(self):
        config = super()._configuration()
        number = sorted(NICS).index(self.nic) + 1
        self.address = ("198.18.%d.2" % number, 6379)
        self.netns = "cachee-test-" + self.nic
        config["driver"] = "dpdk"
        config["listen"] = {"address": self.address[0], "port": 6379}
        config["dpdk"] = {"device": NICS[self.nic][0], "memory_mib": 160, "mbufs": 4096, "rx_descriptors": 256,
                          "tx_descriptors": 256}
        config["l1"] = {"bytes": 32 << 20, "hugepages": "off"}
        config["workers"] = {"count": 2 if self.nic == "virtio" else 1, "idle_spins": 100,
                             "idle_sleep_us": 200}
        return config

    def counters(self):
        """Per worker."""
        done = subprocess.run([os.path.join(self.build_dir, "tools/cachee/cachee"), "info", "--json", "--instance",
                               self.name], capture_output=True, text=True, timeout=30)
        return [worker["counters"] for worker in json.loads(done.stdout)["workers"]]


def prepare():
    """Kernel modules, cachee's NICs at vfio-pci, the others in namespaces with an address."""
    subprocess.run(["modprobe", "-a", "vfio-pci", "virtio_net"], check=True)
    for number, name in enumerate(sorted(NICS), 1):
        ours, far = NICS[name]
        bind(ours, "vfio-pci")
        interface, netns = interface_of(far), "cachee-test-" + name
        namespaces.add(netns)
        namespaces.run("ip", "link", "set", interface, "netns", netns)
        namespaces.run("ip", "link", "set", interface, "name", "wire0", netns=netns)
        namespaces.run("ip", "address", "add", "198.18.%d.1/24" % number, "dev", "wire0", netns=netns)
        namespaces.run("ip", "link", "set", "wire0", "up", netns=netns)
