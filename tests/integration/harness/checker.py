# SPDX-License-Identifier: Apache-2.0
"""The coherence checker: writers give every key strictly growing versions, readers judge what they see.

One writer at a time owns a key (a lock), so that the order of versions is the order of writes:

    writer   started[k] = v  ->  write to the target or to L2  ->  acknowledgement  ->  acked[k] = v
    reader   floor = max(acked[k], what this connection saw of k)  ->  GET k  ->  floor <= version <= started[k]

A write made around the target (outside) counts as acknowledged only `outside_bound_s` after its reply.
A deletion is a version too: a missing key is right when some deletion lies between floor and started.
Every judgement uses values noted before the request was sent: a slow thread cannot cause a false alarm."""
import bisect
import random
import threading
import time

from .wire import Closed, Error


class Violation(str):
    pass


class Key:
    """History of one key; fields are written under `lock`, read by readers without it (each is one
    reference, and they only grow)."""

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()
        self.started = 0
        self.acked = 0
        self.outside = []          # [(time of acknowledgement, version)], growing
        self.story = []            # the last writes: (version, where, how)
        self.deletions = []        # versions that are deletions, growing

    def floor(self, now, outside_bound_s):
        acked = self.acked
        outside = self.outside
        at = bisect.bisect_right(outside, (now - outside_bound_s, 1 << 60))
        return max(acked, outside[at - 1][1]) if at else acked


