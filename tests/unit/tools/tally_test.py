#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The counting of tools/lib/tally.py: every way in which a test can end, counted once."""
import json
import os
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import tally  # noqa: E402

GOOD = '<testsuites><testsuite><testcase name="a" classname="S" status="run" result="completed"/>' \
       '<testcase name="b" classname="S" status="run" result="completed"/></testsuite></testsuites>'
MIXED = '<testsuites><testsuite><testcase name="a" classname="S" status="run" result="completed">' \
        '<failure message="x"/></testcase><testcase name="b" classname="S" status="run" result="skipped">' \
        '<skipped message="f.cc:3&#x0A;no hugepages"/></testcase>' \
        '<testcase name="DISABLED_c" classname="S" status="notrun" result="suppressed"/>' \
        '<testcase name="d" classname="S" status="run" result="completed"/></testsuite></testsuites>'


class TallyTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text)

    def count(self, *results):
        lines = [json.dumps({"name": name, "command": ["/b/" + name], "result": result, "stdout": out})
                 for name, result, out in results]
        self.write("testlog.json", "\n".join(lines) + "\n")
        return tally.count_meson(self.path("testlog.json"), self.directory.name)

    def test_gtest_cases_are_counted_not_programs(self):
        self.write("one.xml", GOOD)
        count = self.count(("one", "OK", ""))
        self.assertEqual((count.passed, count.failed, count.skipped), (2, [], []))

    def test_failures_and_skips_carry_names_and_reasons(self):
        self.write("one.xml", MIXED)
        count = self.count(("one", "FAIL", ""))
        self.assertEqual(count.passed, 1)
        self.assertEqual(count.failed, ["S.a"])
        self.assertEqual(count.skipped, ["S.b: no hugepages", "S.DISABLED_c: disabled in the source"])

    def test_crash_without_report_is_one_failure(self):
        count = self.count(("one", "FAIL", ""), ("two", "TIMEOUT", ""))
        self.assertEqual(count.failed, ["one (fail)", "two (timeout)"])

    def test_failure_after_good_cases_is_not_lost(self):
        self.write("one.xml", GOOD)  # and then the leak checker made the program fail
        count = self.count(("one", "FAIL", ""))
        self.assertEqual((count.passed, count.failed), (2, ["one (fail)"]))

    def test_report_cut_short_is_a_failure(self):
        self.write("one.xml", GOOD[:40])
        self.assertEqual(self.count(("one", "FAIL", "")).failed, ["one (fail)"])

    def test_other_programs_count_as_one(self):
        count = self.count(("lint", "OK", ""), ("format", "SKIP", "clang-format is not installed\n"))
        self.assertEqual(count.passed, 1)
        self.assertEqual(count.skipped, ["format: clang-format is not installed"])

    def test_program_run_twice_is_counted_once_per_report(self):
        self.write("one.xml", GOOD)
        self.write("one_1.xml", GOOD)
        self.write("one_other.xml", GOOD)  # the report of another program
        self.assertEqual(self.count(("one", "OK", ""), ("one", "OK", "")).passed, 4)

    def test_total_ends_in_the_line_and_the_code(self):
        one = tally.Count()
        one.passed = 3
        tally.append(self.path("tally"), "a", one)
        self.assertEqual(tally.total(self.path("tally")), 0)
        one.failed.append("x")
        tally.append(self.path("tally"), "b", one)
        self.assertEqual(tally.total(self.path("tally")), 1)
        self.assertEqual(tally.total(self.path("none")), 1, "no test at all is no success")
        self.assertEqual(tally.summary(6, 1, 0), "6 passed, 1 failed")
        self.assertEqual(tally.summary(6, 0, 2), "6 passed, 0 failed, 2 skipped")


if __name__ == "__main__":
    unittest.main()
