#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Scaling: cache lines that a GET writes and another worker reads or writes, from a trace of every load and store.
# usage: scaling.sh BUILD_DIR [--json]
set -euo pipefail
build="$1"
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/scaling.py" "$build" "${@:2}"
