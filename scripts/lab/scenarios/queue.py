"""processes of both guests wait in a row: they are served in the order they came"""

import time
from contextlib import contextmanager

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.report import expect, expect_within

IN_ROW = 10
IN_CRASH = 6
# After the server's death the guests have to connect anew, and Linux takes its time for it.
RECOVERY_LIMIT_S = 30


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/row {at}/crash")
        with lab.check(f"{IN_ROW} processes of two guests each get the lock once, in their order"):
            with row(f"{at}/row", one, two, IN_ROW) as (holder, waiters):
                expect("the holder's release", holder.do("flock un"), "ok")
                serve(waiters, AT_ONCE_S)
                expect_free(holder, waiters)
        with row(f"{at}/crash", one, two, IN_CRASH) as (holder, waiters):
            crash(lab, server, holder, waiters)


@contextmanager
def row(path, one, two, count):
    """A process that holds the file, and `count` that wait for it at the server."""
    with lockers(path, one) as (holder,), lockers(path, *[one, two] * (count // 2)) as waiters:
        # Not by fcntl: Linux keeps who waits for a process of its own guest from the server.
        expect("the holder's flock", holder.do("flock ex"), "ok")
        for waiter in waiters:
            waiter.ask("wait ex 0 10")
            waiter.wait_until_queued()
        yield holder, waiters


def serve(waiters, limit_s):
    """Expects each to get the lock, and nobody else, until it gives it up."""
    for place, waiter in enumerate(waiters, 1):
        seconds, answer = seconds_until(lambda: waiter.answer(60))
        expect(f"number {place} in the row", answer, "ok")
        expect_within(f"number {place}", seconds, limit_s)
        # Time for a second grant, which should not come.
        time.sleep(0.2)
        for later in waiters[place:]:
            later.expect_silence(0)
        expect(f"number {place}'s unlock", waiter.do("unlock 0 10"), "ok")


def expect_free(holder, waiters):
    for asker in (holder, *waiters[:2]):
        expect("the file in the end", asker.do("test ex 0 0"), "free")


def crash(lab, server, holder, waiters):
    half = len(waiters) // 2
    with lab.check("the server is killed under the row: the first are served in their order"):
        server.kill()
        server.start()
        expect("the holder's release", holder.do("flock un", RECOVERY_LIMIT_S), "ok")
        serve(waiters[:half], RECOVERY_LIMIT_S)
    with lab.check("it is killed again while the next has the lock: the rest follow in order"):
        seconds, answer = seconds_until(lambda: waiters[half].answer(60))
        expect("the next in the row", answer, "ok")
        expect_within("the next", seconds, RECOVERY_LIMIT_S)
        server.kill()
        server.start()
        time.sleep(1)
        for later in waiters[half + 1 :]:
            later.expect_silence(0)
        expect("its unlock", waiters[half].do("unlock 0 10", RECOVERY_LIMIT_S), "ok")
        serve(waiters[half + 1 :], RECOVERY_LIMIT_S)
        expect_free(holder, waiters)
