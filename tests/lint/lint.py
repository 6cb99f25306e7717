#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks every file of the tree against the house rules (rules.py); exit 1 on an error.

Exceptions are in exceptions.txt, one per line: path | rule | reason. An exception without a reason, or
one that nothing needs any more, is an error too.

    lint.py ROOT            the rules of rules.py
    lint.py ROOT --format   clang-format, on all C and C++ files; exit 77 (skipped) when it is not there
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402

SKIPPED_DIRECTORIES = ("build", ".git", ".cache", "__pycache__", ".pytest_cache")


def project_files(root):
    """Paths that git knows or would add; without git every file outside of build directories."""
    try:
        listing = subprocess.run(["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"],
                                 check=True, capture_output=True).stdout.decode()
        paths = [path for path in listing.split("\0") if path]
    except (OSError, subprocess.CalledProcessError):
        paths = []
        for directory, names, files in os.walk(root):
            names[:] = [name for name in names if not name.startswith(SKIPPED_DIRECTORIES)]
            paths += [os.path.relpath(os.path.join(directory, name), root) for name in files]
    return sorted(path for path in set(paths) if os.path.isfile(os.path.join(root, path)))


def read_file(root, path):
    """None for what is not text: captures, fuzz corpora."""
    try:
        with open(os.path.join(root, path), encoding="utf-8") as source:
            return rules.File(path, source.read())
    except UnicodeDecodeError:
        return None


def read_exceptions(path):
    """{(path, rule): reason}; and the findings about the file of exceptions itself."""
    exceptions, findings = {}, []
    if not os.path.exists(path):
        return exceptions, findings
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = [part.strip() for part in line.split("|", 2)]
            if len(parts) != 3 or not all(parts):
                findings.append(rules.Finding(path, number, "exceptions", "path | rule | reason"))
            else:
                exceptions[(parts[0], parts[1])] = parts[2]
    return exceptions, findings


def run_rules(root, exceptions_path):
    exceptions, findings = read_exceptions(exceptions_path)
    used = set()
    count = 0
    for path in project_files(root):
        if path.startswith("tests/fuzz/corpus/"):
            continue
        file = read_file(root, path)
        if file is None:
            continue
        count += 1
        for finding in rules.check(file):
            if (path, finding.rule) in exceptions:
                used.add((path, finding.rule))
            else:
                findings.append(finding)
    for path, rule in sorted(set(exceptions) - used):
        if rule == "format":  # judged by --format
            continue
        findings.append(rules.Finding(path, 0, "exceptions", f"nothing needs the exception for {rule}"))
    return findings, count


def run_format(root, exceptions_path):
    tool = shutil.which("clang-format")
    if tool is None:
        print("clang-format is not installed")
        return 77
    exceptions, _ = read_exceptions(exceptions_path)
    wrong = []
    paths = [path for path in project_files(root) if path.endswith(rules.CPP_SUFFIXES)]
    for path in paths:
        formatted = subprocess.run([tool, "--style=file", path], cwd=root, check=True,
                                   capture_output=True).stdout
        with open(os.path.join(root, path), "rb") as source:
            if source.read() != formatted and (path, "format") not in exceptions:
                wrong.append(path)
    for path in wrong:
        print(f"{path}: error: not formatted: clang-format -i {path} [format]")
    print(f"{len(paths)} files, {len(wrong)} not formatted")
    return 1 if wrong else 0


def main(arguments):
    root = arguments[0]
    exceptions_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exceptions.txt")
    if "--format" in arguments[1:]:
        return run_format(root, exceptions_path)
    findings, count = run_rules(root, exceptions_path)
    for finding in findings:
        print(finding)
    errors = sum(not finding.is_warning for finding in findings)
    print(f"{count} files, {errors} errors, {len(findings) - errors} warnings")
    return 1 if errors or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
