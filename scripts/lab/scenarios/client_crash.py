"""a guest is killed while it holds locks: when it boots again, they go to who waits"""

from harness.locker import Locker, lockers, seconds_until
from harness.report import expect, expect_within

# From the reboot notice to the grant.
GRANT_LIMIT_S = 10


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        path = f"{at}/held"
        one.sh(f"touch {path}")
        with lockers(path, two, two) as (waiter, other):
            crash(lab, one, path, waiter, other)
            boot(lab, one, waiter, other)
            lab.mount(one, "data")
            with lab.check("the guest that came back finds the others' locks in its way"):
                with lockers(path, one) as (again,):
                    expect("the waiter's lock", again.do("lock sh 0 1"), "refused")
                    expect("g2's own lock", again.do("lock sh 500 1"), "refused")
                    expect("a free range", again.do("lock ex 900 1"), "ok")


def crash(lab, one, path, waiter, other):
    with lab.check("a killed guest's locks stay while it is away"):
        victim = Locker(one, path)
        expect("g1's lock", victim.do("lock ex 0 100"), "ok")
        expect("g2's own lock", other.do("lock ex 500 1"), "ok")
        waiter.ask("wait ex 0 10")
        waiter.expect_silence(0.5)
        one.kill()
        waiter.expect_silence(3)
        expect("g2's lock", other.do("lock ex 50 1"), "refused")


def boot(lab, one, waiter, other):
    with lab.check("when it has booted again, the waiter has the lock"):
        one.start()
        one.wait_ready()
        seconds, answer = seconds_until(lambda: waiter.answer(60))
        expect("g2's wait", answer, "ok")
        expect_within("the grant after the boot", seconds, GRANT_LIMIT_S)
        expect("g2's lock of the rest", other.do("lock ex 50 50"), "ok")
