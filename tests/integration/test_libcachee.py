# SPDX-License-Identifier: Apache-2.0
"""libcachee against a running data plane: what it answers and from where, through the Python module and the
examples, built from an installed prefix with pkg-config and with CMake; its ABI; its permissions."""
import ctypes
import grp
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness.processes import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

pytestmark = [pytest.mark.appliance_only]

# What libcachee.so.0 exports and how large its structures are: neither may ever shrink.
SYMBOLS = {"cachee_abi_version", "cachee_attach", "cachee_detach", "cachee_exists", "cachee_get", "cachee_get_into",
           "cachee_get_statistics", "cachee_last_error", "cachee_multi_get", "cachee_status_text", "cachee_ttl",
           "cachee_version"}
SIZES = {"cachee_options": 56, "cachee_value": 32, "cachee_item": 72, "cachee_statistics": 80}


@pytest.fixture(scope="module")
def library(binaries):
    path = os.path.join(binaries, "src/client/libcachee.so.0")
    if b"__asan_init" in subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True).stdout:
        pytest.skip("Python cannot load a library that wants the sanitizer's runtime; the kill tests run it")
    os.environ["CACHEE_LIBRARY"] = path
    return path


@pytest.fixture(scope="module")
def cachee(library):
    import cachee as module
    return module


@pytest.fixture(scope="module", params=["standalone", "l2"])
def front(request, binaries, work_dir, make_server, references):
    from harness.appliance import Appliance
    l2 = make_server("valkey", name="l2-libcachee") if request.param == "l2" else None
    driver = "socket-2w" if l2 else "socket"
    appliance = Appliance(binaries, work_dir, driver, l2, references("valkey")).start()
    yield appliance
    appliance.stop()


def installed(binaries, work_dir):
    """An installed prefix inside a staging directory, made once: (staging directory, prefix)."""
    staging = os.path.join(str(work_dir), "installed")
    if not os.path.exists(staging):
        subprocess.run(["meson", "install", "-C", binaries, "--no-rebuild", "--quiet", "--tags", "libcachee,devel"],
                       check=True, env={**os.environ, "DESTDIR": staging}, capture_output=True)
    for directory, _, names in os.walk(staging):
        if "cachee.h" in names:
            return staging, os.path.dirname(os.path.dirname(directory))
    raise AssertionError("cachee.h was not installed")


def library_directory(prefix):
    for directory, _, names in os.walk(prefix):
        if "libcachee.so.0" in names:
            return directory
    raise AssertionError("libcachee.so.0 was not installed")


def run(command, **options):
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    text = (done.stdout + done.stderr).decode(errors="replace")
    return done.returncode, text


# -- answers -----------------------------------------------------------------------------------------

@pytest.mark.quick
def test_read_after_write_comes_from_l1(front, cachee):
    with front.connect() as wire, cachee.Client(front.name) as client:
        for i in range(50):
            assert wire.call("SET", "lib:%d" % i, "value %d" % i) == b"OK"
        wait_until("all are in L1", 5, lambda: all(
            client.get("lib:%d" % i).source == cachee.FROM_L1 for i in range(50)))
        answers = client.multi_get(["lib:%d" % i for i in range(60)])
        assert [answer.value for answer in answers] == [b"value %d" % i for i in range(50)] + [None] * 10
        assert all(answer.source == cachee.FROM_L1 for answer in answers[:50])
        assert all(answer.source == cachee.FROM_APPLIANCE and answer.status == 1 for answer in answers[50:])
        statistics = client.statistics()
        assert statistics["l1_hits"] >= 50 and statistics["appliance_requests"] >= 10


@pytest.mark.quick
def test_acknowledged_changes_are_seen_at_once(front, cachee):
    with front.connect() as wire, cachee.Client(front.name) as client:
        for i in range(300):
            assert wire.call("SET", "turn", str(i)) == b"OK"
            assert client.get("turn").value == b"%d" % i
            assert client.get("turn").value == b"%d" % i
        wire.call("DEL", "turn")
        assert not client.get("turn")
        wire.call("SET", "turn", "x")
        assert client.exists("turn")
        wire.call("FLUSHALL")
        assert not client.get("turn") and not client.exists("turn") and client.ttl_ms("turn") is None


@pytest.mark.quick
def test_ttl_and_expiry(front, cachee):
    with front.connect() as wire, cachee.Client(front.name) as client:
        wire.call("SET", "short", "v", "PX", "300")
        sent = time.monotonic()
        assert client.get("short").value == b"v"
        assert 0 < client.ttl_ms("short") <= 300
        while client.get("short"):
            assert time.monotonic() < sent + 0.302
        wire.call("SET", "long", "v")
        assert client.ttl_ms("long") == cachee.NO_EXPIRY


def test_keys_and_values_of_any_bytes(front, cachee):
    key, value = bytes(range(256)), bytes(reversed(range(256))) * 500
    with front.connect() as wire, cachee.Client(front.name) as client:
        wire.call("SET", key, value)
        wire.call("SET", "", "of the empty key")
        for _ in range(3):
            assert client.get(key).value == value
            assert client.get(b"").value == b"of the empty key"
            time.sleep(0.02)
        assert client.get(key).source == cachee.FROM_L1


