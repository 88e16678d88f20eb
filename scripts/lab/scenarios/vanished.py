"""a guest vanishes while it holds and waits: its locks stand until it is back, and delay nobody"""

import time

from harness.locker import AT_ONCE_S, Locker, lockers, seconds_until
from harness.report import expect, expect_within

AWAY_S = 12
# From the thaw: the clients' connections stood still meanwhile.
THAW_LIMIT_S = 15
# From the reboot notice to the grant.
GRANT_LIMIT_S = 10


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/held {at}/next {at}/other {at}/lost")
        frozen(lab, one, two, at)
        killed(lab, one, two, f"{at}/lost")


def frozen(lab, one, two, at):
    with (
        lockers(f"{at}/held", one, two, two) as (held, thief, waiter),
        lockers(f"{at}/next", two, one, two) as (before, chosen, behind),
        lockers(f"{at}/other", two, two) as (leaver, follower),
    ):
        for holder in (before, leaver):
            expect("g2's flock", holder.do("flock ex"), "ok")
        expect("g1's lock", held.do("lock ex 0 100"), "ok")
        for waiting in (chosen, behind, follower):
            waiting.ask("wait ex 0 10")
            waiting.wait_until_queued()
        one.freeze()
        try:
            while_frozen(lab, held, thief, waiter, before, behind, leaver, follower)
        finally:
            one.thaw()
        with lab.check("back again it has what was granted while it was away, once"):
            seconds, answer = seconds_until(lambda: chosen.answer(60))
            expect("g1's wait", answer, "ok")
            expect_within("g1's lock", seconds, THAW_LIMIT_S)
            behind.expect_silence(1)
            expect("g1's unlock", chosen.do("unlock 0 10"), "ok")
            expect("who waited behind it", behind.answer(), "ok")
        with lab.check("and what it held, until it gives it up"):
            waiter.expect_silence(0)
            expect("g1's unlock", held.do("unlock 0 100"), "ok")
            expect("g2's wait", waiter.answer(AT_ONCE_S), "ok")


def while_frozen(lab, held, thief, waiter, before, behind, leaver, follower):
    with lab.check("a frozen guest's lock stands, and what is granted to it is nobody else's"):
        expect("g2's lock", thief.do("lock sh 50 1"), "refused")
        expect("F_GETLK", thief.do("test ex 0 0").rpartition(" ")[0], "ex 0 100")
        waiter.ask("wait ex 0 10")
        waiter.wait_until_queued()
        expect("g2's release of what g1 waits for", before.do("flock un"), "ok")
        behind.expect_silence(1)
    with lab.check("no other guest's grant waits for the frozen one"):
        expect("the release", leaver.do("flock un"), "ok")
        seconds, answer = seconds_until(follower.answer)
        expect("the wait", answer, "ok")
        expect_within("the hand-over", seconds, AT_ONCE_S)
        time.sleep(AWAY_S)
        behind.expect_silence(0)
        waiter.expect_silence(0)


def killed(lab, one, two, path):
    with lockers(path, two, two) as (before, behind):
        with lab.check("a lock that was granted to a guest after its death stays its own"):
            expect("g2's flock", before.do("flock ex"), "ok")
            dead = Locker(one, path)
            dead.ask("wait ex 0 10")
            dead.wait_until_queued()
            behind.ask("wait ex 0 10")
            behind.wait_until_queued()
            one.kill()
            expect("g2's release", before.do("flock un"), "ok")
            behind.expect_silence(3)
        with lab.check("its reboot notice releases that too, and the next has it"):
            one.start()
            one.wait_ready()
            seconds, answer = seconds_until(lambda: behind.answer(60))
            expect("who waited behind it", answer, "ok")
            expect_within("the grant after the boot", seconds, GRANT_LIMIT_S)
