# SPDX-License-Identifier: Apache-2.0
"""Benchmarks p4 and p6: drives request_cost_bench (and redis-server beside it) and prints rows.

usage: request_cost.py p4|p6 BUILD_DIR [--json]
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3


def fail(text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done


def collected(text):
    """The total of the last 'Collected : N' line that callgrind prints."""
    found = re.findall(r"Collected\s*:\s*(\d+)", text)
    if not found:
        fail("callgrind printed no total")
    return int(found[-1])


def callgrind(directory, *options):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", *options]


def our_instructions(bench, connections, pipeline, few, many):
    """Instructions per request: the slope between two lengths, so that warming up cancels out."""
    totals = []
    with tempfile.TemporaryDirectory() as directory:
        for requests in (few, many):
            done = run(callgrind(directory, "--toggle-collect=*Worker::poll_once*") +
                       [bench, "count", str(connections), str(requests), str(pipeline)])
            totals.append((collected(done.stderr), json.loads(done.stdout)["total_requests"]))
    (first, n1), (second, n2) = totals
    return (second - first) / (n2 - n1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def redis_total(directory, requests):
    """All user instructions of a redis-server that answered `requests` GETs of 64 bytes from 50 clients."""
    port = free_port()
    server = subprocess.Popen(
        callgrind(directory) + ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                "--appendonly", "no", "--dir", directory],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    fail("redis-server did not start under callgrind")
                time.sleep(0.1)
        run(["redis-cli", "-p", str(port), "set", "key:000000000001", "v" * 64])
        run(["redis-benchmark", "-p", str(port), "-c", "50", "-n", str(requests), "-q",
             "get", "key:000000000001"])
        subprocess.run(["redis-cli", "-p", str(port), "shutdown", "nosave"], capture_output=True, timeout=30)
        _, errors = server.communicate(timeout=60)
        return collected(errors)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def redis_instructions(few, many):
    with tempfile.TemporaryDirectory() as directory:
        return (redis_total(directory, many) - redis_total(directory, few)) / (many - few)


def row(what, value, unit, promise, ambition, peer=None, spread=None):
    return {"what": what, "value": value, "unit": unit, "promise": promise, "ambition": ambition,
            "holds": value <= promise, "peer": peer, "spread": spread}


def measure_p4(bench):
    for tool in ("valgrind", "redis-server", "redis-benchmark"):
        if shutil.which(tool) is None:
            fail(f"{tool} is not installed; ./tools/setup installs it")
    ours, one, deep, redis = [], [], [], []
    for _ in range(ROUNDS):  # interleaved
        ours.append(our_instructions(bench, 50, 1, 2000, 12000))
        redis.append(redis_instructions(2000, 8000))
    one.append(our_instructions(bench, 1, 1, 500, 2500))
    deep.append(our_instructions(bench, 50, 16, 8000, 24000))
    spread = f"{min(ours):.0f}..{max(ours):.0f} over {ROUNDS} runs"
    peer = {"name": "redis-server (process only, without the kernel's TCP)",
            "value": round(statistics.median(redis)),
            "spread": f"{min(redis):.0f}..{max(redis):.0f} over {ROUNDS} runs"}
    unit = "user instructions"
    return [
        row("GET, 50 connections, no pipelining, link in memory: Ethernet, IP, TCP, RESP, L1 and reply",
            round(statistics.median(ours)), unit, 1200, 700, peer, spread),
        row("the same, one connection (one request per poll)", round(one[0]), unit, 1200, 700),
        row("the same, 50 connections, pipeline of 16", round(deep[0]), unit, 1200, 700),
    ]


def measure_p6(bench):
    done = json.loads(run([bench, "audit", "50", "1000000", "1"]).stdout)
    deep = json.loads(run([bench, "audit", "50", "1000000", "16"]).stdout)
    rows = []
    for name, unit in (("system_calls", "calls"), ("allocations", "calls"), ("locks", "calls")):
        for result, shape in ((done, "no pipelining"), (deep, "pipeline of 16")):
            rows.append(row(f"{name.replace('_', ' ')} per GET that L1 answers, {shape} "
                            f"({result['requests']} requests)",
                            result[name] / result["requests"], unit, 0, None))
    return rows


def print_table(name, rows):
    print(f"{name}: {len(rows)} rows")
    for entry in rows:
        verdict = "holds" if entry["holds"] else "DOES NOT HOLD"
        print(f"  {entry['value']:>8,} {entry['unit']:<18} promise {entry['promise']:>6,}  {verdict:<13}  "
              f"{entry['what']}")
        if entry["spread"]:
            print(f"           spread {entry['spread']}")
        if entry["peer"]:
            print(f"  {entry['peer']['value']:>8,} {entry['unit']:<18} {entry['peer']['name']}, "
                  f"{entry['peer']['spread']}; ratio {entry['peer']['value'] / entry['value']:.1f}")


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("p4", "p6"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    name, build = sys.argv[1], sys.argv[2]
    bench = os.path.join(build, "tests", "perf", "request_cost_bench")
    if not os.access(bench, os.X_OK):
        fail(f"{bench} is missing; build first (./tools/bench {name} does)")
    rows = measure_p4(bench) if name == "p4" else measure_p6(bench)
    if "--json" in sys.argv[3:]:
        print(json.dumps({"name": name, "rows": rows}))
    else:
        print_table(name, rows)
    sys.exit(0)


main()
