#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P6: system calls, allocations and locks per request in the data plane. The real worker over our own TCP and
# a link in memory; a seccomp filter traps every system call, malloc and pthread_mutex_lock are counted.
# usage: p6.sh BUILD_DIR [--json]
set -euo pipefail
build="$1"
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/request_cost.py" p6 "$build" "${@:2}"
