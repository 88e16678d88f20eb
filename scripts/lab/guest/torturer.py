"""Processes that lock, unlock, wait, upgrade and count on shared files, and tell a referee of it.

    torturer.py DIRECTORY REFEREE:PORT NAME SEED PROCESSES FILES CELLS

The files are `0`, `1`, ... in DIRECTORY. A file is CELLS cells of 4096 bytes, each with a counter
that is added to under an exclusive lock alone. What is claimed is told to the referee after it was
got, and given up before it is, so that at no time more is claimed than held.

A process that holds something waits for a limited time: Linux lets a process wait in its guest for
another of the same guest, and at the server for others, so that a cycle of both is seen by neither.
"""

import errno
import fcntl
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from contextlib import contextmanager

CELL_BYTES = 4096
COUNTER = struct.Struct("<q")
# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
FLOCK = struct.Struct("hhqqi4x")
TYPES = {"ex": fcntl.F_WRLCK, "sh": fcntl.F_RDLCK}
WHOLE_FILE = {"ex": fcntl.LOCK_EX, "sh": fcntl.LOCK_SH}
HOLD_S_MAX = 0.03
PATIENCE_S = (0.05, 2.0)
# A signal that comes in the moment before a system call does not interrupt it.
AGAIN_S = 0.2


class GivenUp(Exception):
    """The time to wait for a lock is over."""


class Patience:
    """Raises GivenUp where a call lasts too long, once, and never after the call."""

    def __init__(self):
        self.waiting = False
        signal.signal(signal.SIGALRM, self.over)

    def over(self, *_):
        if self.waiting:
            self.waiting = False
            raise GivenUp

    def call(self, ask, seconds):
        """With None, for as long as it takes."""
        try:
            self.waiting = True
            signal.setitimer(signal.ITIMER_REAL, seconds or 0, AGAIN_S)
            ask()
        finally:
            self.waiting = False
            signal.setitimer(signal.ITIMER_REAL, 0)


class Referee:
    def __init__(self, address, name):
        host, _, port = address.partition(":")
        self.stream = socket.create_connection((host, int(port))).makefile("rw")
        self.talking = threading.Lock()
        self.stopping = False
        self.tell("hello", name)

    def tell(self, *words):
        """Returns when the referee has taken note of it."""
        with self.talking:
            self.stream.write(" ".join(map(str, words)) + "\n")
            self.stream.flush()
            answer = self.stream.readline().strip()
        if answer not in ("go", "stop"):
            raise ConnectionError(f"the referee said {answer!r}")
        self.stopping = answer == "stop"


