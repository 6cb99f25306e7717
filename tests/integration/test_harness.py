# SPDX-License-Identifier: Apache-2.0
"""The proof of the harness: its RESP reader, its comparisons, and that a plane which ends badly is noticed.
The planes here are small shell scripts, nothing of the project runs."""
import os
import time

import pytest

from harness.appliance import Appliance, to_yaml
from harness.compare import same
from harness.processes import wait_until
from harness.wire import Error, decode, encode, reply_end

REPLIES = [
    (b"+OK\r\n", b"OK"), (b"-ERR x\r\n", Error("ERR x")), (b":-5\r\n", -5), (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$-1\r\n", None), (b"$0\r\n\r\n", b""), (b"*-1\r\n", None), (b"*0\r\n", []), (b"_\r\n", None),
    (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]), (b"%1\r\n+a\r\n:1\r\n", {b"a": 1}), (b"#t\r\n", True),
    (b",1.5\r\n", 1.5), (b"~2\r\n:1\r\n:2\r\n", [1, 2]), (b"=7\r\ntxt:abc\r\n", b"txt:abc"),
    (b">2\r\n+a\r\n$1\r\nb\r\n", [b"a", b"b"]), (b"(123456789012345678901\r\n", 123456789012345678901),
]


@pytest.mark.quick
@pytest.mark.parametrize("raw,value", REPLIES)
def test_reply_is_whole_at_its_last_byte_and_decoded(raw, value):
    for at in range(len(raw)):
        assert reply_end(raw[:at], 0) is None
    assert reply_end(raw + b"+next\r\n", 0) == len(raw)
    assert decode(raw) == (value, len(raw))


@pytest.mark.quick
def test_comparators_forgive_only_what_they_say():
    assert same("exact", b":1\r\n", b":1\r\n") and not same("exact", b":1\r\n", b":2\r\n")
    assert same("near", b":1\r\n", b":90\r\n") and not same("near", b":-1\r\n", b":90\r\n")
    assert not same("near", b":1\r\n", b":5000\r\n") and not same("near", b":1\r\n", b"+1\r\n")
    assert same("near_s", b":100\r\n", b":99\r\n") and not same("near_s", b":100\r\n", b":90\r\n")
    assert not same("near_s", b":1\r\n", b":-1\r\n")
    one, two = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"
    assert same("sorted", one, two) and not same("exact", one, two)
    assert not same("sorted", one, b"*1\r\n$1\r\na\r\n") and not same("sorted", one, b"~" + two[1:])
    assert same("kind", b"$1\r\na\r\n", b"$2\r\nab\r\n") and not same("kind", b"$1\r\na\r\n", b"$-1\r\n"[:0])


def fake_plane(directory, name, body):
    path = os.path.join(str(directory), "src", "bin", "cachee-" + name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("#!/bin/bash\n" + body)
    os.chmod(path, 0o755)


GOOD = "trap 'exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n"


@pytest.mark.quick
@pytest.mark.parametrize("body,complaint", [
    (GOOD, None),
    (GOOD.replace("exit 0", "exit 3"), "exit code 3"),
    (GOOD.replace("echo ready", "echo 'ERROR: AddressSanitizer: heap-use-after-free'; echo ready"),
     "AddressSanitizer"),
    (GOOD.replace("echo ready", "touch /dev/shm/cachee-NAME-control; echo ready"), "left behind"),
    ("echo ready; kill -SEGV $$\n", "had ended before: -11"),
])
def test_plane_that_ends_badly_is_noticed(tmp_path, body, complaint):
    fake_plane(tmp_path, "dataplane", "echo")
    fake_plane(tmp_path, "controlplane", GOOD)
    appliance = Appliance(str(tmp_path), tmp_path, "socket", None, None)
    fake_plane(tmp_path, "dataplane", body.replace("NAME", appliance.name))
    appliance.start_dataplane()
    appliance.start_controlplane()
    for plane in (appliance.dataplane, appliance.controlplane):
        wait_until("the plane started", 5, lambda plane=plane: "ready" in plane.log())
    time.sleep(0.05)
    if complaint is None:
        appliance.stop()
    else:
        with pytest.raises(AssertionError, match=complaint):
            appliance.stop()
    assert appliance.left_over_files() == []


@pytest.mark.quick
def test_configuration_is_written_as_yaml():
    tree = {"a": {"b": 1, "c": "text here"}, "d": "word", "e": True, "f": [1, 2], "g": ""}
    assert to_yaml(tree) == ["a:", "  b: 1", '  c: "text here"', "d: word", "e: true", "f: [1, 2]", 'g: ""']
    assert encode("a", b"b", 1) == b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\n1\r\n"
