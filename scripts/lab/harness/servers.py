"""The servers a lab can run: Cleat, and NFS-Ganesha to compare it with."""

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .network import SERVER
from .report import CheckFailed
from .sandbox import ROOT

START_LIMIT_S = 30
STOP_LIMIT_S = 10


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
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"the server did not get ready; its log is {self.log}")
            time.sleep(0.05)

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
    def __init__(self, directory, exports):
        super().__init__(directory, exports)
        self.ready_before = 0

    def command(self):
        words = [str(ROOT / "target" / "release" / "cleat"), "serve"]
        for export in self.exports:
            words += ["--export", f"{export.path}:{export.options}"]
        return [*words, "--listen", SERVER, "--state-dir", str(self.directory / "state")]

    def start(self):
        self.ready_before = self.ready_lines()
        super().start()

    def is_ready(self):
        return self.ready_lines() > self.ready_before

    def ready_lines(self):
        if not self.log.exists():
            return 0
        return sum(line.startswith("ready") for line in self.log.read_text().splitlines())


class Ganesha(Server):
    """NFS-Ganesha on its VFS, with the rpc.statd it leaves NSM to."""

    SQUASH = {"root_squash": "Root_Squash", "no_root_squash": "No_Root_Squash"}

    def __init__(self, directory, exports):
        super().__init__(directory, exports)
        self.config = directory / "ganesha.conf"
        self.started_before = False
        self.statd = None
        Path("/run/ganesha").mkdir(exist_ok=True)
        Path("/var/lib/nfs/ganesha").mkdir(exist_ok=True)

    def write_config(self):
        # Unlike Cleat, it would hold every first start in grace too, and refuse writes meanwhile.
        graceless = not self.started_before
        self.config.write_text(
            f"NFS_CORE_PARAM {{ Protocols = 3; mount_path_pseudo = false; }}\n"
            f"NFSv4 {{ Graceless = {graceless}; }}\n"
            + "".join(map(self.export, range(len(self.exports))))
        )

    def export(self, index):
        path, words = self.exports[index].path, self.exports[index].options.split(",")
        access = "RO" if "ro" in words else "RW"
        squash = next((self.SQUASH[word] for word in words if word in self.SQUASH), "Root_Squash")
        return (
            f"EXPORT {{ Export_Id = {index + 1}; Path = {path}; Pseudo = {path}; Protocols = 3;"
            f" Access_Type = {access}; Squash = {squash}; SecType = sys;"
            f" Anonymous_uid = 65534; Anonymous_gid = 65534; FSAL {{ Name = VFS; }} }}\n"
        )

    def command(self):
        pid_file = str(self.directory / "pid")
        log = str(self.directory / "ganesha.log")
        return ["ganesha.nfsd", "-F", "-f", str(self.config), "-L", log, "-p", pid_file]

    def start(self):
        if self.statd is None:
            self.statd = subprocess.Popen(
                ["rpc.statd", "--foreground", "--no-notify"], stderr=subprocess.DEVNULL
            )
        # It drops its monitor list when it starts: whoever is to be told must be told before.
        subprocess.run(["sm-notify", "-f"], check=True)
        self.write_config()
        self.started_before = True
        super().start()

    def stop(self):
        status = super().stop()
        self.statd.terminate()
        self.statd.wait()
        return status

    def is_ready(self):
        return answers("status", "1") and answers("nlockmgr", "4")


def answers(program, version):
    words = ["rpcinfo", "-t", SERVER, program, version]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


SERVERS = {"cleat": Cleat, "ganesha": Ganesha}
