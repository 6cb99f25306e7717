# SPDX-License-Identifier: Apache-2.0
"""The proof that the coherence checker works: it finds nothing wrong with a server alone and with a correct
cache, and it finds each cache that is broken on purpose. The caches are Python, the server is real."""
import pytest

from harness.checker import Checker
from harness.fake_cache import BROKEN, FakeCache, simple_way


@pytest.fixture
def l2(references):
    server = references("valkey")
    with server.connect() as wire:
        wire.call("FLUSHALL")
    return server


def make_checker(cache_address, l2, seed, **options):
    from harness.wire import Wire
    checker = Checker(lambda: Wire(cache_address), l2.connect, seed, keys=12, **options)
    checker._way = simple_way
    return checker


@pytest.mark.quick
def test_checker_server_alone_clean(l2, seed):
    Checker(l2.connect, l2.connect, seed, outside_bound_s=0).for_seconds(1).assert_clean(reads=500)


@pytest.mark.quick
def test_checker_correct_cache_clean(l2, seed):
    cache = FakeCache(l2.address)
    checker = make_checker(cache.address, l2, seed).for_seconds(2)
    cache.close()
    checker.assert_clean(reads=500)


@pytest.mark.quick
@pytest.mark.parametrize("mode", BROKEN)
def test_checker_broken_cache_caught(l2, seed, mode):
    """Rarely written keys show lost invalidations, often written ones show races: a mix has both."""
    cache = FakeCache(l2.address, mode, seed)
    # The bound on outside writes is what shows a lost one: kept short, so that the test is.
    checker = make_checker(cache.address, l2, seed, outside_bound_s=0.3, outside_writers=2, inside_writers=1)
    checker.for_seconds(15, until_violation=True)
    with l2.connect() as wire:
        lost = checker.lost_writes(wire)
    cache.close()
    assert checker.violations or lost, "%s: not caught in %d reads, %d writes" % (
        mode, checker.reads, checker.writes)
