# SPDX-License-Identifier: Apache-2.0
"""Reads the command scripts of the differential tests, scripts/*.txt. Each line is one command, sent to
the target and to a plain server of the same version; the replies must be the same bytes. A prefix loosens
that for one line:

    ~sorted   the elements may come in any order        ~near   integers may differ by 1,000
    ~kind     only the kind of reply must be the same   ~sleep  not a command: wait so many ms

A line that begins with # is a comment. `{bin}` is a value with every byte from 0 to 255, `{big:N}` one of
N bytes."""
import pathlib
import shlex

SCRIPTS = {path.stem: path.read_text() for path in
           sorted((pathlib.Path(__file__).parents[1] / "scripts").glob("*.txt"))}

# Scripts whose commands keep state in the connection or that wait: never split over two connections.
STATEFUL = {"transactions", "databases", "session", "scripting"}
WAITING = {"ttl"}
# Redis and Valkey drop the reply of a failed AUTH when earlier replies are still unsent (addAuthErrReply
# in acl.c): in a pipeline there is nothing to compare with.
NOT_PIPELINED = WAITING | {"auth_errors"}

_BIN = bytes(range(256))


def _expand(word):
    if word == "{bin}":
        return _BIN
    if word.startswith("{big:"):
        size = int(word[5:-1])
        return (b"0123456789abcdef" * (size // 16 + 1))[:size]
    return word.replace("\\r", "\r").replace("\\n", "\n").encode()


def commands(name):
    """[(comparator, [arguments as bytes])] of one script; ("sleep", ms) for a pause."""
    out = []
    for line in SCRIPTS[name].strip().splitlines():
        if line.startswith("#"):
            continue
        words = shlex.split(line)
        how = "exact"
        if words[0].startswith("~"):
            how = words.pop(0)[1:]
        out.append((how, int(words[0]) if how == "sleep" else [_expand(word) for word in words]))
    return out
