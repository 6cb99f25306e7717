# SPDX-License-Identifier: Apache-2.0
"""l1.quotas and l1.eviction through the running appliance: a prefix stays within its share of L1."""
import os
import re
import subprocess

import pytest

pytestmark = [pytest.mark.appliance_only]

SETTINGS = {"l1": {"bytes": "32MiB", "item_bytes_max": "64KiB",
                   "quotas": [{"prefix": "sess:", "bytes": "8MiB"}, {"prefix": "sess:vip:", "bytes": "8MiB"}]}}


def present(wire, prefix, count):
    for i in range(count):
        wire.send("EXISTS", "%s%d" % (prefix, i))
    return sum(wire.read() for _ in range(count))


def put(wire, prefix, count, size=1000):
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        for i in numbers:
            wire.send("SET", "%s%d" % (prefix, i), "v" * size)
        assert all(wire.read() == b"OK" for _ in numbers)


@pytest.mark.quick
@pytest.mark.parametrize("eviction", ["fifo_merge", "s3_fifo"])
def test_prefix_with_a_quota_stays_within_it(make_appliance, eviction):
    settings = {"l1": dict(SETTINGS["l1"], eviction=eviction)}
    appliance = make_appliance("socket", l2=None, settings=settings)
    with appliance.connect() as wire:
        put(wire, "other", 5000)
        put(wire, "sess:vip:", 2000)
        put(wire, "sess:", 30000)
        kept = present(wire, "sess:", 30000)
        assert 4000 < kept * 1.03 <= 8 * 1024, "8 MiB hold some 8,000 values of 1,000 bytes"
        assert present(wire, "other", 5000) == 5000, "others are left alone"
        assert present(wire, "sess:vip:", 2000) == 2000, "a longer prefix has a share of its own"


@pytest.mark.quick
def test_quota_too_small_for_the_store_keeps_it_from_starting(make_appliance, binaries):
    settings = {"l1": {"bytes": "64MiB", "quotas": [{"prefix": "a:", "bytes": "1MiB"}]}}
    appliance = make_appliance("socket", l2=None, settings=settings, start=False)
    done = subprocess.run([os.path.join(str(binaries), "src/bin", "cachee-dataplane"), "--config",
                           appliance.config_path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert re.search(r"l1\.quotas: .a:. has 1048576 bytes a worker, but needs at least 4 segments", done.stderr)
