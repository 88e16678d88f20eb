"""the server is killed and started again: who held locks still does"""

from harness.locker import lockers, seconds_until
from harness.report import expect, expect_within

# Linux asks again every 5 s while it is told of grace. Grace itself may last 90 s.
GRANT_LIMIT_S = 20


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/held {at}/unheld")
        with lockers(f"{at}/held", one, one, two, two) as (a, b, thief, newcomer):
            with lab.check("locks are taken, and the server is killed and started again"):
                expect("g1's first lock", a.do("lock ex 0 100"), "ok")
                expect("g1's second lock", b.do("lock sh 200 100"), "ok")
                # g2 is a client the server knows too, with a lock of its own to reclaim.
                expect("g2's own lock", newcomer.do("lock ex 1000 1"), "ok")
                server.kill()
                server.start()
            recovery(lab, a, b, thief, newcomer)
        with lab.check("a second crash with nothing held opens no grace"):
            server.kill()
            server.start()
            with lockers(f"{at}/unheld", two) as (locker,):
                seconds, answer = seconds_until(lambda: locker.do("lock ex 0 1"))
                expect("g2's lock", answer, "ok")
                expect_within("g2's lock", seconds, 4)


def recovery(lab, a, b, thief, newcomer):
    with lab.check("new locks are granted within seconds of the reclaim"):
        thief.ask("lock ex 50 1")
        newcomer.ask("lock ex 500 10")
        seconds, answer = seconds_until(lambda: newcomer.answer(120))
        expect("g2's lock of a free range", answer, "ok")
        expect_within("g2's lock of a free range", seconds, GRANT_LIMIT_S)
    with lab.check("nobody took what g1 held"):
        expect("g2's lock of g1's range", thief.answer(120), "refused")
        expect("g2's lock of g1's shared range", thief.do("lock ex 299 1"), "refused")
        expect("the first, as F_GETLK tells it", thief.do("test ex 0 150")[:9], "ex 0 100 ")
        expect("the second, as F_GETLK tells it", thief.do("test ex 150 200")[:11], "sh 200 100 ")
        expect("g2's own lock, asked by g1", a.do("test ex 1000 1")[:9], "ex 1000 1")
    with lab.check("g1's unlock after the crash hands the range to a waiter in g2"):
        thief.ask("wait ex 50 1")
        thief.expect_silence(0.5)
        expect("g1's unlock", a.do("unlock 0 100"), "ok")
        seconds, answer = seconds_until(thief.answer)
        expect("g2's wait", answer, "ok")
        expect_within("the hand-over", seconds, 1)
        expect("g1's second unlock", b.do("unlock 200 100"), "ok")
        expect("g2's lock of it", thief.do("lock ex 200 100"), "ok")
