#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P5: CPU cycles per GET on the server side: cachee over a memory link (net_memif), redis-server, valkey-server and
# memcached over loopback, in turns.
# usage: p5.sh BUILD_DIR [--json]
set -euo pipefail
build="$1"
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/link_cost.py" p5 "$build" "${@:2}"
