#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P2: a cold L1 GET in bursts, in units of one dependent load from memory, both measured in turns.
# Usage: p2.sh BUILD_DIR [--json]. Wants hugepages of 2 MiB for twice L1_BENCH_MIB (default 200).
set -euo pipefail
bench="$1/tests/perf/l1_get_bench"
[ -x "$bench" ] || { echo "p2: $bench is not built" >&2; exit 2; }
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
"$bench" cold "${L1_BENCH_MIB:-200}" >"$rows"
/usr/bin/python3 "$(dirname "$0")/l1_rows.py" p2 "${2:-}" "$rows"