class Checker:
    """run() starts the threads and returns; stop() ends them; `violations` says what was wrong."""

    def __init__(self, connect_inside, connect_outside, seed, keys=24, hot=4, rare=150, outside_bound_s=1.0,
                 inside_writers=2, outside_writers=1, readers=4, values=(10, 100, 2000), prefix="cohere",
                 tolerate_errors=False, deletes=True, other_lane=0.0):
        self.connect = {"inside": connect_inside, "outside": connect_outside}
        self.seed = seed
        self.prefix = prefix
        # Hot keys show races; rarely written ones show what was lost and never made good.
        self.keys = [Key("%s:%d" % (prefix, i)) for i in range(keys + rare)]
        self.often = keys
        self.hot = hot
        self.bound = outside_bound_s
        self.counts = {"inside": inside_writers, "outside": outside_writers, "reader": readers}
        self.value_sizes = values
        self.tolerate_errors = tolerate_errors
        self.deletes = deletes
        # How many of the reads go to L2 as another command does (GETRANGE). They may show a write before its
        # keys are known (EVAL, MULTI) or its push has come (outside): those writes are left out then.
        self.other_lane = other_lane
        assert not other_lane or not outside_writers
        # After a write without an answer the key rests (its lock is held): the write may still be on its
        # way to L2, and must not land on top of the next version.
        self.grace_s = 0.3
        self.violations = []
        self.failures = []
        self.reads = self.writes = self.errors = 0
        self._stop = threading.Event()
        self._threads = []

    # -- life --------------------------------------------------------------------------------------

    def run(self):
        for where in ("inside", "outside"):
            for number in range(self.counts[where]):
                self._spawn(self._writer, where, number)
        for number in range(self.counts["reader"]):
            self._spawn(self._reader, "inside", number)
        return self

    def _spawn(self, body, where, number):
        thread = threading.Thread(target=self._guarded, args=(body, where, number), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guarded(self, body, where, number):
        chooser = random.Random("%d %s %s %d" % (self.seed, body.__name__, where, number))
        while not self._stop.is_set():
            try:
                with self.connect[where]() as wire:
                    body(wire, chooser, where)
            except (OSError, Closed) as error:
                if not self.tolerate_errors and not self._stop.is_set():
                    self.failures.append("%s: %r" % (body.__name__, error))
                    return
                self.errors += 1
                time.sleep(0.01)
            except Exception as error:  # noqa: BLE001 - anything else is a defect and is reported
                self.failures.append("%s: %r" % (body.__name__, error))
                return

    def stop(self, seconds=30):
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds)
            if thread.is_alive():
                self.failures.append("a client did not get an answer in %d s" % seconds)

    def for_seconds(self, seconds, until_violation=False):
        self.run()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (until_violation and self.violations):
            time.sleep(0.02)
        self.stop()
        return self

    def assert_clean(self, tail="", reads=50):
        summary = "%d reads, %d writes, %d errors" % (self.reads, self.writes, self.errors)
        assert not self.violations, "%d violations (%s):\n%s\n%s" % (
            len(self.violations), summary, "\n".join(self.violations[:10]), tail)
        assert not self.failures, "%s\n%s\n%s" % (summary, "\n".join(self.failures[:5]), tail)
        assert self.reads >= reads and self.writes >= reads // 10, "too little happened: " + summary

    # -- writers -----------------------------------------------------------------------------------

    def _pick(self, chooser, rarely=0.06):
        if self.often < len(self.keys) and chooser.random() < rarely:
            return self.keys[chooser.randrange(self.often, len(self.keys))]
        return self.keys[chooser.randrange(self.hot if chooser.random() < 0.6 else self.often)]

    def _writer(self, wire, chooser, where):
        while not self._stop.is_set():
            key = self._pick(chooser)
            with key.lock:
                self._write_one(wire, chooser, where, key)
            if chooser.random() < 0.3:
                time.sleep(chooser.random() * 0.004)

    def _write_one(self, wire, chooser, where, key):
        version = key.started + 1
        deletes = self.deletes and chooser.random() < 0.1
        if deletes:
            key.deletions = key.deletions + [version]
        key.started = version
        key.story = key.story[-4:] + [[version, where, "del" if deletes else "?"]]
        value = b"%d:" % version + b"x" * chooser.choice(self.value_sizes)
        try:
            way = self._declared_way if self.other_lane else self._way
            reply = way(wire, chooser, key.name, value, deletes, key.story[-1])
        except (OSError, Closed):
            time.sleep(self.grace_s)
            raise
        if isinstance(reply, Error):
            if not self.tolerate_errors:
                self.failures.append("write of %s: %s" % (key.name, reply))
            self.errors += 1
            time.sleep(self.grace_s)
            return
        self.writes += 1
        if where == "inside":
            key.acked = version
        else:
            key.outside = key.outside[-50:] + [(time.monotonic(), version)]

    @staticmethod
    def _way(wire, chooser, name, value, deletes, note):
        """Writes in one of many ways, tells which in note[2]; the last reply."""
        if deletes:
            way = chooser.randrange(4)
            note[2] = ["EVAL del", "DEL", "UNLINK", "PEXPIRE -1"][way]
            if way == 0:
                return wire.call("EVAL", "return redis.call('del',ARGV[1])", "0", name)
            return wire.call(*(["DEL", name], ["UNLINK", name], ["PEXPIRE", name, "-1"])[way - 1])
        way = chooser.randrange(10)
        note[2] = (["EVAL set", "MULTI set", "GETSET", "MSET", "SET PX"] + ["SET"] * 5)[way]
        if way == 0:
            return wire.call("EVAL", "redis.call('set',ARGV[1],ARGV[2]) return 1", "0", name, value)
        if way == 1:
            wire.send("MULTI")
            wire.send("SET", name, value)
            wire.send("EXEC")
            replies = [wire.read(), wire.read(), wire.read()]
            return next((reply for reply in replies if isinstance(reply, Error)), replies[-1])
        if way == 2:
            return wire.call("GETSET", name, value)
        if way == 3:
            return wire.call("MSET", name, value)
        if way == 4:
            return wire.call("SET", name, value, "PX", "100000")
        return wire.call("SET", name, value)

    @staticmethod
    def _declared_way(wire, chooser, name, value, deletes, note):
        ways = (["DEL", name], ["UNLINK", name]) if deletes else (
            ["SET", name, value], ["GETSET", name, value], ["MSET", name, value], ["SET", name, value, "GET"])
        command = ways[chooser.randrange(len(ways))]
        note[2] = command[0]
        return wire.call(*command)

    # -- readers -----------------------------------------------------------------------------------

    def _reader(self, wire, chooser, where):
        seen = {}
        while not self._stop.is_set():
            keys = [self._pick(chooser, 0.5)]
            if chooser.random() < 0.15:
                keys += [self._pick(chooser, 0.5), self._pick(chooser, 0.5)]
            now = time.monotonic()
            noted = [(key.acked, seen.get(key.name, 0)) for key in keys]
            floors = [max(key.floor(now, self.bound), seen.get(key.name, 0)) for key in keys]
            how = "GET" if len(keys) == 1 else "MGET"
            if len(keys) == 1 and chooser.random() < self.other_lane:
                how = "GETRANGE"
                replies = [wire.call("GETRANGE", keys[0].name, "0", "-1") or None]
            elif len(keys) == 1:
                replies = [wire.call("GET", keys[0].name)]
            else:
                replies = wire.call("MGET", *[key.name for key in keys])
            if isinstance(replies, Error) or any(isinstance(reply, Error) for reply in replies):
                if not self.tolerate_errors:
                    self.failures.append("read: %s" % replies)
                self.errors += 1
                time.sleep(0.002)
                continue
            for key, floor, reply, known in zip(keys, floors, replies, noted):
                self.reads += 1
                self._judge(key, floor, reply, seen, "%s by %s, acked %d, seen here %d, writes %s" % (
                    "answered after %.1f ms" % ((time.monotonic() - now) * 1e3), how, *known, key.story))

    def _judge(self, key, floor, reply, seen, circumstances):
        started = key.started
        if reply is None:
            deletions = key.deletions
            at = bisect.bisect_left(deletions, floor)
            if floor == 0:
                return
            if at < len(deletions) and deletions[at] <= started:
                seen[key.name] = deletions[at]
                return
            self._violation(key, "missing, though version %d had been acknowledged or seen; %s" % (
                floor, circumstances))
            return
        version = int(reply.split(b":", 1)[0])
        if version < floor:
            self._violation(key, "version %d after %d was acknowledged or seen by this connection; %s" % (
                version, floor, circumstances))
        elif version > started or version in key.deletions:
            self._violation(key, "version %d, which nobody has written" % version)
        seen[key.name] = max(version, seen.get(key.name, 0))

    def _violation(self, key, text):
        self.violations.append(Violation("%s: %s" % (key.name, text)))

    # -- afterwards --------------------------------------------------------------------------------

    def lost_writes(self, l2):
        """Acknowledged versions that L2 does not have any more (nor a later one)."""
        lost = []
        for key in self.keys:
            value = l2.call("GET", key.name)
            floor = key.floor(time.monotonic(), 0)
            if value is None:
                if floor and not any(version >= floor for version in key.deletions):
                    lost.append("%s: missing, %d was acknowledged" % (key.name, floor))
            elif int(value.split(b":", 1)[0]) < floor:
                lost.append("%s: version %s, %d was acknowledged" % (key.name, value[:12], floor))
        return lost
