"""an administrator sees who holds and awaits what, and takes it away"""

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.report import expect, expect_within

# Linux asks again every 5 s while it is told of grace; this server's may last 90 s.
GRACE_RETRY_LIMIT_S = 15


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/held {at}/recorded")
        with lockers(f"{at}/held", one, two, two, one) as (holder, waiter, asker, loser):
            listing(lab, server, holder, waiter, asker)
            clients(lab, server)
            clear(lab, server, waiter, loser)
        with lockers(f"{at}/recorded", one, two) as (holder, newcomer):
            grace(lab, server, holder, newcomer)


def listing(lab, server, holder, waiter, asker):
    path = str(lab.path("data") / "held")
    with lab.check("cleat locks names path, client, process and whom a waiter waits for"):
        expect("g1's lock", holder.do("lock ex 0 100"), "ok")
        waiter.ask("wait ex 50 10")
        waiter.expect_silence(1)
        rows = {row["state"]: row for row in server.ask("locks")}
        expect("the states", sorted(rows), ["held", "waiting"])
        held, waiting = rows["held"], rows["waiting"]
        for row, guest, first, length in ((held, "g1", 0, 100), (waiting, "g2", 50, 10)):
            expect(f"{guest}'s path", row["path"], path)
            expect(f"{guest}'s name", row["client"].split("@")[0], guest)
            expect(f"{guest}'s mode", row["mode"], "exclusive")
            expect(f"{guest}'s range", (row["offset"], row["length"]), (first, length))
        expect("whom g2 waits for", [one["id"] for one in waiting["waits_for"]], [held["id"]])
        # What F_GETLK calls the holder's pid, with a sign that says that it is of another host.
        pid = int(asker.do("test ex 0 1").split()[-1])
        expect("g1's process", held["svid"], abs(pid))
        only = server.ask("locks", "--file", path, "--client", "g2")
        expect("g2's claims on the file", [row["id"] for row in only], [waiting["id"]])


def clients(lab, server):
    with lab.check("cleat clients tells both guests with their state"):
        rows = server.ask("clients")
        expect("names", sorted(row["name"] for row in rows), ["g1", "g2"])
        for row, guest in zip(sorted(rows, key=lambda row: row["name"]), lab.guests):
            expect(f"{guest.name}'s address", row["address"], guest.address)
            expect(f"{guest.name}'s state is that of a host that is up", row["nsm_state"] % 2, 1)


def clear(lab, server, waiter, loser):
    with lab.check("clearing the holder's client lets the waiter of the other guest go on"):
        released = server.ask("locks", "clear", "--client", "g1")
        expect("locks released", (released["locks"], released["waiters"]), (1, 0))
        seconds, answer = seconds_until(waiter.answer)
        expect("g2's wait", answer, "ok")
        expect_within("the hand-over", seconds, AT_ONCE_S)
        # Its kernel believes still to hold 0 to 99, and asks nobody for that.
        expect("g1's other process beside it", loser.do("lock ex 200 1"), "ok")
        states = [(row["client"].split("@")[0], row["state"]) for row in server.ask("locks")]
        expect("the table", sorted(states), [("g1", "held"), ("g2", "held")])


def grace(lab, server, holder, newcomer):
    one = lab.guests[0]
    with lab.check("cleat grace end lets new locks in while a client that held some is away"):
        expect("g1's lock", holder.do("lock ex 0 100"), "ok")
        with one.unplugged():
            server.kill()
            server.start()
            rows = server.ask("locks", "--file", str(lab.path("data") / "recorded"))
            expect("g1's lock on record", [row["state"] for row in rows], ["unreclaimed"])
            newcomer.ask("lock ex 200 10")
            newcomer.expect_silence(2)
            server.ask("grace", "end", json=False)
            seconds, answer = seconds_until(lambda: newcomer.answer(GRACE_RETRY_LIMIT_S))
            expect("g2's lock beside what g1 holds", answer, "ok")
            expect_within("g2's lock", seconds, GRACE_RETRY_LIMIT_S)
            expect("g2's lock of what g1 holds", newcomer.do("lock ex 50 10"), "refused")
            expect("the window", server.ask("status")["grace"], None)
