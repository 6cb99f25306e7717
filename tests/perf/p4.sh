#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P4: user instructions per GET without pipelining through our own TCP, counted by callgrind inside
# Worker::poll_once; beside it, in the same run, redis-server's instructions per GET (all of the process, the
# kernel's TCP not included). usage: p4.sh BUILD_DIR [--json]
set -euo pipefail
build="$1"
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/request_cost.py" p4 "$build" "${@:2}"
