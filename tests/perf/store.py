# SPDX-License-Identifier: Apache-2.0
"""Benchmark store: L1's GET beside oneTBB's concurrent_hash_map, libcuckoo and RocksDB's LRU cache in one process,
and beside memcached and Valkey over Unix sockets; prints rows.

usage: store.py BUILD_DIR [--json]

Same keys (16 bytes), values (64 bytes), hash function and random order, in turns, one thread; every value is copied out and
the last one checked. Once with keys that fit the processor's caches, once with many more.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = ((10_000, "10,000 keys, in the processor's caches"), (1_000_000, "1,000,000 keys, in memory"))
ROUNDS = 15
GETS = 500_000
MAPS = {"tbb": "oneTBB concurrent_hash_map", "libcuckoo": "libcuckoo", "rocksdb_lru": "RocksDB LRUCache"}
SERVERS = {"memcached": "memcached, Unix socket", "valkey": "Valkey, Unix socket"}


def start(command, path):
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + command, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"store: {command[0]} ended with {process.returncode}")
        if os.path.exists(path):
            return process
        time.sleep(0.05)
    process.kill()
    sys.exit(f"store: {command[0]} did not start")


def key_of(number):
    return b"key:%012d" % number


def memcached_set(number):
    return b"set %s 0 0 64 noreply\r\n%064d\r\n" % (key_of(number), number)


def valkey_set(number):
    return b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$64\r\n%064d\r\n" % (key_of(number), number)


def measure(build, directory):
    paths = {name: os.path.join(directory, name) for name in SERVERS}
    valkey = "valkey-server" if shutil.which("valkey-server") else "redis-server"
    servers = [
        start(["memcached", "-u", "root", "-m", "2048", "-t", "1", "-s", paths["memcached"]], paths["memcached"]),
        start([valkey, "--port", "0", "--unixsocket", paths["valkey"], "--save", "", "--dir", directory],
              paths["valkey"])]
    try:
        results = []
        for keys, what in SIZES:
            fill_memcached(paths["memcached"], keys)
            fill_valkey(paths["valkey"], keys)
            done = subprocess.run([os.path.join(build, "tests/perf/store_bench"), str(keys), str(ROUNDS), str(GETS),
                                   paths["memcached"], paths["valkey"]], stdout=subprocess.PIPE, text=True, check=False,
                                  timeout=300)
            if done.returncode != 0:
                sys.exit("store: store_bench failed")
            results.append((what, json.loads(done.stdout)))
        return results
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)


def fill_memcached(path, keys):
    """It answers none of them: its answer to the last question says that all are done."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        wire.settimeout(60)
        for first in range(0, keys, 1000):
            wire.sendall(b"".join(map(memcached_set, range(first, min(first + 1000, keys)))))
        wire.sendall(b"version\r\n")
        reply = b""
        while b"VERSION" not in reply:
            reply += wire.recv(4096)


def fill_valkey(path, keys):
    """It answers every SET: the answers are read too."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        wire.settimeout(60)
        for first in range(0, keys, 1000):
            count = min(1000, keys - first)
            wire.sendall(b"".join(map(valkey_set, range(first, first + count))))
            left = count * len(b"+OK\r\n")
            while left > 0:
                left -= len(wire.recv(left))


def ratio_row(what, name, peer, ours, theirs, promise):
    ratios = [b / a for a, b in zip(ours, theirs)]
    value = round(statistics.median(ratios), 2)
    return {"what": f"{name}; {what}", "value": value, "unit": "ratio", "promise": promise, "ambition": None,
            "holds": None if promise is None else value >= promise,
            "peer": {"name": peer, "value": round(statistics.median(theirs), 1),
                     "spread": f"{min(theirs):.1f}..{max(theirs):.1f} ns"},
            "spread": f"{min(ratios):.2f}..{max(ratios):.2f} over {len(ratios)} rounds; L1 "
                      f"{statistics.median(ours):.1f} ns ({min(ours):.1f}..{max(ours):.1f})"}


def rows_of(results):
    rows = []
    for what, took in results:
        fastest = min(MAPS, key=lambda name: statistics.median(took[name]))
        for name in MAPS:
            rows.append(ratio_row(what, f"time of a GET, {MAPS[name]} / L1, one at a time", MAPS[name],
                                  took["l1_anyone"], took[name], 1 if name == fastest else None))
        rows.append(ratio_row(what, f"the fastest of them ({MAPS[fastest]}) / L1 in bursts of 32", MAPS[fastest],
                              took["l1_burst"], took[fastest], None))
        rows.append(ratio_row(what, f"the fastest of them ({MAPS[fastest]}) / L1 by its owner", MAPS[fastest],
                              took["l1_owner"], took[fastest], None))
        for name in SERVERS:
            rows.append(ratio_row(what, f"{SERVERS[name]} / L1, one at a time", SERVERS[name], took["l1_anyone"],
                                  took[name], 20))
    return rows


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if not os.path.exists(os.path.join(sys.argv[1], "tests/perf/store_bench")):
        print("store: not built: it needs libtbb-dev, libcuckoo-dev and librocksdb-dev; ./tools/bench store installs "
              "them", file=sys.stderr)
        sys.exit(3)
    with tempfile.TemporaryDirectory() as directory:
        rows = rows_of(measure(sys.argv[1], directory))
    if "--json" in sys.argv[2:]:
        print(json.dumps({"name": "store", "rows": rows}))
        return
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[row["holds"]]
        promise = "" if row["promise"] is None else f"promise {row['promise']}"
        print(f"{row['what']:<{width}}  {row['value']:>8}  {promise:<10} {verdict:<13} {row['spread']}; "
              f"{row['peer']['value']} ns ({row['peer']['spread']})")


main()
