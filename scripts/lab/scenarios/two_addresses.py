"""one guest mounts two addresses of the server: what looks like one process to NLM is two"""

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.network import second_address
from harness.report import expect, expect_within
from harness.servers import CleatTwoAddresses

# From the server's start: both addresses have to be found again.
RECLAIM_LIMIT_S = 30


def run(lab):
    one, two = lab.guests
    with second_address() as second, lab.serving(CleatTwoAddresses, data="rw") as server:
        lab.path("data").chmod(0o1777)
        at = lab.mount(one, "data")
        lab.mount(two, "data")
        one.mount(lab.path("data"), "/mnt/second", server=second)
        one.sh(f"touch {at}/held {at}/recovered")
        by_second = "/mnt/second/{}".format
        with lockers(f"{at}/held", one, two) as (a, asker), lockers(by_second("held"), one) as (b,):
            same_names(lab, a, b, asker)
            conflict(lab, a, b)
            release(lab, a, b, asker)
        path = f"{at}/recovered"
        with lockers(path, one, two) as (a, asker), lockers(by_second("recovered"), one) as (b,):
            restart(lab, server, a, b, asker)


def same_names(lab, a, b, asker):
    title = "two processes of one guest, each by another address, have one and the same svid"
    with lab.check(title):
        expect("the lock by the first address", a.do("lock ex 0 10"), "ok")
        expect("the lock by the second address", b.do("lock ex 100 10"), "ok")
        first, second = asker.do("test ex 0 10"), asker.do("test ex 100 10")
        expect("first holder's range", first.split()[:3], ["ex", "0", "10"])
        expect("second holder's range", second.split()[:3], ["ex", "100", "10"])
        expect("second holder's svid", second.split()[3], first.split()[3])


def conflict(lab, a, b):
    with lab.check("each finds the other's lock in its way, and waits for it"):
        expect("the first's lock of the second's", a.do("lock sh 100 1"), "refused")
        expect("the second's lock of the first's", b.do("lock sh 9 1"), "refused")
        for waiter, holder, own in ((b, a, "0 10"), (a, b, "0 10")):
            waiter.ask(f"wait ex {own}")
            waiter.wait_until_queued()
            expect("the holder's unlock", holder.do(f"unlock {own}"), "ok")
            seconds, answer = seconds_until(waiter.answer)
            expect("the waiter", answer, "ok")
            expect_within("the hand-over", seconds, AT_ONCE_S)


def release(lab, a, b, asker):
    with lab.check("what one unlocks is its own alone"):
        expect("the first's lock", asker.do("test ex 0 10").rpartition(" ")[0], "ex 0 10")
        expect("the second's unlock of everything", b.do("unlock 0 0"), "ok")
        expect("the second's former lock", asker.do("test ex 100 10"), "free")
        expect("the first's lock still", asker.do("lock sh 5 1"), "refused")
        expect("the first's unlock", a.do("unlock 0 0"), "ok")
        expect("the whole file", asker.do("test ex 0 0"), "free")


def restart(lab, server, a, b, asker):
    with lab.check("after the server's death the guest reclaims by both addresses"):
        expect("the lock by the first address", a.do("lock ex 0 10"), "ok")
        expect("the lock by the second address", b.do("lock ex 100 10"), "ok")
        server.kill()
        server.start()
        asker.ask("lock ex 500 1")
        seconds, answer = seconds_until(lambda: asker.answer(120))
        expect("g2's lock of a free range", answer, "ok")
        expect_within("g2's lock of a free range", seconds, RECLAIM_LIMIT_S)
        expect("the first's lock, asked by the second", b.do("lock sh 0 1"), "refused")
        expect("the second's lock, asked by the first", a.do("lock sh 100 1"), "refused")
        expect("the first's unlock", a.do("unlock 0 10"), "ok")
        expect("its range, asked by g2", asker.do("test ex 0 10"), "free")
        expect("the second's lock still", asker.do("lock sh 100 1"), "refused")
