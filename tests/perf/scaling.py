# SPDX-License-Identifier: Apache-2.0
"""Benchmark scaling: drives scaling_bench under valgrind's lackey and prints rows.

usage: scaling.py BUILD_DIR [--json]

What limits many cores is a cache line that one of them writes and another one needs. Here every load and store of
each worker's polls is traced; a line counts when one worker writes it and another one reads or writes it while the
same GETs are answered. The figure is a count: it repeats itself exactly and does not depend on the machine's cores.
"""

import json
import os
import shutil
import subprocess
import sys

GETS = 1000
# workers, load, what, promise
RUNS = (
    (2, "get", "GETs of values of 64 bytes, keys of all workers", 0),
    (4, "get", "the same", 0),
    (8, "get", "the same", 0),
    (4, "fresh", "the same, while their owners still count hits (every eighth, up to 255 for a key)", None),
    (4, "mixed", "one SET in ten, of any worker's key: what the trace shows when workers do share", None),
    (4, "lent", "GETs of values of 8 KiB, sent from L1 itself: the pins", None),
)


def fail(text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def trace(bench, workers, load):
    """(requests, what was found) of one run; the trace goes through a pipe and is never stored."""
    source, sink = os.pipe()
    traced = subprocess.Popen(["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-fd={sink}", bench, "run",
                               str(workers), str(GETS), load], stdout=subprocess.PIPE, text=True, pass_fds=(sink,))
    os.close(sink)
    analysed = subprocess.Popen([bench, "analyse"], stdin=source, stdout=subprocess.PIPE, text=True)
    os.close(source)
    try:
        said, _ = traced.communicate(timeout=600)
        found, _ = analysed.communicate(timeout=60)
    finally:
        for child in (traced, analysed):
            if child.poll() is None:
                child.kill()
                child.wait()
    if traced.returncode != 0 or analysed.returncode != 0:
        fail(f"the run with {workers} workers ended with {traced.returncode}, its analysis with {analysed.returncode}")
    return json.loads(said), json.loads(found)


def where(line, regions):
    for name, (start, size) in regions.items():
        if start <= line["address"] < start + size:
            return name
    return "heap"


def row(bench, workers, load, what, promise):
    run, found = trace(bench, workers, load)
    if found["accesses"] < 100 * run["requests"]:
        fail("the trace is not one of these requests")
    shared = found["shared"]
    value = round(sum(line["stores"] for line in shared) / run["requests"], 3)
    places = sorted({where(line, run["regions"]) for line in shared})
    return {"what": f"stores per request to lines that another worker touches, {workers} workers: {what}",
            "value": value, "unit": "stores", "promise": promise, "ambition": None,
            "holds": None if promise is None else value <= promise, "peer": None,
            "spread": f"{len(shared)} such lines" + (f" in {', '.join(places)}" if places else "") +
                      f"; {found['accesses']:,} loads and stores on {found['lines']:,} lines, "
                      f"{run['requests']} requests"}


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    bench = os.path.join(sys.argv[1], "tests", "perf", "scaling_bench")
    if not os.access(bench, os.X_OK):
        fail(f"{bench} is missing; build first (./tools/bench scaling does)")
    if shutil.which("valgrind") is None:
        fail("valgrind is not installed; ./tools/setup installs it")
    rows = [row(bench, *run) for run in RUNS]
    if "--json" in sys.argv[2:]:
        print(json.dumps({"name": "scaling", "rows": rows}))
        return
    print(f"scaling: {len(rows)} rows; exact counts")
    for entry in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[entry["holds"]]
        promise = "" if entry["promise"] is None else f"promise {entry['promise']:g}"
        print(f"  {entry['value']:>8g} {entry['unit']:<7} {promise:<10} {verdict:<13}  {entry['what']}")
        print(f"           {entry['spread']}")


main()
