#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# L1 beside in-process maps and caches, and servers over Unix sockets. usage: store.sh BUILD_DIR [--json]
set -euo pipefail
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/store.py" "$@"
