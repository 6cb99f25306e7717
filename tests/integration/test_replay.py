# SPDX-License-Identifier: Apache-2.0
"""A piece of a real access trace through the appliance, with the values verified by `cachee replay`."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACES = ["web_nasa0701", "web_semicomplete", "lirs_gli", "twsyn_c7"]


def trace(name):
    directory = pathlib.Path(os.environ.get("CACHEE_TRACES") or ROOT.parent / "shared" / "traces")
    path = directory / (name + ".csv.zst")
    if not path.exists():
        pytest.skip("no trace %s (CACHEE_TRACES names the folder)" % path)
    return path


def head_of(path, lines, directory):
    """The first `lines` requests, decompressed."""
    out = directory / "part.csv"
    with open(out, "wb") as file:
        reader = subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE)
        for _, line in zip(range(lines), reader.stdout):
            file.write(line)
        reader.stdout.close()
        reader.wait(10)
    return out


@pytest.mark.quick
@pytest.mark.appliance_only
@pytest.mark.parametrize("way,pipeline", [("through L2", "1"), ("cache-aside", "16")])
@pytest.mark.parametrize("name", TRACES)
def test_trace_replayed_and_verified(target, binaries, tmp_path, name, way, pipeline):
    target.flush()
    part = head_of(trace(name), 5000, tmp_path)
    cli = os.path.join(binaries, "tools/cachee/cachee")
    if not os.access(cli, os.X_OK):
        pytest.fail("%s is not there: build it" % cli)
    options = ["--target", "%s:%d" % target.address, "--verify", "--pipeline", pipeline]
    if way == "through L2":
        options += ["--through-l2", "%s:%d" % target.l2.address]
    else:
        options += ["--cache-aside"]
    code, output = target.run(cli, "replay", str(part), *options, timeout=50)
    assert code == 0, output + target.tail(20)
    print(output)
