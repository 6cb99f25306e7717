# SPDX-License-Identifier: Apache-2.0
"""The house rules that a program can check, one function per rule.

Text only: nothing is compiled here (headers.py does that). Each rule takes a File and yields Finding.
"""
import re
from dataclasses import dataclass, field

CPP_SUFFIXES = (".h", ".hpp", ".cc", ".c")
SCRIPT_SUFFIXES = (".py", ".sh", ".yaml", ".yml", ".service")
FILE_LINES_WARN = 500
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 90


@dataclass
class File:
    path: str  # relative to the root, with /
    text: str
    lines: list = field(init=False)

    def __post_init__(self):
        self.lines = self.text.splitlines()

    @property
    def is_cpp(self):
        return self.path.endswith(CPP_SUFFIXES)

    @property
    def is_header(self):
        return self.path.endswith((".h", ".hpp"))

    @property
    def is_code(self):
        return (self.is_cpp or self.path.endswith(SCRIPT_SUFFIXES) or
                self.path.rsplit("/", 1)[-1] in ("meson.build", "meson_options.txt") or
                self.text.startswith("#!"))


@dataclass
class Finding:
    path: str
    line: int
    rule: str
    message: str
    is_warning: bool = False

    def __str__(self):
        kind = "warning" if self.is_warning else "error"
        return f"{self.path}:{self.line}: {kind}: {self.message} [{self.rule}]"


# --- who may include whom (design, section 9) -----------------------------------------------------

ANYTHING = None
# Folder -> what its files may include besides the folder itself: folders, or single headers.
ALLOWED = {
    "base": [],
    "config": ["base"],
    "stats": ["base"],
    "resp": ["base"],
    "io": ["base"],
    "l1": ["base", "stats"],
    "shm": ["base", "stats"],
    "net": ["io", "base", "stats"],
    "dataplane": ["io", "resp", "l1", "shm", "stats", "config/schema.h", "base"],
    "controlplane": ["shm", "stats", "resp", "config", "base"],
    "drivers": ["io", "net/frame_port.h", "stats", "config/schema.h", "base"],
    "client": ["include", "l1", "shm", "resp", "base"],
    "include": [],
    "tools": ["include", "shm", "stats", "config", "base"],
    # A composition root of its own: the client role of the same stack (docs/decisions).
    "tools/loadgen": ["tools", "io", "net", "resp", "drivers", "stats", "config/schema.h", "base"],
    # Runs L1 itself over traces; the CLI hands over to it.
    "tools/simulate": ["tools", "l1", "stats", "base"],
    "bin": ANYTHING,
    "tests": ANYTHING,
}

# Headers of a library -> folders that may see them.
LIBRARIES = [
    (r"rte_|dpdk/", "DPDK", ["drivers/dpdk"]),
    (r"infiniband/|rdma/", "rdma-core", ["drivers/rdma"]),
    (r"yaml-cpp/", "yaml-cpp", ["config"]),
    (r"hiredis/|hiredis\.h|async\.h", "hiredis", ["controlplane", "tools", "tests"]),
    (r"uv\.h", "libuv", ["controlplane", "bin", "tests"]),
    (r"prometheus/", "prometheus-cpp", ["controlplane"]),
    (r"CLI/", "CLI11", ["tools"]),
    (r"zstd\.h", "zstd", ["tools", "tests"]),
    (r"spdlog/", "spdlog", ["controlplane", "tools", "bin", "tests"]),
    (r"fmt/", "fmt", ["controlplane", "config", "tools", "bin", "tests"]),
    (r"gtest/|gmock/|benchmark/", "the test libraries", ["tests"]),
]

QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
ANGLED = re.compile(r"^\s*#\s*include\s+<([^>]+)>")


def folder_of(path):
    """'src/l1/store.h' -> 'l1'; 'drivers/dpdk/port.h' -> 'drivers/dpdk'; None: no rule applies."""
    parts = path.split("/")
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[0] == "drivers" and len(parts) > 2:
        return "drivers/" + parts[1]
    if path.startswith(("tools/loadgen/", "tools/simulate/")):
        return "/".join(parts[:2])
    return parts[0] if parts[0] in ("include", "tools", "tests") else None


def included_folder(name):
    """The folder that an include line names, as folder_of() names it."""
    parts = name.split("/")
    if parts[0] == "cachee":
        return "include"
    if parts[0] == "drivers" and len(parts) > 2:
        return "drivers/" + parts[1]
    if name.startswith("tools/loadgen/"):
        return "tools/loadgen"
    return parts[0] if len(parts) > 1 else None


def rule_includes(file):
    folder = folder_of(file.path)
    if not file.is_cpp or folder is None:
        return
    allowed = ALLOWED.get(folder, ALLOWED.get(folder.split("/")[0], []))
    for number, line in enumerate(file.lines, 1):
        if match := QUOTED.match(line):
            name = match.group(1)
            target = included_folder(name)
            if target is None and folder == "tests":
                continue  # fixtures beside the test
            if target is None:
                yield Finding(file.path, number, "include",
                              f'"{name}": name the folder too, as in "base/units.h"')
            elif target.split("/")[0] not in ALLOWED:
                yield Finding(file.path, number, "include", f'"{name}" is in no folder of the project')
            elif allowed is not ANYTHING and target != folder and name not in allowed \
                    and target not in allowed and not (target.startswith("drivers/") and "drivers" in allowed):
                yield Finding(file.path, number, "include",
                              f'{folder} may not include "{name}"; allowed: {", ".join(allowed) or "std only"}')
        elif match := ANGLED.match(line):
            yield from library_findings(file, folder, number, match.group(1))