class Torturer:
    def __init__(self, directory, referee, seed, files, cells):
        self.random = random.Random(seed)
        self.patience = Patience()
        self.referee = referee
        self.cells = cells
        self.files = [open(f"{directory}/{n}", "r+b", buffering=0) for n in range(files)]

    def run(self):
        while not self.referee.stopping:
            self.turn()
        self.referee.tell("bye")

    def turn(self):
        if self.random.random() < 0.2:
            self.whole_file()
        else:
            self.byte_range()

    def whole_file(self):
        """One flock: Linux gives each its own owner, so its holder must not wait for more."""
        file = self.random.randrange(len(self.files))
        mode = self.random.choice(["ex", "sh"])
        waits = self.random.random() < 0.7
        kind = WHOLE_FILE[mode] if waits else WHOLE_FILE[mode] | fcntl.LOCK_NB
        words = (file, 0, self.cells, mode)
        patience_s = self.choose_patience(0.6) if waits else None
        if self.attempt(words, patience_s, lambda: fcntl.flock(self.files[file], kind)):
            self.use(*words)
            self.referee.tell("drop", file, 0, self.cells)
        fcntl.flock(self.files[file], fcntl.LOCK_UN)

    def byte_range(self):
        file, start, end, mode = words = self.pick()
        if not self.lock(words, self.choose_patience(0.6)):
            self.unlock(file, start, end)
            return
        self.use(*words)
        change = self.random.random()
        if change < 0.15 and mode == "sh":
            self.upgrade(file, start, end)
        elif change < 0.30 and mode == "ex":
            self.weaken(file, start, end)
        elif change < 0.45 and end - start > 1:
            self.give_up_middle(file, start, end)
        elif change < 0.60:
            self.second(file)
        self.referee.tell("drop", file, start, end)
        # A larger range than what is held, at times.
        if self.random.random() < 0.2:
            start, end = 0, self.cells
        self.unlock(file, start, end)

    def pick(self):
        file = self.random.randrange(len(self.files))
        start = self.random.randrange(self.cells)
        end = min(self.cells, start + self.random.choice([1, 1, 2, 3, self.cells]))
        return file, start, end, self.random.choice(["ex", "sh"])

    def choose_patience(self, endless):
        """Seconds, or None with a probability of `endless`."""
        return None if self.random.random() < endless else self.random.uniform(*PATIENCE_S)

    def lock(self, words, patience_s):
        """By fcntl, with or without waiting."""
        file, start, end, mode = words
        command = fcntl.F_SETLKW if self.random.random() < 0.7 else fcntl.F_SETLK
        ask = lambda: self.request(file, command, TYPES[mode], start, end)
        return self.attempt(words, patience_s, ask)

    def request(self, file, command, kind, start, end):
        first, length = start * CELL_BYTES, (end - start) * CELL_BYTES
        fcntl.fcntl(self.files[file], command, FLOCK.pack(kind, os.SEEK_SET, first, length, 0))

    def unlock(self, file, start, end):
        self.request(file, fcntl.F_SETLK, fcntl.F_UNLCK, start, end)

    def attempt(self, words, patience_s, ask):
        """Whether the lock of `words` was got; the referee knows either way."""
        self.referee.tell("want", *words)
        try:
            self.patience.call(ask, patience_s)
        except GivenUp:
            self.referee.tell("gone", "GivenUp")
        except OSError as error:
            self.referee.tell("gone", errno.errorcode[error.errno])
        else:
            self.referee.tell("hold", *words)
            return True
        return False

    def use(self, file, start, end, mode):
        """Holds a lock for a while, and counts where nobody else may."""
        if mode == "ex":
            self.count(file, self.random.randrange(start, end))
        time.sleep(self.random.uniform(0, HOLD_S_MAX))

    def count(self, file, cell):
        descriptor, offset = self.files[file].fileno(), cell * CELL_BYTES
        (before,) = COUNTER.unpack(os.pread(descriptor, COUNTER.size, offset))
        os.pwrite(descriptor, COUNTER.pack(before + 1), offset)
        os.fsync(descriptor)
        self.referee.tell("counted", file, cell, before)

    def upgrade(self, file, start, end):
        words = (file, start, end, "ex")
        with self.giving_up_claim(file, start, end):
            got = self.lock(words, None)
        if got:
            # Said again where the claim was given up in the same moment.
            self.referee.tell("hold", *words)
            self.use(*words)

    @contextmanager
    def giving_up_claim(self, file, start, end):
        """Interrupts a block that lasts too long, after the claim was given up.

        Where a waiting upgrade is interrupted, Linux may unlock what was held before.
        """
        main, ended = threading.get_ident(), threading.Event()

        def interrupt():
            self.referee.tell("drop", file, start, end)
            while not ended.is_set():
                signal.pthread_kill(main, signal.SIGALRM)
                ended.wait(AGAIN_S)

        timer = threading.Timer(self.choose_patience(0), interrupt)
        timer.start()
        try:
            yield
        finally:
            ended.set()
            timer.cancel()
            timer.join()

    def weaken(self, file, start, end):
        part = self.random.randrange(start, end)
        self.referee.tell("weaken", file, part, end)
        self.request(file, fcntl.F_SETLK, fcntl.F_RDLCK, part, end)
        self.use(file, part, end, "sh")

    def give_up_middle(self, file, start, end):
        part = self.random.randrange(start, end)
        self.referee.tell("drop", file, part, part + 1)
        self.unlock(file, part, part + 1)
        time.sleep(self.random.uniform(0, HOLD_S_MAX))

    def second(self, first):
        file, start, end, _ = words = self.pick()
        if file == first:
            return
        if self.lock(words, self.choose_patience(0)):
            self.use(*words)
            self.referee.tell("drop", file, start, end)
        self.unlock(file, start, end)


def child(directory, address, name, seed, files, cells):
    referee = Referee(address, name)
    try:
        Torturer(directory, referee, seed, files, cells).run()
    except Exception as error:
        traceback.print_exc()
        referee.tell("failed", repr(error))
        return 1
    return 0


def main(directory, address, name, seed, processes, files, cells):
    children = []
    for number in range(int(processes)):
        pid = os.fork()
        if pid == 0:
            words = (f"{name}.{number}", f"{seed}.{name}.{number}", int(files), int(cells))
            os._exit(child(directory, address, *words))
        children.append(pid)
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    return 1 if any(ended) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
