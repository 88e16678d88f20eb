"""The lab as a scenario sees it: guests, a server with exports, and checks to record."""

import subprocess
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from .guest import Guest
from .network import lay_bridge
from .report import CheckFailed, Report, expect
from .servers import SERVERS, Export

GUESTS = 2


class Lab:
    def __init__(self, directory, server_kind):
        self.directory = directory
        self.server_kind = server_kind
        self.report = Report()
        self.check = self.report.check
        self.scenario = None
        self.server = None
        lay_bridge()
        self.guests = [Guest(number, directory) for number in range(1, GUESTS + 1)]

    def boot(self):
        """Boots every guest, all at once."""
        for guest in self.guests:
            guest.start()
        for guest in self.guests:
            guest.wait_ready()

    def run(self, name, scenario):
        """Runs one scenario, and leaves fresh guests behind where it failed."""
        print(f"== {name}: {scenario.__doc__}", flush=True)
        self.scenario = name
        failed_before = self.report.failed
        try:
            scenario.run(self)
        except CheckFailed as failure:
            self.report.fail(f"{name} could go on", failure)
        if self.report.failed > failed_before:
            for guest in self.guests:
                guest.kill()
            self.boot()

    def path(self, export):
        """An export's directory, as the server's machine sees it."""
        return self.directory / "exports" / self.scenario / export

    @contextmanager
    def serving(self, system_rpcbind=True, **exports):
        """Runs the server on new exports and a new state, and ends it cleanly."""
        for name in exports:
            self.path(name).mkdir(parents=True)
        self.server = SERVERS[self.server_kind](
            self.directory / "server" / self.scenario,
            [Export(self.path(name), options) for name, options in exports.items()],
        )
        with self.rpcbind() if system_rpcbind else nullcontext():
            self.server.start()
            try:
                yield self.server
            finally:
                self.end_server()

    def end_server(self):
        for guest in self.guests:
            # Where a failed check left a guest hanging, it is booted anew after the scenario.
            with suppress(CheckFailed):
                guest.run("umount -a -t nfs", timeout_s=10)
        with self.check("SIGTERM ends the server cleanly"):
            expect("exit status", self.server.stop(), 0)

    @contextmanager
    def rpcbind(self):
        """A system's rpcbind, on the server's side."""
        Path("/run/rpcbind").mkdir(exist_ok=True)
        process = subprocess.Popen(["rpcbind", "-f", "-w"], stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def mount(self, guest, export, options=""):
        """Mounts an export in a guest; where it is mounted."""
        at = f"/mnt/{export}"
        guest.mount(self.path(export), at, options)
        return at