def library_findings(file, folder, number, name):
    for pattern, library, folders in LIBRARIES:
        if re.match(pattern, name) and folder not in folders and folder.split("/")[0] not in folders:
            yield Finding(file.path, number, "library",
                          f"<{name}>: {library} is seen only in {', '.join(folders)}")


# --- the shape of a file --------------------------------------------------------------------------

def rule_spdx(file):
    if not file.is_code:
        return
    first = 1 if file.text.startswith("#!") else 0
    line = file.lines[first] if len(file.lines) > first else ""
    if "SPDX-License-Identifier: Apache-2.0" not in line:
        yield Finding(file.path, first + 1, "spdx", "the first line names the licence: "
                      "SPDX-License-Identifier: Apache-2.0")


def rule_header_shape(file):
    if not file.is_header:
        return
    if len(file.lines) < 2 or not re.match(r"//|/\*| \*", file.lines[1]):
        yield Finding(file.path, 2, "opening", "a header opens with a comment: what it is, what it is not, "
                      "which plane and thread")
    if file.path.startswith("include/") and file.path.endswith(".h"):
        return  # the C header has classic guards
    if not any(line.startswith("#pragma once") for line in file.lines):
        yield Finding(file.path, 1, "pragma-once", "a header has #pragma once")


def rule_file_length(file):
    if not file.is_code:
        return
    count = len(file.lines)
    if count > FILE_LINES_WARN:
        yield Finding(file.path, count, "file-length",
                      f"{count} lines; about {FILE_LINES_WARN} is the rule, {FILE_LINES_MAX} the limit",
                      is_warning=count <= FILE_LINES_MAX)


# Split so that this file does not find itself.
FORBIDDEN = [
    ("dead-code", re.compile(r"^\s*#\s*if\s+" + "0" + r"\b"), "no #if " + "0"),
    ("unfinished", re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b"), "finish it, or explain it"),
    ("test-seam", re.compile(r"#\s*define\s+(?:private|protected)\s+public"), "tests use public seams"),
    ("machine-path", re.compile(r"(?<![\w.])/(?:wo" + "rk|ho" + "me|ro" + r"ot)/[A-Za-z0-9]"),
     "a path of one machine"),
    ("package-host", re.compile(r"https?://(?:deb|pypi|files|registry|static|archive|security)\.[\w.-]+"),
     "package hosts come from the machine"),
    ("using-std", re.compile(r"^\s*using namespace std\s*;"), "no using namespace std"),
]


def rule_forbidden(file):
    if not file.is_code:
        return
    for number, line in enumerate(file.lines, 1):
        for rule, pattern, message in FORBIDDEN:
            if pattern.search(line):
                yield Finding(file.path, number, rule, message)


def rule_whitespace(file):
    if not file.is_code:
        return
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield Finding(file.path, number, "whitespace", "blanks at the end of the line")
    if file.text and not file.text.endswith("\n"):
        yield Finding(file.path, len(file.lines), "whitespace", "no newline at the end of the file")


# --- functions ------------------------------------------------------------------------------------

TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^\s()\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
    r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.S | re.M)
SCOPE = re.compile(r'(?:^|[\s>])(?:namespace|class|struct|union)\b|extern\s*$')
CONTROL = re.compile(r"\s*(?:if|for|while|switch|catch|do|else|enum)\b")


def blank_out(text):
    """Comments, literals and preprocessor lines become blanks; line breaks stay."""
    return TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def functions(text):
    """(first line, last line, header) of each function body outside of other bodies. A heuristic."""
    text = blank_out(text)
    kinds = []  # of the open braces: "scope", "function" or "other"
    start, line, opened = 0, 1, 0
    first_line, header = 1, ""
    for position, char in enumerate(text):
        if char == "\n":
            line += 1
        elif char == "{":
            header_now = text[start:position]
            kind = "other"
            if all(k == "scope" for k in kinds):
                if SCOPE.search(header_now) and not re.search(r"\)\s*(?:const|noexcept|override|\s)*$", header_now):
                    kind = "scope"
                elif "(" in header_now and not CONTROL.match(header_now):
                    kind = "function"
                    header = " ".join(header_now.split())
                    first_line = line - header_now.lstrip().count("\n")
            kinds.append(kind)
            start = position + 1
        elif char == "}":
            if kinds and kinds.pop() == "function":
                yield first_line, line, header
            start = position + 1
        elif char == ";":
            start = position + 1


def rule_function_length(file):
    if not file.is_cpp:
        return
    for first, last, header in functions(file.text):
        count = last - first + 1
        if count > FUNCTION_LINES_MAX:
            name = header.split("(")[0].split()[-1] if header.split("(")[0].split() else header
            yield Finding(file.path, first, "function-length",
                          f"{name} has {count} lines; about 70 is the rule, {FUNCTION_LINES_MAX} the limit")


RULES = [rule_includes, rule_spdx, rule_header_shape, rule_file_length, rule_forbidden, rule_whitespace,
         rule_function_length]


def check(file):
    for rule in RULES:
        yield from rule(file)
