"""processes of both guests wait for each other: one is told EDEADLK, and the others go on"""

import time

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.report import CheckFailed, expect, expect_within

# Python's names for one and the same number.
DEADLOCK = {"EDEADLK", "EDEADLOCK"}


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/first {at}/second {at}/upgraded")
        cycle_of_two(lab, one, two, at)
        cycle_of_four(lab, one, two, at)
        upgrades(lab, one, two, f"{at}/upgraded")
        free_bytes(lab, one, two, f"{at}/first")
        shared_twice(lab, one, two, f"{at}/second")


def expect_deadlock(what, locker, command):
    seconds, answer = seconds_until(lambda: locker.do(command))
    if answer not in DEADLOCK:
        raise CheckFailed(f"{what}: expected EDEADLK, got {answer!r}")
    expect_within(what, seconds, AT_ONCE_S)


def cycle_of_two(lab, one, two, at):
    with (
        lab.check("a cycle of two guests on one file ends with EDEADLK for who closes it"),
        lockers(f"{at}/first", one, two) as (a, b),
    ):
        expect("g1's lock", a.do("lock ex 0 1"), "ok")
        expect("g2's lock", b.do("lock ex 1 1"), "ok")
        a.ask("wait ex 1 1")
        a.wait_until_queued()
        expect_deadlock("g2's wait for what g1 holds", b, "wait ex 0 1")
        a.expect_silence(0.5)
        expect("g2's lock is still its own", b.do("unlock 1 1"), "ok")
        expect("g1's wait", a.answer(), "ok")
        expect("g2's lock of what g1 holds", b.do("lock sh 0 2"), "refused")


def cycle_of_four(lab, one, two, at):
    """From one guest to the other at each step: Linux keeps waits within a guest to itself."""
    with (
        lab.check("a cycle of four processes is found, and a wait beside it is none"),
        lockers(f"{at}/second", one, two, one, two, two) as (a, b, c, d, bystander),
    ):
        for place, locker in enumerate((a, b, c, d)):
            expect("a lock of each", locker.do(f"lock ex {place} 1"), "ok")
        for place, locker in enumerate((a, b, c), 1):
            locker.ask(f"wait ex {place} 1")
            locker.wait_until_queued()
        bystander.ask("wait ex 0 1")
        bystander.wait_until_queued()
        expect_deadlock("the wait that closes the cycle", d, "wait sh 0 1")
        expect("the fourth's unlock", d.do("unlock 3 1"), "ok")
        for locker in (c, b, a):
            expect("the wait of who is next", locker.answer(), "ok")
            expect("its unlock", locker.do("unlock 0 0"), "ok")
        expect("the bystander's wait", bystander.answer(), "ok")


def upgrades(lab, one, two, path):
    with (
        lab.check("two that share a range and both want it alone: one is told, the other gets it"),
        lockers(path, one, two) as (a, b),
    ):
        expect("g1's shared lock", a.do("lock sh 0 10"), "ok")
        expect("g2's shared lock", b.do("lock sh 0 10"), "ok")
        a.ask("wait ex 0 10")
        a.wait_until_queued()
        expect_deadlock("g2's upgrade", b, "wait ex 0 10")
        a.expect_silence(0.5)
        expect("g2's unlock", b.do("unlock 0 10"), "ok")
        expect("g1's upgrade", a.answer(), "ok")
        expect("g2's lock", b.do("lock sh 0 1"), "refused")


def free_bytes(lab, one, two, path):
    """A guest keeps to itself who waits for whom of its own processes: so nobody may wait at the
    server for what nobody holds."""
    with (
        lab.check("who waits for some bytes keeps nobody from the free ones beside"),
        lockers(path, one, one, two) as (a, c, b),
    ):
        expect("a's lock", a.do("lock ex 0 10"), "ok")
        expect("c's lock", c.do("lock ex 30 10"), "ok")
        b.ask("wait ex 0 20")
        b.wait_until_queued()
        seconds, answer = seconds_until(lambda: c.do("wait ex 10 10"))
        expect("c's wait for the free bytes", answer, "ok")
        expect_within("c's wait for the free bytes", seconds, AT_ONCE_S)
        a.ask("wait ex 30 10")
        a.expect_silence(0.5)
        expect("c's unlock", c.do("unlock 0 0"), "ok")
        expect("a's wait for c", a.answer(), "ok")
        expect("a's unlock", a.do("unlock 0 0"), "ok")
        expect("b's wait", b.answer(), "ok")


def shared_twice(lab, one, two, path):
    """The second flock is of another file description, so of another owner."""
    with lab.check("flock -s under flock -s ends while the other guest waits in flock -x"):
        inner = f"sleep 3; flock -s {path} true"
        reader = one.open(["flock", "-s", path, "sh", "-c", inner])
        time.sleep(1)
        writer = two.open(["flock", "-x", path, "true"])
        seconds, (status, output) = seconds_until(lambda: reader.finish(20))
        expect("the reader's status", (status, output), (0, ""))
        expect_within("the reader", seconds, 2 + AT_ONCE_S)
        expect("the writer's status", writer.finish(10), (0, ""))
