"""A process in a guest that takes and gives back locks step by step, as a scenario tells it."""

import time
from contextlib import contextmanager

from .guest import TOOLS
from .report import CheckFailed, NoAnswer

# An answer that needs no waiting: a round trip to the server, and a guest's slow system calls.
ANSWER_S = 10
# What the server says or grants at once. Where the clients' own repetition would have to help it
# takes 5 s, while they are told of grace, or 30 s; a busy machine may take a second over anything.
AT_ONCE_S = 4


class Locker:
    def __init__(self, guest, path):
        self.guest = guest
        self.path = path
        self.channel = guest.open(["python3", f"{TOOLS}/locker.py", path])
        self.pid = int(self.channel.read_line(ANSWER_S))

    def ask(self, command):
        """Sends a command whose answer is read later."""
        self.channel.send_line(command)

    def answer(self, timeout_s=ANSWER_S):
        return self.channel.read_line(timeout_s)

    def do(self, command, timeout_s=ANSWER_S):
        self.ask(command)
        return self.answer(timeout_s)

    def expect_silence(self, seconds):
        """Fails if an answer comes: the command asked for is still waiting."""
        try:
            came = self.channel.read_line(seconds)
        except NoAnswer:
            return
        raise CheckFailed(f"{self.guest.name}: expected to wait still, got {came!r}")

    def wait_until_queued(self):
        """Returns when the server has answered that the lock asked for has to be waited for."""
        deadline = time.monotonic() + ANSWER_S
        # Of all that a process sleeps in, only this comes after the server's answer.
        while self.guest.run(f"grep -q nlmclnt_block /proc/{self.pid}/stack")[0] != 0:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{self.guest.name}: expected the server to let it wait")

    def signal(self, name):
        self.guest.sh(f"kill -{name} {self.pid}")

    def close(self):
        # It may be waiting for a lock, where it would not see its stdin end.
        self.guest.run(f"kill -KILL {self.pid}")
        self.channel.close()


@contextmanager
def lockers(path, *guests):
    """One locker on the same file for each guest named; a guest may be named more than once."""
    opened = []
    try:
        for guest in guests:
            opened.append(Locker(guest, path))
        yield opened
    finally:
        for locker in opened:
            locker.close()


def seconds_until(answered):
    """How long a call took, and what it returned."""
    start = time.monotonic()
    result = answered()
    return time.monotonic() - start, result
