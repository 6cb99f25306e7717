#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles each header of the project alone: `headers.py ROOT COMPILER...FLAGS`; exit 1 on a failure.

A header that needs an include before it fails here. Syntax check only, two compilers at a time.
"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402


def compile_alone(root, compiler, path):
    """Empty when it compiles, else the first lines of what the compiler says."""
    # Through an include, not as the main file: #pragma once in a main file is a warning.
    source = f'#include "{os.path.join(root, path)}"\n'
    result = subprocess.run([*compiler, "-fsyntax-only", "-x", "c++", "-"], input=source, cwd=root,
                            capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else "\n".join(result.stderr.splitlines()[:8])


def check_headers(root, compiler, paths):
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda path: (path, compile_alone(root, compiler, path)), paths)
        return [(path, output) for path, output in results if output]


def main(arguments):
    root, *compiler = arguments
    paths = [path for path in lint.project_files(root) if path.endswith((".h", ".hpp"))]
    failures = check_headers(root, compiler, paths)
    for path, output in failures:
        print(f"{path} does not compile alone:\n{output}\n")
    print(f"{len(paths)} headers, {len(failures)} not self-contained")
    return 1 if failures or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
