#!/usr/bin/env -S /usr/bin/python3 -u
# SPDX-License-Identifier: Apache-2.0
"""Boots Debian's own kernel in QEMU, by software emulation, on top of this host's root file system, and runs
one script in it as root.

    guest.py [--seconds N] [--memory SIZE] [--kernel-words WORDS] [--share DIR] SCRIPT [-- QEMU ARGUMENT ...]

What the script prints is printed; its exit status is this command's. 77: a guest cannot run here, and why;
124: it did not end in time, and the last lines of its console. The script's working directory, $GUEST_SHARE,
is a folder shared with the host (--share, else a temporary one). A file `monitor` that the script puts there
is handed to QEMU's monitor line by line (`set_link nic0 off`), and removed when that is done.

Nothing is installed: packages and the kernel come from tools/lib/setup.sh (setup_guest). Emulated, because
nested virtualisation hangs on some machines, and because a guest proves that something works, not how fast."""
import argparse
import glob
import gzip
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("CACHEE_PREFIX", "/opt/cachee")) / "guest"
CANNOT_RUN, TOO_LATE = 77, 124
INITRAMFS_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

BOOT = """export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export GUEST_SHARE=/guest-share LC_ALL=C.UTF-8
%s
cd /guest-share && dmesg -n 1
bash ./.script </dev/null >.output 2>&1
echo $? >.status
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
"""


class CannotRun(Exception):
    """This machine cannot run a guest; the text says why."""


def kernel_tree():
    """Where setup_guest unpacked the kernel package: (vmlinuz, modules folder, version)."""
    images = sorted(glob.glob(str(CACHE / "kernel/boot/vmlinuz-*")))
    if not images:
        raise CannotRun("no guest kernel in %s: run ./tools/setup once, as root" % CACHE)
    version = os.path.basename(images[-1])[len("vmlinuz-"):]
    return images[-1], str(CACHE / "kernel/lib/modules"), version


def check_programs():
    if platform.machine() != "x86_64":
        raise CannotRun("guests are x86_64, this machine is " + platform.machine())
    for program in ("qemu-system-x86_64", "busybox", "modprobe", "cpio"):
        if not shutil.which(program):
            raise CannotRun("%s is missing: run ./tools/setup once, as root" % program)
    if os.geteuid() != 0:
        raise CannotRun("needs root: the guest's root file system is the host's, read by its owner")


def module_files(tree, version):
    """The modules of the initramfs and what they need, in the order of loading."""
    files = []
    for module in INITRAMFS_MODULES:
        shown = subprocess.run(["modprobe", "-d", os.path.dirname(os.path.dirname(tree)), "-S", version,
                                "--show-depends", module], capture_output=True, text=True)
        for line in shown.stdout.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in files:
                files.append(words[1])
    if not files:
        raise CannotRun("the guest kernel's modules cannot be read with modprobe: " + shown.stderr.strip())
    return files


def make_initramfs(tree, version, path):
    with tempfile.TemporaryDirectory(prefix="cachee-initramfs-") as root:
        for folder in ("bin", "proc", "sys", "dev", "modules"):
            os.mkdir(os.path.join(root, folder))
        shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
        os.symlink("busybox", os.path.join(root, "bin/sh"))
        order = []
        for file in module_files(tree, version):
            shutil.copy(file, os.path.join(root, "modules"))
            order.append("/modules/" + os.path.basename(file))
        pathlib.Path(root, "order").write_text("\n".join(order) + "\n")
        shutil.copy(HERE / "init", os.path.join(root, "init"))
        os.chmod(os.path.join(root, "init"), 0o755)
        names = "\n".join(str(name.relative_to(root)) for name in sorted(pathlib.Path(root).rglob("*")))
        packed = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(),
                                capture_output=True)
        if packed.returncode != 0:
            raise CannotRun("cpio: " + packed.stderr.decode())
        with open(path, "wb") as file:
            file.write(gzip.compress(packed.stdout, 1))


