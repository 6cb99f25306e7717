# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: made and deleted by the tests that need them, entered by one thread for the moment
in which it creates a socket (a socket belongs for ever to the namespace that it was created in)."""
import contextlib
import ctypes
import os
import subprocess

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@contextlib.contextmanager
def inside(name):
    """The calling thread is in namespace `name` for the length of the block; None: no change."""
    if name is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open("/run/netns/" + name, os.O_RDONLY)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def run(*command, netns=None, check=True):
    prefix = ["ip", "netns", "exec", netns] if netns else []
    done = subprocess.run(prefix + list(command), capture_output=True, text=True, timeout=20)
    if check and done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(prefix + list(command)), done.stderr.strip()))
    return done.stdout


def add(name):
    run("ip", "netns", "add", name)
    run("ip", "link", "set", "lo", "up", netns=name)


def delete(name):
    run("ip", "netns", "delete", name, check=False)


def veth_pair(ns_a, dev_a, ns_b, dev_b):
    """A pair of virtual Ethernet devices without offloads, one end in each namespace, both up."""
    run("ip", "link", "add", dev_a, "netns", ns_a, "type", "veth", "peer", "name", dev_b, "netns", ns_b)
    for namespace, device in ((ns_a, dev_a), (ns_b, dev_b)):
        run("ethtool", "-K", device, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off",
            netns=namespace, check=False)
        run("ip", "link", "set", device, "up", netns=namespace)


def available():
    """An empty text when namespaces can be made, else the reason why not."""
    if os.geteuid() != 0:
        return "needs root"
    name = "cachee-test-probe-%d" % os.getpid()
    try:
        add(name)
    except (RuntimeError, OSError) as error:
        return "no network namespaces: %s" % error
    delete(name)
    return ""
