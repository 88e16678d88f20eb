"""the server's machine runs its own rpc.statd: guests' restarts are heard through it, and back"""

from harness.locker import lockers, seconds_until
from harness.report import expect, expect_within

from .client_crash import boot, crash

# Linux asks again every 5 s while it is told of grace, and the window may close meanwhile.
RECLAIM_LIMIT_S = 20


def run(lab):
    one, two = lab.guests
    with lab.serving(system_statd=True, data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        path = f"{at}/held"
        one.sh(f"touch {path}")
        with lockers(path, two, two) as (waiter, other):
            crash(lab, one, path, waiter, other)
            boot(lab, one, waiter, other)
            lab.mount(one, "data")
            with lockers(path, one) as (again,), lab.check("the server's own restart is told too"):
                expect("g1's lock", again.do("lock ex 900 1"), "ok")
                server.kill()
                server.start()
                again.ask("lock ex 950 1")
                seconds, answer = seconds_until(lambda: again.answer(120))
                expect("g1's lock of a free range", answer, "ok")
                expect_within("g1's lock of a free range", seconds, RECLAIM_LIMIT_S)
                expect("g2's lock of g1's range", other.do("lock ex 900 1"), "refused")
                expect("g1's lock of g2's range", again.do("lock sh 500 1"), "refused")
