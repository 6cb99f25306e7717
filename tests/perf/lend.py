# SPDX-License-Identifier: Apache-2.0
"""Benchmark `lend`: cycles of a GET by size of the value, lent / copied, from large_values_bench.

usage: lend.py PROGRAM [--json]
"""
import json
import subprocess
import sys

ROUNDS = 15
# listen.lend_bytes_min: from here on lending has to be worth it.
DEFAULT_BYTES = 8192


def main():
    done = subprocess.run([sys.argv[1], str(ROUNDS)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    sizes = json.loads(done.stdout)["sizes"]
    rows = []
    for size in sizes:
        promised = size["bytes"] >= DEFAULT_BYTES
        rows.append({"what": f"cycles of a GET of {size['bytes'] // 1024} KiB, lent / copied",
                     "value": size["ratio"], "unit": "ratio", "promise": 1 if promised else None,
                     "ambition": 0.5 if promised else None,
                     "holds": size["high"] < 1 if promised else None,
                     "peer": {"lent": size["lent"], "copied": size["copied"], "unit": "cycles"},
                     "spread": [size["low"], size["high"]]})
    if "--json" in sys.argv[2:]:
        print(json.dumps({"name": "lend", "rows": rows}))
        return
    print(f"{'value':>9} {'copied':>10} {'lent':>10} {'ratio':>7}  {'quartiles':<14} (cycles; below 1 is better)")
    for size, row in zip(sizes, rows):
        verdict = "" if row["holds"] is None else "holds" if row["holds"] else "does NOT hold"
        print(f"{size['bytes'] // 1024:>5} KiB {size['copied']:>10.0f} {size['lent']:>10.0f} "
              f"{size['ratio']:>7.2f}  {size['low']:.2f} .. {size['high']:.2f}   {verdict}")


main()
