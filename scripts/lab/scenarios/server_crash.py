"""the server is killed and started again: who held locks still does"""

import time

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.report import expect, expect_within

# Linux asks again every 5 s while it is told of grace. Grace itself may last 90 s.
GRANT_LIMIT_S = 20
# A notice that found nobody is sent again at some interval, and then the client has to reconnect.
REACH_LIMIT_S = 45
OUT_OF_REACH_S = 8


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/held {at}/away {at}/unheld")
        with lockers(f"{at}/held", one, one, two, two) as (a, b, thief, newcomer):
            crash(lab, server, a, b, newcomer)
            recovery(lab, thief, newcomer)
            what_was_held(lab, a, b, thief)
        with lockers(f"{at}/away", one, two, two) as (a, thief, newcomer):
            out_of_reach(lab, server, one, a, thief, newcomer)
        with lab.check("after a crash with nothing held, no grace keeps a lock waiting"):
            server.kill()
            server.start()
            with lockers(f"{at}/unheld", two) as (locker,):
                seconds, answer = seconds_until(lambda: locker.do("lock ex 0 1"))
                expect("g2's lock", answer, "ok")
                expect_within("g2's lock", seconds, 4.5)


def crash(lab, server, a, b, newcomer):
    with lab.check("both guests hold locks, the server is killed and started again"):
        expect("g1's first lock", a.do("lock ex 0 100"), "ok")
        expect("g1's second lock", b.do("lock sh 200 100"), "ok")
        expect("g2's own lock", newcomer.do("lock ex 1000 1"), "ok")
        server.kill()
        server.start()


def recovery(lab, thief, newcomer):
    with lab.check("new locks are granted within seconds of the reclaim"):
        thief.ask("lock ex 50 1")
        newcomer.ask("lock ex 500 10")
        seconds, answer = seconds_until(lambda: newcomer.answer(120))
        expect("g2's lock of a free range", answer, "ok")
        expect_within("g2's lock of a free range", seconds, GRANT_LIMIT_S)


def what_was_held(lab, a, b, thief):
    with lab.check("nobody took what g1 held"):
        expect("g2's lock of g1's range", thief.answer(120), "refused")
        expect("g2's lock of g1's shared range", thief.do("lock ex 299 1"), "refused")
        expect_holder("g1's first lock", thief, "ex 0 100")
        expect_holder("g1's second lock", thief, "sh 200 100")
        expect_holder("g2's own lock", a, "ex 1000 1")
    with lab.check("g1's unlock after the crash hands the range to a waiter in g2"):
        thief.ask("wait ex 50 1")
        thief.expect_silence(0.5)
        expect("g1's unlock", a.do("unlock 0 100"), "ok")
        seconds, answer = seconds_until(thief.answer)
        expect("g2's wait", answer, "ok")
        expect_within("the hand-over", seconds, AT_ONCE_S)
        expect("g1's second unlock", b.do("unlock 200 100"), "ok")
        expect("g2's lock of it", thief.do("lock ex 200 100"), "ok")


def out_of_reach(lab, server, one, a, thief, newcomer):
    with lab.check("a guest that is out of reach at the restart reclaims when it is back"):
        expect("g1's lock", a.do("lock ex 0 100"), "ok")
        with one.unplugged():
            server.kill()
            server.start()
            thief.ask("lock ex 50 1")
            newcomer.ask("lock ex 500 10")
            time.sleep(OUT_OF_REACH_S)
        seconds, answer = seconds_until(lambda: newcomer.answer(120))
        expect("g2's lock of a free range", answer, "ok")
        expect_within("g2's lock of a free range", seconds, REACH_LIMIT_S)
        expect("g2's lock of g1's range", thief.answer(120), "refused")
        expect_holder("g1's lock", thief, "ex 0 100")
        expect("g1's unlock", a.do("unlock 0 100"), "ok")
        expect("g2's lock of it", thief.do("lock ex 0 100"), "ok")


def expect_holder(what, asker, lock):
    """Expects F_GETLK on the lock's own range to tell of it, whatever process id it names."""
    _, start, length = lock.split()
    told = asker.do(f"test ex {start} {length}")
    expect(f"{what}, as F_GETLK tells it", told.rpartition(" ")[0], lock)
