"""One guest: a Linux kernel with its NFS client, as a process that can be booted and killed."""

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass

from . import kernel
from .network import AGENT_PORT, SERVER, ip, lay_tap
from .report import CheckFailed, NoAnswer
from .sandbox import ROOT

BOOT_LIMIT_S = 60
# A machine with more to do than it can may lose the first SYN, and the second, 1 s and 3 s later.
CONNECT_S = 15
HERE = ROOT / "scripts" / "lab" / "guest"
# Where the guest finds the files beside its init.
TOOLS = "/run/lab"


@dataclass(frozen=True)
class User:
    """Whom a command in the guest runs as; it need not be in any passwd file."""

    uid: int
    gid: int
    groups: tuple = ()

    def prefix(self):
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, "--"]


class Channel:
    """A command running in a guest: its stdin and output, and at its end the exit status."""

    def __init__(self, guest, words, connect_s=CONNECT_S):
        self.guest = guest
        self.name = f"{guest.name}: {shlex.join(words)}"
        self.buffer = b""
        try:
            self.socket = guest.connect(connect_s)
        except OSError as error:
            raise CheckFailed(f"{self.name}: {error}") from None
        self.send_line(json.dumps(words))

    def send_line(self, line):
        try:
            self.socket.sendall(line.encode() + b"\n")
        except OSError as error:
            raise CheckFailed(f"{self.name}: {error}") from None

    def receive(self, deadline):
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise NoAnswer(f"{self.name}: no answer in time") from None
        except OSError as error:
            raise CheckFailed(f"{self.name}: {error}") from None
        self.buffer += data
        return data

    def read_line(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.buffer:
            if not self.receive(deadline):
                raise CheckFailed(f"{self.name}: ended, saying {self.buffer!r}")
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def finish(self, timeout_s):
        """Waits for the command's end: its exit status and what it wrote."""
        deadline = time.monotonic() + timeout_s
        while self.receive(deadline):
            pass
        self.close()
        output, _, status = self.buffer.rpartition(b"\0")
        if not status:
            raise CheckFailed(f"{self.name}: the guest went away")
        return int(status), output.decode(errors="replace")

    def close(self):
        self.socket.close()


class Guest:
    def __init__(self, number, directory):
        self.name = f"g{number}"
        self.address = f"10.77.0.{10 + number}"
        self.mac = f"02:00:00:00:77:{number:02x}"
        self.tap = f"tap{number}"
        self.directory = directory / self.name
        # What statd must remember from one boot to the next.
        self.nsm = self.directory / "nsm"
        for name in ("sm", "sm.bak"):
            (self.nsm / name).mkdir(parents=True)
        self.process = None
        lay_tap(self.tap)

    def start(self, *more):
        """Starts the kernel, `more` on its command line; `wait_ready` tells when it can be used."""
        words = [
            "linux.uml",
            "mem=256M",
            f"umid={self.name}",
            f"uml_dir={self.directory}",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={HERE}/init",
            f"vec0:transport=tap,ifname={self.tap},depth=128,gro=1,mac={self.mac}",
            "con0=fd:0,fd:1",
            "con=null",
            "quiet",
            f"LAB_NAME={self.name}",
            f"LAB_ADDR={self.address}",
            f"LAB_NSM={self.nsm}",
            *more,
        ]
        with open(self.directory / "console", "ab") as console:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env=kernel.environment(self.directory.parent),
            )

    def wait_ready(self):
        deadline = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < deadline:
            try:
                # A SYN sent before the guest listens is lost, and its repetitions come ever later.
                Channel(self, ["true"], connect_s=1).finish(5)
                return
            except CheckFailed:
                time.sleep(0.1)
            if self.process.poll() is not None:
                break
        console = self.directory / "console"
        raise CheckFailed(
            f"{self.name} did not boot; its console is {console}\n{kernel.why_not_booted(console)}"
        )

    def kill(self):
        """Ends the guest as a power cut would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def freeze(self):
        """Stops the whole machine where it is; `thaw` lets it go on as if nothing had been."""
        # The kernel alone: its processes are others that it traces, and it would not know what to
        # make of their stopping.
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def unplugged(self):
        """Out of everybody's reach for as long as the block runs."""
        ip(f"link set {self.tap} down")
        try:
            yield
        finally:
            ip(f"link set {self.tap} up")

    def connect(self, timeout_s):
        return socket.create_connection((self.address, AGENT_PORT), timeout_s)

    def open(self, words):
        return Channel(self, words)

    def run(self, command, user=None, timeout_s=60):
        """Runs a shell command: its exit status and what it wrote."""
        prefix = user.prefix() if user else []
        return self.open([*prefix, "sh", "-c", command]).finish(timeout_s)

    def sh(self, command, user=None, timeout_s=60):
        """Runs a shell command that has to succeed; what it wrote, without the last line's end."""
        status, output = self.run(command, user, timeout_s)
        if status != 0:
            raise CheckFailed(
                f"{self.name}: {command}\nexpected exit status 0, got {status}\n{output}"
            )
        return output.rstrip("\n")

    def mount(self, path, at, options="", server=SERVER):
        options = f"vers=3,proto=tcp,lock{options}"
        self.sh(f"mkdir -p {at} && mount -t nfs -o {options} {server}:{path} {at}")

    def unmount(self, at):
        self.sh(f"umount {at}")