class Guest:
    """One run. start(), then wait(); stop() in any case."""

    def __init__(self, script, share, seconds=180, memory="2G", kernel_words="", qemu=(), environment=None,
                 netns=None):
        self.share = str(share)
        self.seconds = seconds
        self.memory = memory
        self.kernel_words = kernel_words
        self.qemu = list(qemu)
        self.netns = netns
        self.child = None
        self.begun = None
        os.makedirs(self.share, exist_ok=True)
        for name in (".status", ".output", ".console", "monitor"):
            pathlib.Path(self.share, name).unlink(missing_ok=True)
        pathlib.Path(self.share, ".output").touch()
        shutil.copy(script, os.path.join(self.share, ".script"))
        exports = "\n".join("export %s='%s'" % pair for pair in (environment or {}).items())
        pathlib.Path(self.share, ".boot").write_text(BOOT % exports)
        # Seen in the guest even where the guest has a folder of its own, as /tmp.
        needed = [str(HERE.parent.parent), (environment or {}).get("CACHEE_BUILD_DIR")]
        pathlib.Path(self.share, ".keep").write_text("".join(folder + "\n" for folder in needed if folder))

    def start(self):
        check_programs()
        image, tree, version = kernel_tree()
        initramfs = os.path.join(self.share, ".initramfs")
        make_initramfs(tree, version, initramfs)
        self.monitor_path = os.path.join(self.share, ".monitor")
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
                   "-m", self.memory, "-display", "none", "-no-reboot", "-nodefaults",
                   "-serial", "file:" + os.path.join(self.share, ".console"),
                   "-monitor", "unix:%s,server=on,wait=off" % self.monitor_path,
                   "-kernel", image, "-initrd", initramfs,
                   "-append", "console=ttyS0 quiet panic=-1 " + self.kernel_words]
        for name, path, how in (("host", "/", ",readonly=on,multidevs=remap"), ("modules", tree, ",readonly=on"),
                                ("share", self.share, "")):
            command += ["-fsdev", "local,id=%s,path=%s,security_model=none%s" % (name, path, how),
                        "-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s" % (name, name)]
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        with open(os.path.join(self.share, ".qemu"), "wb") as log:
            self.child = subprocess.Popen(prefix + ["setpriv", "--pdeathsig", "KILL"] + command + self.qemu,
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.begun = time.monotonic()

    def _read(self, name):
        try:
            return pathlib.Path(self.share, name).read_text(errors="replace")
        except OSError:
            return ""

    def serve_monitor(self):
        """Hands what the guest asks of QEMU to QEMU."""
        request = pathlib.Path(self.share, "monitor")
        if not request.exists():
            return
        lines = request.read_text()
        if not lines.endswith("\n"):
            return  # still being written
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(5)
            monitor.connect(self.monitor_path)
            for line in lines.splitlines():
                monitor.sendall(line.encode() + b"\n")
                time.sleep(0.1)
                monitor.recv(65536)
        request.unlink()

    def wait(self, show=None):
        """The exit status of the script; `show` is called with its output as it comes."""
        shown = 0
        while self.child.poll() is None and time.monotonic() - self.begun < self.seconds:
            self.serve_monitor()
            if show:
                text = self._read(".output")
                if len(text) > shown:
                    show(text[shown:])
                    shown = len(text)
            time.sleep(0.05)
        if show:
            show(self._read(".output")[shown:])
        status = self._read(".status").strip()
        if status:
            return int(status)
        if self.child.poll() not in (None, 0):
            raise CannotRun("QEMU ended with %s: %s" % (self.child.returncode, self._read(".qemu").strip()))
        tail = "\n".join(self._read(".console").splitlines()[-8:])
        print("guest: the script did not end within %d s; the console ends:\n%s" % (self.seconds, tail),
              file=sys.stderr)
        return TOO_LATE

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def main(arguments):
    extra = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, extra = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(prog="guest.py")
    parser.add_argument("script")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--kernel-words", default="")
    parser.add_argument("--share")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cachee-guest-") as temporary:
        guest = Guest(options.script, options.share or temporary, options.seconds, options.memory,
                      options.kernel_words, extra)
        try:
            guest.start()
            return guest.wait(lambda text: print(text, end=""))
        except CannotRun as reason:
            print("guest: cannot run here: %s" % reason, file=sys.stderr)
            return CANNOT_RUN
        finally:
            guest.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
