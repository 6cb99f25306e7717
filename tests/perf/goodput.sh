#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Goodput of 64 KB replies at 1 % loss and 1 ms round trip: cachee's TCP and the kernel's, interleaved, over
# the same impairment code. usage: goodput.sh BUILD_DIR [--json] [options of goodput.py]
set -euo pipefail
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/goodput.py" "$@"
