# SPDX-License-Identifier: Apache-2.0
"""Two appliances in front of one L2, and one appliance beside direct clients: each is `outside` to the other,
and what holds for writes made around an appliance holds for its neighbour's."""
import time

import pytest

from harness.checker import Checker

pytestmark = [pytest.mark.appliance_only]


@pytest.fixture
def pair(make_appliance):
    first = make_appliance()
    return first, make_appliance(l2=first.l2)


@pytest.mark.quick
def test_write_through_one_shows_in_the_other(pair):
    first, second = pair
    with first.connect() as left, second.connect() as right:
        for number in range(100):
            writer, reader = (left, right) if number % 2 else (right, left)
            value = str(number).encode()
            assert writer.call("SET", "shared", value) == b"OK"
            start = time.monotonic()
            while reader.call("GET", "shared") != value:
                assert time.monotonic() - start < 1, "not visible to the neighbour in 1 s"
            assert writer.call("GET", "shared") == value


@pytest.mark.quick
@pytest.mark.bound(60)
def test_checker_over_two_appliances_coherent(pair, seed):
    first, second = pair
    checker = Checker(first.connect, second.connect, seed, outside_writers=2, rare=60)
    checker.for_seconds(3)
    with first.outside() as l2:
        lost = checker.lost_writes(l2)
    checker.assert_clean(first.tail(20) + second.tail(20))
    assert not lost, lost


@pytest.mark.quick
def test_neighbour_stopped_does_not_disturb(pair):
    first, second = pair
    with first.connect() as wire:
        wire.call("SET", "n", "1")
        second.stop()
        assert wire.call("GET", "n") == b"1"
        assert wire.call("SET", "n", "2") == b"OK"
        assert wire.call("GET", "n") == b"2"
