#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# P7: from sending a GET to having its reply over a memory link (net_memif), both ends polling, a core each.
# usage: p7.sh BUILD_DIR [--json]
set -euo pipefail
build="$1"
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/link_cost.py" p7 "$build" "${@:2}"
