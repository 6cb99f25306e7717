#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P8: what a miss adds to a round trip to L2: both planes over kernel sockets in front of a real L2 on
# loopback, misses timed in turns with the same GET sent to L2 itself. usage: p8.sh BUILD_DIR [--json]
set -euo pipefail
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/p8.py" "$@"
