# SPDX-License-Identifier: Apache-2.0
"""Counts test cases for tools/test: GoogleTest cases, pytest cases and other meson tests.

Not a test runner. Each step adds one JSON line to a tally file; `total` prints the failures, the reason
of each skip and, as its last line, "N passed, N failed[, N skipped]".

    tally.py TALLY meson STEP TESTLOG_JSON XML_DIR   a `meson test` run with GTEST_OUTPUT=xml:XML_DIR/
    tally.py TALLY junit STEP FILE                   one junit file (pytest)
    tally.py TALLY one STEP NAME passed|failed|skipped [REASON]
    tally.py TALLY total                             exit 1 when something failed or nothing ran
"""
import glob
import json
import os
import sys
import xml.etree.ElementTree as ElementTree


class Count:
    """What one step found: passed is a number, the others lists of texts."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add_junit(self, path):
        """Adds the cases of a junit file; returns the number of failures in it."""
        before = len(self.failed)
        for case in ElementTree.parse(path).iter("testcase"):
            name = f'{case.get("classname", "")}.{case.get("name", "")}'
            broken = [child for child in case if child.tag in ("failure", "error")]
            skipped = case.find("skipped")
            if broken:
                self.failed.append(name)
            elif skipped is not None or case.get("result") == "skipped":
                text = skipped.get("message", "") if skipped is not None else ""
                self.skipped.append(f'{name}: {one_line(text) or "no reason given"}')
            elif case.get("status") == "notrun":
                self.skipped.append(f"{name}: disabled in the source")
            else:
                self.passed += 1
        return len(self.failed) - before


def one_line(text):
    """The first line of a text that says something; GoogleTest puts the place in the first one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and ":" in lines[0] and lines[0].rsplit(":", 1)[1].isdigit():
        lines = lines[1:]
    return lines[0][:200] if lines else ""


def xml_files(directory, executable):
    """GoogleTest names the file after the program, and program_1 and so on when that exists."""
    base = os.path.join(glob.escape(directory), glob.escape(executable))
    return glob.glob(base + ".xml") + glob.glob(base + "_[0-9]*.xml")


def count_meson(log_path, xml_directory):
    count = Count()
    seen = {}
    with open(log_path, encoding="utf-8") as log:
        results = [json.loads(line) for line in log if line.strip()]
    for result in results:
        name, outcome = result["name"], result["result"]
        executable = os.path.basename(result["command"][0])
        files = xml_files(xml_directory, executable)
        if files and executable not in seen:
            failures = 0
            for path in files:
                try:
                    failures += count.add_junit(path)
                except ElementTree.ParseError:  # the program died while it wrote
                    pass
            seen[executable] = failures
        good = outcome in ("OK", "EXPECTEDFAIL")
        if files and (good or seen[executable] > 0):
            continue
        # No cases known, or a failure beside them: a crash, a time-out, a leak found at exit.
        if good:
            count.passed += 1
        elif outcome == "SKIP":
            reason = one_line(result.get("stdout", "")) or "no reason given"
            count.skipped.append(f"{name}: {reason}")
        else:
            count.failed.append(f"{name} ({outcome.lower()})")
    return count


def append(tally, step, count):
    with open(tally, "a", encoding="utf-8") as out:
        record = {"step": step, "passed": count.passed, "failed": count.failed, "skipped": count.skipped}
        out.write(json.dumps(record) + "\n")
    print(f"    {step}: {summary(count.passed, len(count.failed), len(count.skipped))}", flush=True)


def summary(passed, failed, skipped):
    text = f"{passed} passed, {failed} failed"
    return text + (f", {skipped} skipped" if skipped else "")


def total(tally):
    records = []
    if os.path.exists(tally):
        with open(tally, encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
    for kind, label in (("skipped", "skipped"), ("failed", "FAILED")):
        for record in records:
            for text in record[kind]:
                print(f'{label}: [{record["step"]}] {text}')
    passed = sum(record["passed"] for record in records)
    failed = sum(len(record["failed"]) for record in records)
    print(summary(passed, failed, sum(len(record["skipped"]) for record in records)))
    return 1 if failed or not passed else 0


def main(arguments):
    tally, command, *rest = arguments
    if command == "total":
        return total(tally)
    if command == "meson":
        append(tally, rest[0], count_meson(rest[1], rest[2]))
    elif command == "junit":
        count = Count()
        count.add_junit(rest[1])
        append(tally, rest[0], count)
    elif command == "one":
        step, name, outcome, *reason = rest
        count = Count()
        if outcome == "passed":
            count.passed = 1
        else:
            target = count.skipped if outcome == "skipped" else count.failed
            target.append(": ".join([name, *reason]))
        append(tally, step, count)
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
