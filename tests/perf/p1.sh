#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P1: user instructions of a hot L1 GET (callgrind counts one function), and the lines it touches.
# Usage: p1.sh BUILD_DIR [--json]. The benchmark itself is tests/perf/l1_get.cc.
set -euo pipefail
bench="$1/tests/perf/l1_get_bench"
gets=20000
[ -x "$bench" ] || { echo "p1: $bench is not built" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions per call of the work in function $2, which mode $1 of the benchmark runs.
per_get() {
    valgrind --tool=callgrind --toggle-collect="$2" --callgrind-out-file="$scratch/out" \
        "$bench" "$1" "$gets" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 2; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$scratch/log"
}
get=$(per_get hot l1_hot_gets)
foreign=$(per_get foreign l1_hot_foreign_gets)
find=$(per_get find l1_hot_finds)
"$bench" lines >"$scratch/lines"
/usr/bin/python3 "$(dirname "$0")/l1_rows.py" p1 "${2:-}" "$gets" "$get" "$foreign" "$find" "$scratch/lines"
