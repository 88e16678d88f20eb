"""Knows who claims which lock, and notices claims that exclude each other.

Lockers claim what they got after they got it, and give it up here before they do so on the server:
so two claims that exclude each other are two locks that do. Each of a locker's lines is answered
when it is noted; `torturer.py` in the guests is the other side.
"""

import socketserver
import statistics
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

from .network import SERVER

# What a lock may be refused with; a cycle only where something is held.
REFUSALS = {"GivenUp", "EAGAIN", "EACCES"}
CYCLE = "EDEADLOCK"
# Longer than any queue here, shorter than the 30 s after which Linux asks again by itself.
WAIT_LIMIT_S = 25
# Where all goes wrong, the first findings tell why.
FINDINGS_MAX = 100


@dataclass
class Locker:
    name: str
    # What it waits for, and since when.
    wanted: tuple | None = None
    wanted_at: float = 0.0
    # Whether it gave up a claim since then: what it held may be held still.
    gave_up: bool = False


@dataclass(frozen=True)
class Claim:
    """A cell of a file that a locker holds."""

    locker: str
    file: int
    cell: int
    mode: str


@dataclass
class Referee:
    files: int
    cells: int
    findings: list = field(default_factory=list)
    told: Counter = field(default_factory=Counter)
    waits_s: list = field(default_factory=list)

    def __post_init__(self):
        self.lock = threading.Lock()
        self.lockers = {}
        self.stopping = False
        # Per file and cell: who holds it how, and what its counter has to be.
        self.held = [[{} for _ in range(self.cells)] for _ in range(self.files)]
        self.counters = [[0] * self.cells for _ in range(self.files)]
        self.undisturbed_since = time.monotonic()

    def hear(self, key, verb, *words):
        """Takes note of a locker's line; the answer."""
        with self.lock:
            self.told[verb] += 1
            getattr(self, f"on_{verb}")(key, *words)
            return "stop" if self.stopping else "go"

    def find(self, text):
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f"{time.strftime('%H:%M:%S')} {text}")

    def on_hello(self, key, name):
        self.lockers[key] = Locker(name)

    def on_want(self, key, file, start, end, mode):
        locker = self.lockers[key]
        locker.wanted = (int(file), int(start), int(end), mode)
        locker.wanted_at = time.monotonic()
        locker.gave_up = False

    def on_gone(self, key, reason):
        locker = self.lockers[key]
        self.told[reason] += 1
        held = any(key in holders for file in self.held for holders in file)
        holds = held or locker.gave_up
        if reason not in REFUSALS and not (reason == CYCLE and holds):
            holding = "something" if holds else "nothing"
            self.find(f"{locker.name}, holding {holding}, got {reason} for {locker.wanted}")
        locker.wanted = None

    def on_hold(self, key, file, start, end, mode):
        locker = self.lockers[key]
        waited_s = time.monotonic() - locker.wanted_at
        self.waits_s.append(waited_s)
        if time.monotonic() - max(locker.wanted_at, self.undisturbed_since) > WAIT_LIMIT_S:
            self.find(f"{locker.name} waited {waited_s:.1f} s for {locker.wanted}")
        locker.wanted = None
        for cell in range(int(start), int(end)):
            holders = self.held[int(file)][cell]
            for other, held in holders.items():
                if other != key and "ex" in (held, mode):
                    other_name = self.lockers[other].name
                    self.find(
                        f"cell {cell} of file {file} is {locker.name}'s ({mode})"
                        f" and {other_name}'s ({held})"
                    )
            holders[key] = mode

    def on_weaken(self, key, file, start, end):
        for holders in self.held[int(file)][int(start) : int(end)]:
            holders[key] = "sh"

    def on_drop(self, key, file, start, end):
        self.lockers[key].gave_up = True
        for holders in self.held[int(file)][int(start) : int(end)]:
            holders.pop(key, None)

    def on_counted(self, key, file, cell, before):
        file, cell, before = int(file), int(cell), int(before)
        wanted = self.counters[file][cell]
        if before != wanted:
            name = self.lockers[key].name
            self.find(f"{name} read {before} in cell {cell} of file {file}, expected {wanted}")
        self.counters[file][cell] = before + 1

    def on_failed(self, key, *words):
        self.find(f"{self.lockers[key].name} failed: {' '.join(words)}")
        self.on_bye(key)

    def on_bye(self, key):
        self.lockers.pop(key, None)

    def lost(self, key):
        """A locker's connection ended."""
        with self.lock:
            if key in self.lockers and not self.stopping:
                self.find(f"{self.lockers[key].name} went away")
            self.leave(key)

    def forget(self, guest):
        """All lockers of a guest that is gone, with all that they claim."""
        with self.lock:
            for key in [key for key, it in self.lockers.items() if it.name.startswith(f"{guest}.")]:
                self.leave(key)

    def leave(self, key):
        # What it held may be held no more.
        for holders in (holders for file in self.held for holders in file):
            holders.pop(key, None)
        self.lockers.pop(key, None)

    @contextmanager
    def paused(self):
        """Every claim stands for as long as the block runs: nobody is answered."""
        with self.lock:
            yield [
                Claim(self.lockers[key].name, file, cell, mode)
                for file, cells in enumerate(self.held)
                for cell, holders in enumerate(cells)
                for key, mode in holders.items()
            ]

    def disturbed(self):
        """The server was away: whoever waits may have to wait for its clients to find it again."""
        self.undisturbed_since = time.monotonic()

    def stop(self):
        """Ends every locker at its next line."""
        self.stopping = True

    def begin(self):
        """Lets new lockers go on."""
        self.stopping = False

    def still_here(self):
        """Every locker, what it claims and what it waits for."""
        with self.lock:
            return [self.describe(key, locker) for key, locker in self.lockers.items()]

    def describe(self, key, locker):
        claims = [
            f"{holders[key]} {file}:{cell}"
            for file, cells in enumerate(self.held)
            for cell, holders in enumerate(cells)
            if key in holders
        ]
        holding = f" holding {', '.join(claims)}" if claims else ""
        waiting = f" waiting for {locker.wanted}" if locker.wanted else ""
        return locker.name + holding + waiting

    def median_wait_s(self):
        return statistics.median(self.waits_s) if self.waits_s else 0.0


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        referee, key = self.server.referee, self.client_address
        try:
            for line in self.rfile:
                answer = referee.hear(key, *line.decode().split())
                self.wfile.write(f"{answer}\n".encode())
        except ConnectionError:
            # A guest or a locker that was killed: `lost` tells.
            pass
        finally:
            referee.lost(key)


class RefereeServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, referee):
        super().__init__((SERVER, 0), Line)
        self.referee = referee
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"{SERVER}:{self.server_address[1]}"
