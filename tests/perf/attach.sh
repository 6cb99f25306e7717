#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Taking over a full L1 of 4 GiB after a restart: the time until the workers can start, every item checked.
# Usage: attach.sh BUILD_DIR [--json]. ATTACH_BENCH_MIB (default 4096) is its size; it lies on hugepages when
# so many can be reserved (root; given back at the end), else on ordinary pages.
set -euo pipefail
bench="$1/tests/perf/attach_bench"
[ -x "$bench" ] || { echo "attach: $bench is not built" >&2; exit 2; }
mib="${ATTACH_BENCH_MIB:-4096}"
pages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
before=$(cat "$pages" 2>/dev/null || echo 0)
rows=$(mktemp)
clean_up() {
    rm -f "$rows"
    { echo "$before" >"$pages"; } 2>/dev/null || true
}
trap clean_up EXIT
if grep -q ' /dev/hugepages hugetlbfs' /proc/mounts; then
    # Given back at once when there are not enough.
    { echo $((before + mib / 2 + 2)) >"$pages"; } 2>/dev/null || true
    if [ "$(cat "$pages")" -lt $((before + mib / 2 + 2)) ]; then
        { echo "$before" >"$pages"; } 2>/dev/null || true
    fi
fi
"$bench" "$mib" 2 5 108 1000 >"$rows"
/usr/bin/python3 "$(dirname "$0")/l1_rows.py" attach "${2:-}" "$rows"
