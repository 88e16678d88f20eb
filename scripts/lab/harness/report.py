"""What was checked and what came of it: one line for each check, and the closing count."""

import time
import traceback
from contextlib import contextmanager

# A failing command may say the same of thousands of files.
SHOWN_LINES = 12


class CheckFailed(Exception):
    """A check found something other than what it expected."""


class NoAnswer(CheckFailed):
    """A guest's command wrote nothing in the time it was given."""


def expect(what, got, wanted):
    if got != wanted:
        raise CheckFailed(f"{what}: expected {wanted!r}, got {got!r}")


def expect_within(what, seconds, limit):
    if seconds > limit:
        raise CheckFailed(f"{what}: expected it within {limit} s, it took {seconds:.1f} s")


def describe(failure):
    """What a check found, or where something broke that no check had in mind."""
    if isinstance(failure, CheckFailed):
        return str(failure)
    *_, frame = traceback.extract_tb(failure.__traceback__)
    return f"{type(failure).__name__}: {failure}\nat {frame.filename}:{frame.lineno}, {frame.line}"


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    @contextmanager
    def check(self, title):
        """Records the block as one check. A failure is reported, and what follows still runs."""
        start = time.monotonic()
        try:
            yield
        except Exception as failure:
            self.fail(title, failure, time.monotonic() - start)
        else:
            self.passed += 1
            print(f"ok   {time.monotonic() - start:6.1f} s  {title}", flush=True)

    def fail(self, title, failure, seconds=0.0):
        self.failed += 1
        print(f"FAIL {seconds:6.1f} s  {title}")
        lines = describe(failure).splitlines()
        omitted = [f"({len(lines) - SHOWN_LINES} more lines)"] if len(lines) > SHOWN_LINES else []
        for line in lines[:SHOWN_LINES] + omitted:
            print(" " * 15 + line, flush=True)

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0
