# SPDX-License-Identifier: Apache-2.0
"""Prints the rows of p1.sh, p2.sh, p3.sh and attach.sh as JSON or as a table.

l1_rows.py p1 FORMAT GETS GET_INSTRUCTIONS FOREIGN_INSTRUCTIONS FIND_INSTRUCTIONS LINES_FILE
l1_rows.py p2|p3|attach FORMAT ROWS_FILE
"""

import json
import sys


def row(what, value, unit, promise=None, ambition=None, spread=None):
    holds = None if promise is None else value <= promise
    return {"what": what, "value": value, "unit": unit, "promise": promise,
            "ambition": ambition, "holds": holds, "peer": None, "spread": spread}


def rows_p1(gets, get_instructions, foreign_instructions, find_instructions, lines_file):
    with open(lines_file, encoding="utf-8") as file:
        lines = json.load(file)
    per_get = round(int(get_instructions) / int(gets), 1)
    per_foreign = round(int(foreign_instructions) / int(gets), 1)
    per_find = round(int(find_instructions) / int(gets), 1)
    spread = f"mean {lines['mean']}, p99 {lines['p99']}, max {lines['max']}"
    return [
        row("hot GET of 20 + 20 bytes by the key's owner: hash, find, copy out", per_get,
            "instructions", 90, 60, "exact count"),
        row("the same by another worker: hash, find, copy out, validate", per_foreign,
            "instructions", 90, 60, "exact count"),
        row("of the owner's: find, the hash given", per_find, "instructions", None, None, "exact count"),
        row("cache lines of L1 touched by a hit, median", lines["median"], "lines", 2, None, spread),
        row("cache lines of L1 written by a hit", lines["written"], "lines", 0, None,
            "run on memory protected against writing"),
    ]


def rows_of_file(rows_file):
    with open(rows_file, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def print_table(rows):
    width = max(len(r["what"]) for r in rows)
    for r in rows:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[r["holds"]]
        promise = "" if r["promise"] is None else f"promise {r['promise']:g}"
        print(f"{r['what']:<{width}}  {r['value']:>9g} {r['unit']:<13} {promise:<13} "
              f"{verdict:<13} {r['spread'] or ''}".rstrip())


def main():
    name, output = sys.argv[1:3]
    rows = {"p1": rows_p1, "p2": rows_of_file, "p3": rows_of_file, "attach": rows_of_file}[name](*sys.argv[3:])
    if output == "--json":
        print(json.dumps({"name": name, "rows": rows}))
    else:
        print_table(rows)


main()
