"""A server process under test, and Cleat as one."""

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from json import loads
from pathlib import Path

from .network import SECOND_SERVER, SERVER
from .report import CheckFailed
from .sandbox import ROOT

START_LIMIT_S = 30
# Of a log, where a server fails to start.
SHOWN_LINES = 8
STOP_LIMIT_S = 10
ASK_LIMIT_S = 10


@dataclass(frozen=True)
class Export:
    path: Path
    # Words of exports(5), with commas between.
    options: str


class Server:
    """A server process that can be started, stopped and killed on the same exports and state."""

    def __init__(self, directory, exports):
        self.directory = directory
        self.exports = exports
        self.log = directory / "log"
        self.process = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self):
        self.spawn()
        self.wait_ready()

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self):
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(
                    f"the server did not get ready; {self.log} ends with\n{self.tail()}"
                )
            time.sleep(0.05)

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-SHOWN_LINES:])

    def stop(self):
        """Asks for a clean end; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CheckFailed(f"the server went on for {STOP_LIMIT_S} s after SIGTERM") from None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Cleat(Server):
    BINARY = ROOT / "target" / "release" / "cleat"

    def __init__(self, directory, exports, more_flags=()):
        super().__init__(directory, exports)
        self.ready_before = 0
        # Beside those that every server gets; a scenario may change them for the next start.
        self.more_flags = list(more_flags)
        self.log_before = 0
        if not self.BINARY.exists():
            raise CheckFailed(f"{self.BINARY} is missing: cargo build --release builds it")

    def command(self):
        words = [str(self.BINARY), "serve"]
        for export in self.exports:
            words += ["--export", f"{export.path}:{export.options}"]
        return [*words, *self.flags()]

    def flags(self):
        return ["--listen", SERVER, "--state-dir", str(self.directory / "state"), *self.more_flags]

    def restart_killed(self, *more):
        """Kills it and starts it with other flags; what it logs from there on is `logged`."""
        self.kill()
        self.more_flags = list(more)
        self.log_before = self.log.stat().st_size
        self.start()

    def logged(self):
        return self.log.read_bytes()[self.log_before :].decode(errors="replace")

    def ask(self, *words, json=True):
        """What an administrator's command tells of this server."""
        words = [str(self.BINARY), *words, "--state-dir", str(self.directory / "state")]
        if json:
            words.append("--json")
        ran = subprocess.run(words, capture_output=True, text=True, timeout=ASK_LIMIT_S)
        if ran.returncode != 0:
            raise CheckFailed(f"{' '.join(words)}: status {ran.returncode}: {ran.stderr}")
        return loads(ran.stdout) if json else ran.stdout

    def spawn(self):
        self.ready_before = self.ready_lines()
        super().spawn()

    def is_ready(self):
        return self.ready_lines() > self.ready_before

    def ready_lines(self):
        if not self.log.exists():
            return 0
        return sum(line.startswith("ready") for line in self.log.read_text().splitlines())


class CleatQuickstart(Cleat):
    """Cleat as its README starts it. It is built already, so nothing is asked of the network."""

    def command(self):
        script = str(ROOT / "scripts" / "serve")
        return [script, str(self.exports[0].path), *self.flags()]

    def mount_command(self, path):
        """What a client's user is told to type, but for where to mount."""
        printed = re.search(rf"mount -t nfs .*:{path}(?=\s|$)", self.log.read_text(), re.MULTILINE)
        if not printed:
            raise CheckFailed(f"expected the server to print how to mount {path}: see {self.log}")
        return printed.group()


class CleatTwoAddresses(Cleat):
    """Cleat on both addresses of a machine that has two."""

    def flags(self):
        return [*super().flags(), "--listen", SECOND_SERVER]


class CleatUnprivileged(Cleat):
    """Cleat with no capability at all, as anybody's process is."""

    def command(self):
        return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *super().command()]
