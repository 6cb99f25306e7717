#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a GET of a large value costs the worker when the value is lent to the network instead of copied.
# usage: lend.sh BUILD_DIR [--json]
set -euo pipefail
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/lend.py" "$1/tests/perf/large_values_bench" "${@:2}"