def test_fallback_off_says_miss(front, cachee):
    with cachee.Client(front.name, flags=cachee.NO_FALLBACK) as client:
        found = client.get("surely not there")
        assert (found.status, found.source) == (cachee.MISS, cachee.FROM_NOWHERE)
        assert client.statistics()["appliance_requests"] == 0


def test_other_types_are_named(make_appliance, cachee):
    appliance = make_appliance()
    with appliance.connect() as wire, cachee.Client(appliance.name) as client:
        wire.call("LPUSH", "list", "x")
        with pytest.raises(cachee.CacheeError) as error:
            client.get("list")
        assert error.value.status == -12 and "WRONGTYPE" in str(error.value)


def test_password_for_the_fallback(make_appliance, cachee):
    appliance = make_appliance(l2=None, settings={"listen": {"password": "open sesame"}}, start=False)
    appliance.start_dataplane()
    with cachee.Client(appliance.name, flags=cachee.LAZY, password="open sesame") as client:
        wait_until("it answers", 10, lambda: client.statistics()["attachments"] or client.multi_get(["k"]) and None)
        assert client.get("k").status == cachee.ABSENT
        with cachee.Client(appliance.name) as other:
            with pytest.raises(cachee.CacheeError) as error:
                other.get("k")
            assert error.value.status == -11 and "NOAUTH" in str(error.value)


# -- life and death ----------------------------------------------------------------------------------

def test_stopped_data_plane_is_not_believed(make_appliance, cachee):
    appliance = make_appliance(l2=None)
    with appliance.connect() as wire, cachee.Client(appliance.name, flags=cachee.NO_FALLBACK) as client:
        wire.call("SET", "k", "v")
        assert client.get("k").value == b"v"
        appliance.dataplane.signal(signal.SIGSTOP)
        wait_until("its lease has ended", 2, lambda: not client.get("k"))
        assert client.statistics()["l1_untrusted"] > 0
        appliance.dataplane.signal(signal.SIGCONT)
        wait_until("it vouches again", 2, lambda: client.get("k"))


def test_lost_l2_ends_the_lease(make_appliance, cachee):
    appliance = make_appliance()
    with appliance.connect() as wire, cachee.Client(appliance.name, flags=cachee.NO_FALLBACK) as client:
        wire.call("SET", "k", "v")
        wire.call("GET", "k")
        wait_until("it is in L1", 5, lambda: client.get("k"))
        appliance.l2.process.signal(signal.SIGSTOP)
        wait_until("L1 is not vouched for", 5, lambda: not client.get("k"))
        appliance.l2.process.signal(signal.SIGCONT)
        wait_until("the appliance is back", 10, appliance.serves)
        wire.call("GET", "k")
        wait_until("it is in L1 again", 5, lambda: client.get("k"))


@pytest.mark.parametrize("warm", [True, False])
def test_restart_is_followed_and_leaves_nothing(make_appliance, cachee, warm):
    appliance = make_appliance(l2=None, settings={"l1": {"warm_restart": str(warm).lower()}})
    with cachee.Client(appliance.name) as client:
        for _ in range(3):
            with appliance.connect() as wire:
                wire.call("SET", "k", "v")
            wait_until("L1 is read", 5, lambda: client.get("k").source == cachee.FROM_L1)
            assert appliance.dataplane.terminate(10) == 0
            assert appliance.left_over_files() == []
            with pytest.raises(cachee.CacheeError):
                client.get("k")
            appliance.start_dataplane()
            wait_until("it serves", 10, appliance.serves)
        # An L1 that is taken over is the same file: the mapping is good again with the next lease.
        assert client.statistics()["attachments"] >= (1 if warm else 3)
    with pytest.raises(cachee.CacheeError) as error:
        cachee.Client("no-such-instance")
    assert error.value.status == -3


def test_hits_are_told_to_the_data_plane(make_appliance, cachee):
    appliance = make_appliance(l2=None)
    with appliance.connect() as wire, cachee.Client(appliance.name, hint_every=1) as client:
        wire.call("SET", "k", "v")
        for _ in range(63 * 5):
            assert client.get("k").source == cachee.FROM_L1
        wait_until("the hints were taken", 3, lambda: b"l1_hints:315" in wire.call("INFO"))
        os.truncate("/dev/shm/cachee-%s-hints" % appliance.name, 100)
        for _ in range(63 * 5):
            assert client.get("k")
        time.sleep(0.3)
        assert wire.call("PING") == b"PONG"


# -- permissions -------------------------------------------------------------------------------------

