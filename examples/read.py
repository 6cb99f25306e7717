#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads keys through the Python module: `read.py INSTANCE KEY...`; exit 1 when one is not known.

The module is python/cachee of the source tree: put its parent into PYTHONPATH.
"""
import sys

import cachee


def main(arguments):
    if len(arguments) < 2:
        print("usage: read.py INSTANCE KEY...", file=sys.stderr)
        return 2
    try:
        with cachee.Client(arguments[0]) as client:
            for key in arguments[1:]:
                found = client.get(key)
                source = {cachee.FROM_L1: "L1", cachee.FROM_APPLIANCE: "appliance"}.get(found.source, "-")
                print("%s = %r (%s), %s ms left" % (key, found.value, source, client.ttl_ms(key)))
    except cachee.CacheeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
