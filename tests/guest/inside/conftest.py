# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run inside a guest; started by tests/guest/run, never on a host."""
import os
import pathlib
import random
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/integration"))
sys.path.insert(0, os.path.dirname(__file__))

from harness import streams  # noqa: E402
from harness.processes import Server  # noqa: E402

streams.STALL_SECONDS = 40  # a guest is emulated: everything takes ten times as long


def pytest_collection_modifyitems(items):
    if "GUEST_SHARE" not in os.environ:
        reason = pytest.mark.skip(reason="runs inside a guest: ./tests/guest/run")
        for item in items:
            item.add_marker(reason)


@pytest.fixture(scope="session")
def binaries():
    return os.environ["CACHEE_BUILD_DIR"]


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cachee")


@pytest.fixture(scope="session")
def make_server(work_dir):
    servers = []

    def make(kind, **options):
        servers.append(Server(kind, work_dir, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def seed():
    """Printed with every failure; CACHEE_SEED replays it."""
    value = int(os.environ.get("CACHEE_SEED") or random.SystemRandom().randrange(1 << 32))
    print("seed %d (CACHEE_SEED=%d replays it)" % (value, value))
    return value


@pytest.fixture(scope="session")
def machine():
    """cachee's NICs at vfio-pci, the others in namespaces with an address."""
    import nics
    nics.prepare()
