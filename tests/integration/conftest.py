# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: the appliance in front of a real Valkey (or Redis), one per driver.

    /usr/bin/python3 -m pytest tests/integration -m quick
    /usr/bin/python3 -m pytest tests/integration --target plain      # proves the tests themselves
    /usr/bin/python3 -m pytest tests/integration --drivers socket,af_xdp -k coherence

CACHEE_BUILD_DIR names the build directory (default: build/ at the root of the repository); CACHEE_SEED
replays a random test."""
import os
import pathlib
import random
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import netns as namespaces  # noqa: E402
from harness.appliance import DRIVERS, Appliance, Plain  # noqa: E402
from harness.processes import Server  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_DRIVER = "none"
QUICK_DRIVERS = ("socket", "sim")


def pytest_addoption(parser):
    parser.addoption("--target", choices=("cachee", "plain"), default="cachee",
                     help="plain: a Valkey server in place of the appliance")
    parser.addoption("--drivers", default=",".join(DRIVERS), help="which drivers, separated by commas")


def pytest_generate_tests(metafunc):
    if "target" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("drivers").split(",")
        every = metafunc.definition.get_closest_marker("every_driver") is not None
        names = [name for name in DRIVERS if name in chosen and (every or name == "socket")]
        if metafunc.config.getoption("target") == "plain":
            names = [name for name in names if name.startswith("socket")]
        # No driver for this test: pytest_collection_modifyitems takes it out.
        names = names or [NO_DRIVER]
        metafunc.parametrize("target", names, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """`quick` holds on the quick drivers only; the rest of a quick test's drivers is the full set."""
    plain = config.getoption("target") == "plain"
    none = [item for item in items if getattr(item, "callspec", None) and
            item.callspec.params.get("target") == NO_DRIVER]
    config.hook.pytest_deselected(items=none)
    items[:] = [item for item in items if item not in none]
    for item in items:
        if plain and item.get_closest_marker("appliance_only"):
            item.add_marker(pytest.mark.skip(reason="needs the appliance, target is plain"))
        driver = getattr(item, "callspec", None) and item.callspec.params.get("target")
        if driver and driver not in QUICK_DRIVERS:
            item.own_markers = [mark for mark in item.own_markers if mark.name != "quick"]
            item.keywords._markers.pop("quick", None)


class TooLong(BaseException):
    """Not an Exception: nothing in a test may swallow it."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    mark = item.get_closest_marker("bound")
    seconds = mark.args[0] if mark else 60

    def expired(signum, frame):
        raise TooLong("%s took longer than %d s" % (item.nodeid, seconds))

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds + 20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for name in ("target", "make_appliance"):
        subject = getattr(item, "funcargs", {}).get(name)
        if subject is not None:
            report.sections.append(("last log lines", subject.tail(20)))


def build_dir():
    return os.environ.get("CACHEE_BUILD_DIR") or str(ROOT / "build")


@pytest.fixture(scope="session")
def binaries():
    path = os.path.abspath(build_dir())
    for plane in ("dataplane", "controlplane"):
        binary = os.path.join(path, "src/bin", "cachee-" + plane)
        if not os.access(binary, os.X_OK):
            pytest.fail("%s is not there: build it or set CACHEE_BUILD_DIR" % binary)
    return path


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cachee")


@pytest.fixture(scope="session")
def make_server(work_dir):
    """Starts L2 or reference servers; all are ended when the session ends."""
    servers = []

    def make(kind="valkey", **options):
        servers.append(Server(kind, work_dir, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def references(make_server):
    """One plain server per kind, for comparison."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = make_server(kind, name="reference-" + kind)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def target(request, work_dir, make_server, references):
    """The appliance (or, with --target plain, a Valkey) for one driver, shared by many tests."""
    driver = request.param
    kind = "redis" if driver.endswith("redis7") else "valkey"
    if driver in ("tap", "af_xdp"):
        reason = namespaces.available()
        if reason:
            pytest.skip(reason)
    l2 = make_server(kind, name="l2-" + driver)
    if request.config.getoption("target") == "plain":
        yield Plain(l2, references(kind), driver)
        return
    path = request.getfixturevalue("binaries")
    appliance = Appliance(path, work_dir, driver, l2, references(kind)).start()
    yield appliance
    appliance.stop()


@pytest.fixture
def make_appliance(request, binaries, work_dir, make_server, references):
    """Appliances of a test's own, for tests that break them: make(driver, l2=..., settings=...)."""
    made = []

    def make(driver="socket", l2="valkey", settings=None, start=True):
        if isinstance(l2, str):
            l2 = make_server(l2, name="l2-own")
        appliance = Appliance(binaries, work_dir, driver, l2, references("valkey"), settings)
        made.append(appliance)
        return appliance.start() if start else appliance

    make.tail = lambda lines: "\n".join(appliance.tail(lines) for appliance in made)
    yield make
    problems = []
    for appliance in made:
        try:
            appliance.stop()
        except AssertionError as error:
            problems.append(str(error))
        if appliance.l2:
            appliance.l2.stop()
    assert not problems, "\n".join(problems)


@pytest.fixture
def seed():
    """Printed with every failure; CACHEE_SEED replays it."""
    value = int(os.environ.get("CACHEE_SEED") or random.SystemRandom().randrange(1 << 32))
    print("seed %d (CACHEE_SEED=%d replays it)" % (value, value))
    return value
