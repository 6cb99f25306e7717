# SPDX-License-Identifier: Apache-2.0
"""Random command streams, compared with a plain server reply by reply, and the data at the end with L2's."""
import random

import pytest

from harness.compare import Differences
from harness.fuzz import Stream, contents

COMMANDS = 4000


def same_contents(target):
    with target.outside() as l2, target.reference.connect() as wanted, target.connect() as front:
        held, reference = contents(l2), contents(wanted)
        through = contents(front)
    for label, found in (("L2", held), ("the target", through)):
        for key in sorted(set(found) | set(reference)):
            got, want = found.get(key), reference.get(key)
            # Absolute deadlines were set a moment apart on the two servers.
            assert (got and got[:2]) == (want and want[:2]), "%s: %r is %r, reference has %r" % (
                label, key, got, want)
            assert got is None or abs(got[2] - want[2]) <= 1, "%s: deadline of %r" % (label, key)


def run_stream(target, seed, burst_max, connections, protocol):
    target.flush()
    stream, shape = Stream(seed), random.Random(seed + 1)
    differences = Differences(target, "stream of seed %d" % seed)
    fronts = [target.connect(protocol=protocol, timeout=20) for _ in range(connections)]
    count = COMMANDS // 4 if target.slow else COMMANDS
    with target.reference.connect(protocol=protocol, timeout=20) as wanted:
        done = 0
        while done < count and len(differences.found) < 5:
            burst = [[word if isinstance(word, bytes) else word.encode() for word in stream.command()]
                     for _ in range(shape.randint(1, burst_max))]
            got = shape.choice(fronts).pipeline_raw(burst)
            reference = wanted.pipeline_raw(burst)
            for command, left, right in zip(burst, got, reference):
                how = "near" if command[0] == b"PEXPIRETIME" else "exact"
                differences.check(how, command, left, right)
            done += len(burst)
    for front in fronts:
        front.close()
    differences.report()
    same_contents(target)


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_stream_one_connection_same_as_reference(target, seed, protocol):
    run_stream(target, seed, burst_max=1, connections=1, protocol=protocol)


@pytest.mark.quick
@pytest.mark.every_driver
@pytest.mark.parametrize("burst_max", [4, 300])
def test_random_pipelines_same_as_reference(target, seed, burst_max):
    run_stream(target, seed, burst_max, connections=1, protocol=2)


@pytest.mark.quick
@pytest.mark.every_driver
def test_random_pipelines_over_many_connections_same_as_reference(target, seed):
    """Each burst is read to its end before another connection sends: read-your-writes across them."""
    run_stream(target, seed, burst_max=10, connections=5, protocol=2)
