#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does lint find what it is for? Each rule against a text that breaks it and one that does not."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import headers  # noqa: E402
import lint  # noqa: E402
import rules  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
OPENING = SPDX + "// A thing. Not another. Any thread.\n#pragma once\n"


def found(path, text):
    return sorted({finding.rule for finding in rules.check(rules.File(path, text))})


class RulesTest(unittest.TestCase):
    def test_clean_header_has_no_finding(self):
        self.assertEqual(found("src/l1/a.h", OPENING + '#include "base/units.h"\n#include <vector>\n'), [])

    def test_includes_follow_the_table(self):
        bad = [("src/base/a.h", "stats/counters.h"), ("src/l1/a.h", "net/tcp.h"),
               ("src/net/a.h", "config/schema.h"), ("src/dataplane/a.h", "config/loader.h"),
               ("src/controlplane/a.h", "l1/store.h"), ("drivers/dpdk/a.h", "net/tcp.h"),
               ("drivers/dpdk/a.h", "drivers/sim/link.h"), ("tools/cachee/a.h", "dataplane/worker.h"),
               ("tools/cachee/a.h", "net/tcp_transport.h"), ("tools/cachee/a.h", "drivers/sim/link.h"),
               ("tools/cachee/a.h", "tools/loadgen/links.h"), ("tools/loadgen/a.h", "dataplane/worker.h"),
               ("tools/loadgen/a.h", "config/loader.h"), ("drivers/dpdk/a.h", "tools/loadgen/links.h"),
               ("include/cachee/a.hpp", "base/units.h"), ("src/l1/a.h", "units.h"),
               ("src/l1/a.h", "nowhere/units.h")]
        for path, name in bad:
            self.assertEqual(found(path, OPENING + f'#include "{name}"\n'), ["include"], (path, name))
        good = [("src/dataplane/a.h", "config/schema.h"), ("drivers/dpdk/a.h", "net/frame_port.h"),
                ("tools/loadgen/a.h", "drivers/dpdk/dpdk_driver.h"), ("tools/loadgen/a.h", "tools/cachee/text.h"),
                ("tools/loadgen/a.h", "tools/loadgen/links.h"), ("tools/loadgen/a.h", "net/tcp_transport.h"),
                ("drivers/dpdk/a.h", "drivers/dpdk/eal.h"), ("src/client/a.h", "cachee/cachee.h"),
                ("src/bin/a.h", "l1/store.h"), ("tests/unit/a.h", "dataplane/worker.h"),
                ("tests/unit/a.h", "fixture.h")]
        for path, name in good:
            self.assertEqual(found(path, OPENING + f'#include "{name}"\n'), [], (path, name))

    def test_libraries_stay_in_their_folder(self):
        for path, name in [("src/net/a.h", "rte_mbuf.h"), ("src/controlplane/a.h", "yaml-cpp/yaml.h"),
                           ("src/dataplane/a.h", "hiredis/hiredis.h"), ("src/l1/a.h", "fmt/format.h"),
                           ("drivers/dpdk/a.h", "infiniband/verbs.h")]:
            self.assertEqual(found(path, OPENING + f"#include <{name}>\n"), ["library"], (path, name))
        self.assertEqual(found("drivers/dpdk/a.h", OPENING + "#include <rte_mbuf.h>\n"), [])

    def test_licence_line(self):
        self.assertEqual(found("src/base/a.cc", "int x;\n"), ["spdx"])
        self.assertEqual(found("tools/run", "#!/bin/sh\necho\n"), ["spdx"])
        self.assertEqual(found("tools/run", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"), [])

    def test_header_opening(self):
        self.assertEqual(found("src/base/a.h", SPDX + "#pragma once\n"), ["opening"])
        self.assertEqual(found("src/base/a.h", SPDX + "// A thing.\n"), ["pragma-once"])

    def test_file_length(self):
        def findings(count):
            text = SPDX + "int x;\n" * (count - 1)
            return [(f.rule, f.is_warning) for f in rules.check(rules.File("src/base/a.cc", text))]
        self.assertEqual(findings(500), [])
        self.assertEqual(findings(501), [("file-length", True)])
        self.assertEqual(findings(601), [("file-length", False)])

    def test_forbidden_texts(self):
        for text, rule in [("#if " + "0\n#endif\n", "dead-code"), ("// TO" + "DO: later\n", "unfinished"),
                           ("#define pri" + "vate public\n", "test-seam"),
                           ('const char* p = "/wo' + 'rk/x";\n', "machine-path"),
                           ("// https://deb." + "example.org/debian\n", "package-host"),
                           ("int x; \n", "whitespace"), ("int x;", "whitespace")]:
            self.assertEqual(found("src/base/a.cc", SPDX + text), [rule], text)
        self.assertEqual(found("src/base/a.cc", SPDX + "// docs/framework/x and /run/cachee\n"), [])

    def test_function_length(self):
        def text(lines):
            return SPDX + ("namespace a {\nclass B : public C {\n  public:\n    B() : x_{1}, y_(2) {}\n"
                           "    void f(int a,\n           int b) const noexcept {\n" + "        g('{', \"}\");\n"
                           * (lines - 3) + "    }\n};\n}\n")
        self.assertEqual(found("src/base/a.cc", text(90)), [])
        self.assertEqual(found("src/base/a.cc", text(91)), ["function-length"])

    def test_function_length_ignores_tables_and_scopes(self):
        rows = "    {1, 2},\n" * 200
        self.assertEqual(found("src/base/a.cc", SPDX + "constexpr R kRows[] = {\n" + rows + "};\n"), [])
        self.assertEqual(found("src/base/a.cc", SPDX + "namespace {\n" + "int f();\n" * 200 + "}\n"), [])


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = self.directory.name
        os.makedirs(os.path.join(self.root, "src", "base"))

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w", encoding="utf-8") as out:
            out.write(text)
        return os.path.join(self.root, path)

    def run_lint(self, exceptions):
        findings, _ = lint.run_rules(self.root, self.write("exceptions.txt", exceptions))
        return sorted(finding.rule for finding in findings)

    def test_tree_with_bad_file_is_caught(self):
        self.write("src/base/a.cc", SPDX + '#include "l1/store.h"\n')
        self.assertEqual(self.run_lint(""), ["include"])

    def test_exception_with_reason_holds_and_stale_one_fails(self):
        self.write("src/base/a.cc", "int x;\n")
        self.assertEqual(self.run_lint("src/base/a.cc | spdx | generated\n"), [])
        self.assertEqual(self.run_lint("src/base/a.cc | spdx |\n"), ["exceptions", "spdx"])
        self.write("src/base/a.cc", SPDX)
        self.assertEqual(self.run_lint("src/base/a.cc | spdx | generated\n"), ["exceptions"])

    def test_header_that_needs_another_is_caught(self):
        self.write("src/base/good.h", OPENING + "#include <string>\nstd::string f();\n")
        self.write("src/base/bad.h", OPENING + "std::string g();\n")
        failures = headers.check_headers(self.root, ["c++", "-std=c++20", "-I", "src"],
                                         ["src/base/good.h", "src/base/bad.h"])
        self.assertEqual([path for path, _ in failures], ["src/base/bad.h"])


if __name__ == "__main__":
    unittest.main()