@pytest.mark.skipif(os.geteuid() != 0, reason="changing accounts needs root")
def test_only_the_group_may_read(make_appliance, library):
    group = grp.getgrnam("games")
    appliance = make_appliance(l2=None, settings={"l1": {"readers_group": "games"}})
    for path in (appliance.l1_files()[0], "/dev/shm/cachee-%s-readers" % appliance.name):
        status = os.stat(path)
        assert (status.st_gid, status.st_mode & 0o777) == (group.gr_gid, 0o640)
    status = os.stat("/dev/shm/cachee-%s-hints" % appliance.name)
    assert (status.st_gid, status.st_mode & 0o777) == (group.gr_gid, 0o660)
    code = "import ctypes, sys; lib = ctypes.CDLL(%r); handle = ctypes.c_void_p(); " \
           "sys.exit(-lib.cachee_attach(%r, None, ctypes.byref(handle)))" % (
               "libcachee.so.0", appliance.name.encode())
    # A copy where everybody may read it.
    shared = "/dev/shm/cachee-%s-lib" % appliance.name
    os.makedirs(shared)
    try:
        shutil.copy(library, shared + "/libcachee.so.0")
        for groups, wanted in (("--clear-groups", 4), ("--groups=%d" % group.gr_gid, 0)):
            result, text = run(["setpriv", "--reuid=65534", "--regid=65534", groups, "/usr/bin/python3", "-c", code],
                               env={**os.environ, "LD_LIBRARY_PATH": shared}, cwd="/")
            assert result == wanted, text
    finally:
        shutil.rmtree(shared)


def test_unknown_group_is_an_error_at_start(make_appliance):
    appliance = make_appliance(l2=None, settings={"l1": {"readers_group": "nosuchgroup"}}, start=False)
    appliance.start_dataplane()
    assert appliance.dataplane.child.wait(10) == 1
    assert "there is no group \"nosuchgroup\"" in appliance.dataplane.log()
    appliance.past.clear()
    appliance.dataplane = None


# -- as installed ------------------------------------------------------------------------------------

@pytest.mark.quick
def test_abi_symbols_and_sizes_are_what_was_released(library, cachee):
    _, text = run(["nm", "-D", "--defined-only", library])
    exported = {line.split()[2] for line in text.splitlines() if " T " in line}
    assert exported == {name + "@@CACHEE_0" for name in SYMBOLS}
    _, text = run(["readelf", "-d", library])
    assert "Library soname: [libcachee.so.0]" in text
    structures = {"cachee_options": cachee._Options, "cachee_value": cachee._Value, "cachee_item": cachee._Item,
                  "cachee_statistics": cachee._Statistics}
    assert {name: ctypes.sizeof(structure) for name, structure in structures.items()} == SIZES
    checks = "".join("_Static_assert(sizeof(%s) == %d, \"\");" % item for item in SIZES.items())
    code, text = run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", "c",
                      "-I", str(ROOT / "include"), "-"], input=("#include <cachee/cachee.h>\n" + checks).encode())
    assert code == 0, text


@pytest.fixture(scope="module")
def with_keys(front, cachee):
    with front.connect() as wire, cachee.Client(front.name) as client:
        wire.call("SET", "example", "hello", "EX", "1000")
        wait_until("it is in L1", 5, lambda: client.get("example").source == cachee.FROM_L1)
    return front


def check_examples(directory, prefix, front):
    environment = {**os.environ, "LD_LIBRARY_PATH": library_directory(prefix)}
    code, text = run([os.path.join(directory, "get"), front.name, "example", "nothing"], env=environment)
    assert code == 0, text
    assert "example = hello (L1)" in text and "ms left" in text and "nothing: no such key (appliance)" in text
    code, text = run([os.path.join(directory, "multi_get"), front.name, "example", "nothing"], env=environment)
    assert code == 0 and "1 from L1, 0 from the appliance, 2 keys" in text, text
    for program in ("get", "multi_get"):
        code, text = run([os.path.join(directory, program), "no-such-instance", "k"], env=environment)
        assert code == 1 and "no data plane of instance" in text


def test_examples_with_pkg_config(with_keys, binaries, work_dir, tmp_path):
    staging, prefix = installed(binaries, work_dir)
    environment = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": staging,
                   "PKG_CONFIG_PATH": library_directory(prefix) + "/pkgconfig"}
    code, flags = run(["pkg-config", "--cflags", "--libs", "cachee"], env=environment)
    assert code == 0, flags
    for compiler, source in ((["cc", "-std=c11"], "get.c"), (["c++", "-std=c++20"], "multi_get.cpp")):
        program = tmp_path / source.split(".")[0]
        code, text = run(compiler + ["-Wall", "-Wextra", "-Werror", str(ROOT / "examples" / source), "-o",
                                     str(program)] + flags.split())
        assert code == 0, text
    check_examples(str(tmp_path), prefix, with_keys)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_examples_with_cmake(with_keys, binaries, work_dir, tmp_path):
    _, prefix = installed(binaries, work_dir)
    for command in (["cmake", "-S", str(ROOT / "examples"), "-B", str(tmp_path), "-DCMAKE_PREFIX_PATH=" + prefix],
                    ["cmake", "--build", str(tmp_path)]):
        code, text = run(command)
        assert code == 0, text
    check_examples(str(tmp_path), prefix, with_keys)


@pytest.mark.quick
def test_example_in_python(with_keys, library):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    code, text = run(["/usr/bin/python3", str(ROOT / "examples/read.py"), with_keys.name, "example", "nothing"],
                     env=environment)
    assert code == 0 and "example = b'hello' (L1)" in text and "nothing = None (appliance)" in text, text
