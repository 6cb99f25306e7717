# SPDX-License-Identifier: Apache-2.0
"""Judges whether two replies are the same, and words a difference so that it can be acted on."""
from .wire import decode, encode

NEAR = 1000  # ms or other integer units that `near` forgives on a busy machine
NEAR_S = 5   # the same in seconds, of replies to TTL


def _shorten(data, most=300):
    text = repr(data)
    return text if len(text) <= most else "%s... (%d bytes)" % (text[:most], len(data))


def _sort_key(value):
    return repr(value)


def same(how, left, right):
    """Whether the raw replies `left` and `right` agree under comparator `how`."""
    if left == right:
        return True
    if how == "exact":
        return False
    if how == "kind":
        return left[:1] == right[:1]
    a, b = decode(left)[0], decode(right)[0]
    if how == "sorted":
        return left[:1] == right[:1] and isinstance(a, list) and isinstance(b, list) and \
            sorted(a, key=_sort_key) == sorted(b, key=_sort_key)
    if how in ("near", "near_s"):
        most = NEAR if how == "near" else NEAR_S
        return isinstance(a, int) and isinstance(b, int) and abs(a - b) <= most and (a < 0) == (b < 0)
    raise ValueError(how)


class Differences:
    """Collects what differed; report() fails with command, both replies and the log."""

    def __init__(self, target, label):
        self.target = target
        self.label = label
        self.found = []
        self.history = []

    def check(self, how, command, got, wanted):
        self.history.append(command)
        if how == "valkey":
            # cachee answers these itself, as Valkey 8.0 does; an older L2 gives another text.
            if getattr(self.target, "driver", "") == "socket-redis7":
                return True
            how = "exact"
        if not same(how, got, wanted):
            before = [_shorten(b" ".join(c), 80) for c in self.history[-6:-1]]
            self.found.append("%s: %s\n      got    %s\n      wanted %s\n      after  %s" % (
                self.label, _shorten(b" ".join(command), 120), _shorten(got), _shorten(wanted),
                ", ".join(before)))
            return False
        return True

    def report(self):
        if self.found:
            shown = "\n".join(self.found[:12])
            raise AssertionError("%d replies differ from the reference server's\n%s\n%s" % (
                len(self.found), shown, self.target.tail(20)))


def shown(command):
    return _shorten(encode(*command), 120)
