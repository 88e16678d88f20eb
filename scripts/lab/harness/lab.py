"""The lab as a scenario sees it: guests, a server with exports, and checks to record."""

import subprocess
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from .ganesha import Ganesha
from .guest import Guest
from .network import lay_bridge, registered_programs, wait_for_port, wait_for_program
from .report import CheckFailed, Report, expect
from .servers import Cleat, Export

RPCBIND_PROGRAM = "100000"
STATD_PROGRAM = "100024"
SERVERS = {"cleat": Cleat, "ganesha": Ganesha}


class Lab:
    def __init__(self, directory, server_kind, guests=2):
        self.directory = directory
        self.server_kind = server_kind
        self.report = Report()
        self.check = self.report.check
        self.scenario = None
        self.server = None
        lay_bridge()
        self.guests = [Guest(number, directory) for number in range(1, guests + 1)]

    def boot(self):
        """Boots every guest, all at once."""
        for guest in self.guests:
            guest.start()
        for guest in self.guests:
            guest.wait_ready()

    def run(self, name, scenario):
        """Runs one scenario, and leaves fresh guests behind where it failed.

        Whatever broke in it is its failure, and the next scenario's turn comes.
        """
        print(f"== {name}: {scenario.__doc__}", flush=True)
        self.scenario = name
        failed_before = self.report.failed
        try:
            scenario.run(self)
        except Exception as failure:
            self.report.fail(f"{name} could go on", failure)
        if self.report.failed > failed_before:
            for guest in self.guests:
                guest.kill()
            self.boot()

    def path(self, export):
        """An export's directory, as the server's machine sees it."""
        return self.directory / "exports" / self.scenario / export

    @contextmanager
    def serving(self, kind=None, system_rpcbind=True, system_statd=False, **exports):
        """Runs the server on new exports and a new state, and ends it cleanly.

        Each export is its options by its name.
        """
        for name in exports:
            self.path(name).mkdir(parents=True)
        self.server = (kind or self.server_kind)(
            self.directory / "server" / self.scenario,
            [Export(self.path(name), options) for name, options in exports.items()],
        )
        rpcbind = self.rpcbind() if system_rpcbind else nullcontext()
        with rpcbind, self.statd() if system_statd else nullcontext():
            self.server.start()
            try:
                yield self.server
            finally:
                self.end_server({STATD_PROGRAM} if system_statd else set())

    def end_server(self, others):
        for guest in self.guests:
            # Where a failed check left a guest hanging, it is booted anew after the scenario.
            with suppress(CheckFailed):
                guest.run("umount -a -t nfs", timeout_s=10)
        with self.check("SIGTERM ends the server cleanly, and nothing stays registered"):
            expect("exit status", self.server.stop(), 0)
            expect("programs registered", registered_programs() - {RPCBIND_PROGRAM}, others)

    @contextmanager
    def rpcbind(self):
        """A system's rpcbind, on the server's side."""
        Path("/run/rpcbind").mkdir(exist_ok=True)
        process = subprocess.Popen(["rpcbind", "-f", "-w"], stdin=subprocess.DEVNULL)
        try:
            # A server that finds port 111 free would take it.
            wait_for_port(111)
            yield
        finally:
            process.terminate()
            process.wait()

    @contextmanager
    def statd(self):
        """A system's status monitor, on the server's side."""
        words = ["rpc.statd", "--foreground", "--no-notify"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        try:
            wait_for_program(STATD_PROGRAM)
            yield
        finally:
            process.terminate()
            process.wait()

    def mount(self, guest, export, options=""):
        """Mounts an export in a guest; where it is mounted."""
        at = f"/mnt/{export}"
        guest.mount(self.path(export), at, options)
        return at
