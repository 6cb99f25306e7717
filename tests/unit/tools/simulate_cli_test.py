#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`cachee simulate` from outside: the table, JSON, exit codes, messages. usage: simulate_cli_test.py CACHEE"""
import json
import os
import subprocess
import sys
import unittest

CACHEE = sys.argv.pop(1)
TINY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiny.csv")


def simulate(*arguments):
    return subprocess.run([CACHEE, "simulate", *arguments], capture_output=True, text=True, timeout=60)


class SimulateTest(unittest.TestCase):
    def test_tiny_trace_counts_as_by_hand(self):
        # 1 2 3 1 4 1 2 with room for 3 (see simulate_test.cc), twice the same keys with sizes of 100.
        run = simulate(TINY, "--policy", "ref-fifo,ref-lru,ref-belady,s3_fifo,fifo_merge", "--size", "3objects",
                       "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        result = json.loads(run.stdout)
        self.assertEqual((result["requests"], result["objects"], result["footprint"]), (7, 4, 400))
        misses = {row["policy"]: row["misses"] for row in result["results"]}
        self.assertEqual((misses["ref-fifo"], misses["ref-lru"], misses["ref-belady"]), (6, 5, 4))
        self.assertTrue(4 <= misses["s3_fifo"] <= 7 and 4 <= misses["fifo_merge"] <= 7, misses)

    def test_table_has_a_row_for_each_policy_and_size(self):
        run = simulate(TINY, "--policy", "ref-lru,s3_fifo", "--size", "50%,100%")
        self.assertEqual(run.returncode, 0, run.stderr)
        rows = [line.split() for line in run.stdout.splitlines()[2:]]
        self.assertEqual([(row[0], row[3]) for row in rows],
                         [("50%", "ref-lru"), ("50%", "s3_fifo"), ("100%", "ref-lru"), ("100%", "s3_fifo")])
        self.assertIn("simulating: 100 %", run.stderr)

    def test_wrong_usage_says_what_is_known(self):
        run = simulate(TINY, "--policy", "mru", "--size", "1%")
        self.assertEqual(run.returncode, 2)
        self.assertIn("known: fifo_merge, s3_fifo, ref-lru", run.stderr)
        run = simulate(TINY, "--policy", "ref-lru", "--size", "1 percent")
        self.assertEqual(run.returncode, 2)
        self.assertIn("is no size", run.stderr)

    def test_missing_and_foreign_files_are_errors(self):
        run = simulate("/nonexistent", "--policy", "ref-lru", "--size", "1%")
        self.assertEqual(run.returncode, 1)
        self.assertIn("/nonexistent", run.stderr)
        run = simulate(os.path.abspath(__file__), "--policy", "ref-lru", "--size", "1%")
        self.assertEqual(run.returncode, 1)
        self.assertIn("simulate_cli_test.py:1: 1 columns instead of 7", run.stderr)


if __name__ == "__main__":
    unittest.main()
