#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P3: a cold lookup by libcachee from another process, in units of one dependent load from memory, both
# measured in turns. Usage: p3.sh BUILD_DIR [--json]. Wants hugepages of 2 MiB for twice L1_BENCH_MIB
# (default 200). Ends with 1 when a promise does not hold.
set -euo pipefail
bench="$1/tests/perf/libcachee_bench"
[ -x "$bench" ] || { echo "p3: $bench is not built" >&2; exit 2; }
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
"$bench" "${L1_BENCH_MIB:-200}" >"$rows"
/usr/bin/python3 "$(dirname "$0")/l1_rows.py" p3 "${2:-}" "$rows"
! grep -q '"holds": false' "$rows"
