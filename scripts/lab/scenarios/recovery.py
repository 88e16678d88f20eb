"""what becomes of the locks of a guest that is frozen or gone, and of who does not care"""

import time
from contextlib import contextmanager

from harness.locker import AT_ONCE_S, Locker, lockers, seconds_until
from harness.report import CheckFailed, expect, expect_within

# How long reclaiming may take in this scenario.
GRACE_S = 8
HOLD_S = 10
LEASE_S = 6
# What a guest out of reach misses is sent again after 2, 4, 8, 16 s and so on.
REACH_LIMIT_S = 60
# Linux asks again every 5 s while it is told of grace, and so do the guests' slow clocks.
RETRY_S = 10


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/instant {at}/hold {at}/lease")
        with lockers(f"{at}/instant", one, two, two) as (a, own, b):
            instant(lab, server, one, two, a, own, b)
        with lockers(f"{at}/hold", one, two, two) as (a, own, b):
            hold(lab, server, one, a, own, b)
        lease(lab, server, one, two, f"{at}/lease")


@contextmanager
def frozen(guest):
    guest.freeze()
    try:
        yield
    finally:
        guest.thaw()


def instant(lab, server, one, two, a, own, b):
    with lab.check("instant: while a guest that holds locks is frozen, the other gets new ones"):
        expect("g1's lock", a.do("lock ex 0 100"), "ok")
        expect("g2's own lock", own.do("lock ex 1000 1"), "ok")
        with frozen(one):
            server.restart_killed("--recovery", "instant", "--grace-s", str(GRACE_S))
            await_reclaimed(server, two)
            seconds, answer = seconds_until(lambda: b.do("lock ex 500 10"))
            expect("g2's lock of a free range", answer, "ok")
            expect_within("g2's lock of a free range", seconds, AT_ONCE_S)
            expect("g2's lock of g1's range", b.do("lock sh 50 1"), "refused")
            expect("the way of it", b.do("test ex 0 100").rpartition(" ")[0], "ex 0 100")
            # Longer than it may take to reclaim, had it been told.
            time.sleep(GRACE_S + 2)
            expect("g2's lock of it later", b.do("lock sh 50 1"), "refused")
    with lab.check("instant: the guest reclaims when it is back, and keeps its lock"):
        await_line(server, "the client knows that this server restarted client=\"nlm:g1@")
        # Were it not reclaimed it would be dropped now.
        time.sleep(GRACE_S + 2)
        expect("g2's lock of g1's range", b.do("lock sh 50 1"), "refused")
        if "locks are taken" in server.logged():
            raise CheckFailed(f"locks were taken, see {server.log}")
        b.ask("wait ex 50 1")
        b.expect_silence(1)
        expect("g1's unlock", a.do("unlock 0 100"), "ok")
        expect("g2's wait", b.answer(), "ok")


def hold(lab, server, one, a, own, b):
    flags = ["--grace-s", str(GRACE_S), "--unreachable-hold-s", str(HOLD_S)]
    expect("g1's lock", a.do("lock ex 0 100"), "ok")
    with frozen(one):
        with lab.check("strict: a frozen guest's lock stands when the window is over"):
            server.restart_killed(*flags)
            own.ask("lock ex 500 10")
            expect("g2's lock of a free range", own.answer(GRACE_S + RETRY_S), "ok")
            expect("g2's lock of g1's range", b.do("lock ex 50 1"), "refused")
        with lab.check("strict: it goes to who waits when the hold is over"):
            b.ask("wait ex 50 1")
            expect("g2's wait", b.answer(HOLD_S + RETRY_S), "ok")
            await_line(server, "nor acknowledge the restart")
    with lab.check("strict: back again, the guest finds the other's lock in its way"):
        with lockers(a.path, one) as (again,):
            expect("g1's lock", again.do("lock ex 50 1", REACH_LIMIT_S), "refused")
            expect("g1's lock of the rest", again.do("lock ex 200 1"), "ok")


def lease(lab, server, one, two, path):
    with lab.check("client_lease: a guest that vanished holds nobody up for longer than that"):
        server.restart_killed("--client-lease-s", str(LEASE_S), "--recovery", "instant")
        with lockers(path, two, two) as (b, other):
            victim = Locker(one, path)
            expect("g1's lock", victim.do("lock ex 0 100", REACH_LIMIT_S), "ok")
            expect("g1's other lock", victim.do("lock ex 200 1"), "ok")
            b.ask("wait ex 0 10")
            # It answers: that somebody waits for it is no reason to take anything from it.
            b.expect_silence(2 * LEASE_S)
            one.kill()
            seconds, answer = seconds_until(lambda: b.answer(3 * LEASE_S + RETRY_S))
            expect("g2's wait", answer, "ok")
            if seconds < LEASE_S - 1:
                raise CheckFailed(f"g2 had the lock after {seconds:.1f} s already")
            expect("what nobody waited for", other.do("lock ex 200 1"), "refused")
            await_line(server, "others wait for them, and it has answered nothing for")
    with lab.check("client_lease: booted again, the guest locks as any other"):
        one.start()
        one.wait_ready()
        lab.mount(one, "data")
        with lockers(path, one) as (again,):
            expect("g1's lock", again.do("lock ex 200 1"), "ok")


def await_reclaimed(server, guest):
    """Returns when all that a guest held is its own again, and its kernel knows it.

    Linux lets a request wait for 5 s that comes while it reclaims, and does not ask the server.
    """
    expected = f"{guest.name}: expected its locks to be reclaimed"
    await_that(lambda: not is_reclaiming(server, guest), AT_ONCE_S, expected)


def is_reclaiming(server, guest):
    rows = server.ask("locks", "--client", guest.name)
    return (
        any(row["state"] == "unreclaimed" for row in rows)
        or guest.run("grep -qs ' reclaimer+' /proc/[0-9]*/stack")[0] == 0
    )


def await_line(server, line):
    said = f"expected the log to say {line!r}; see {server.log}"
    await_that(lambda: line in server.logged(), REACH_LIMIT_S, said)


def await_that(is_so, limit_s, expected):
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise CheckFailed(expected)
        time.sleep(0.2)
