"""locks hold between two guests"""

import time

from harness.locker import AT_ONCE_S, lockers, seconds_until
from harness.report import CheckFailed, expect, expect_within

SQLITE_ROWS = 40


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        for case in (
            exclusive,
            shared,
            holder,
            middle,
            upgrade,
            flock,
            handover,
            interrupted,
            killed,
            sqlite,
        ):
            path = f"{at}/{case.__name__}"
            one.sh(f"touch {path}")
            case(lab, one, two, path)


def exclusive(lab, one, two, path):
    with lab.check("an exclusive lock refuses the other guest"), lockers(path, one, two) as (a, b):
        expect("g1's lock", a.do("lock ex 0 100"), "ok")
        for request in ("lock ex 0 100", "lock sh 99 1", "lock ex 50 0"):
            expect(f"g2's {request}", b.do(request), "refused")
        expect("g2's lock beside it", b.do("lock ex 100 10"), "ok")
        expect("g1's unlock", a.do("unlock 0 100"), "ok")
        expect("g2's lock after it", b.do("lock ex 0 100"), "ok")


def shared(lab, one, two, path):
    with (
        lab.check("a shared lock is shared, and refuses a writer"),
        lockers(path, one, two) as (a, b),
    ):
        expect("g1's lock", a.do("lock sh 0 0"), "ok")
        expect("g2's shared lock", b.do("lock sh 10 10"), "ok")
        expect("g2's exclusive lock", b.do("lock ex 30 1"), "refused")


def holder(lab, one, two, path):
    title = "F_GETLK tells the lock in the way, and tells two holders apart"
    with lab.check(title), lockers(path, one, one, two) as (a, b, asker):
        expect("free", asker.do("test ex 0 0"), "free")
        expect("g1's first lock", a.do("lock ex 10 20"), "ok")
        expect("g1's second lock", b.do("lock sh 100 5"), "ok")
        *first, first_pid = asker.do("test ex 0 50").split()
        *second, second_pid = asker.do("test ex 50 0").split()
        expect("first holder", first, ["ex", "10", "20"])
        expect("second holder", second, ["sh", "100", "5"])
        if first_pid == second_pid:
            raise CheckFailed(f"expected two holders, got {first_pid} for both")
        expect("a shared lock's way", asker.do("test sh 100 5"), "free")


def middle(lab, one, two, path):
    title = "unlocking the middle of a range leaves its two ends"
    with lab.check(title), lockers(path, one, two) as (a, b):
        expect("g1's lock", a.do("lock ex 0 100"), "ok")
        expect("g1's unlock", a.do("unlock 40 20"), "ok")
        expect("the middle", b.do("lock ex 40 20"), "ok")
        for request in ("lock sh 39 1", "lock sh 60 1", "lock sh 0 1", "lock sh 99 1"):
            expect(f"g2's {request}", b.do(request), "refused")


def upgrade(lab, one, two, path):
    title = "a shared range is upgraded and downgraded, where no other shares it"
    with lab.check(title), lockers(path, one, two) as (a, b):
        expect("g1's shared lock", a.do("lock sh 0 100"), "ok")
        expect("g2's shared lock", b.do("lock sh 50 100"), "ok")
        expect("g1's upgrade of what g2 shares", a.do("lock ex 0 100"), "refused")
        expect("g1's upgrade of its own part", a.do("lock ex 0 50"), "ok")
        expect("g2's shared lock on it", b.do("lock sh 0 10"), "refused")
        expect("g1's downgrade", a.do("lock sh 0 50"), "ok")
        expect("g2's shared lock now", b.do("lock sh 0 10"), "ok")


def flock(lab, one, two, path):
    with lab.check("flock excludes the other guest"), lockers(path, one, two) as (a, b):
        expect("g1's flock", a.do("flock ex"), "ok")
        expect("g2's flock", b.do("flock sh"), "refused")
        expect("g1's shared flock", a.do("flock sh"), "ok")
        expect("g2's shared flock", b.do("flock sh"), "ok")
        expect("g2's release", b.do("flock un"), "ok")
        expect("g1's exclusive flock", a.do("flock ex"), "ok")


def handover(lab, one, two, path):
    title = "an unlock hands the range to F_SETLKW in the other guest at once"
    with lab.check(title), lockers(path, one, two) as (a, b):
        for holder, waiter in ((a, b), (b, a)) * 2:
            expect("the holder's lock", holder.do("lock ex 0 10"), "ok")
            waiter.ask("wait ex 5 10")
            waiter.expect_silence(0.5)
            expect("the holder's unlock", holder.do("unlock 0 10"), "ok")
            seconds, answer = seconds_until(waiter.answer)
            expect("the waiter", answer, "ok")
            expect_within("the hand-over", seconds, AT_ONCE_S)
            expect("the former holder", holder.do("lock sh 5 1"), "refused")
            expect("the waiter's unlock", waiter.do("unlock 5 10"), "ok")
    with (
        lab.check("two waiters are served in the order they came"),
        lockers(path, one, one, two) as (a, late, early),
    ):
        expect("the holder's lock", a.do("lock ex 0 10"), "ok")
        early.ask("wait ex 0 10")
        early.expect_silence(1)
        late.ask("wait ex 0 10")
        late.expect_silence(1)
        expect("the holder's unlock", a.do("unlock 0 10"), "ok")
        expect("the early waiter", early.answer(AT_ONCE_S), "ok")
        late.expect_silence(1)
        expect("the early waiter's unlock", early.do("unlock 0 10"), "ok")
        expect("the late waiter", late.answer(AT_ONCE_S), "ok")


def interrupted(lab, one, two, path):
    title = "an interrupted wait leaves nothing behind"
    with lab.check(title), lockers(path, one, two, one) as (a, waiter, third):
        expect("g1's lock", a.do("lock ex 0 10"), "ok")
        waiter.ask("wait ex 0 10")
        waiter.expect_silence(1)
        waiter.signal("INT")
        expect("the waiter", waiter.answer(), "interrupted")
        expect("g1's unlock", a.do("unlock 0 10"), "ok")
        expect("another's lock", third.do("lock ex 0 10"), "ok")
        expect("another's unlock", third.do("unlock 0 10"), "ok")
        # Time for a grant that should not come.
        time.sleep(1)
        expect("the range, asked by g1", third.do("test ex 0 0"), "free")
        expect("the waiter's own lock", waiter.do("lock ex 0 10"), "ok")


def killed(lab, one, two, path):
    title = "a killed process releases, and the waiter in the other guest is served"
    with lab.check(title), lockers(path, one, two) as (a, b):
        expect("g1's lock", a.do("lock ex 0 10"), "ok")
        b.ask("wait ex 0 0")
        b.expect_silence(0.5)
        a.signal("KILL")
        seconds, answer = seconds_until(b.answer)
        expect("the waiter", answer, "ok")
        expect_within("the release", seconds, AT_ONCE_S)


def sqlite(lab, one, two, path):
    with lab.check(f"sqlite3 with a writer on each guest keeps all {2 * SQLITE_ROWS} rows"):
        one.sh(f"sqlite3 {path} 'create table t (guest, n, primary key (guest, n))'")
        writers = [one.open(sqlite_writer("g1", path)), two.open(sqlite_writer("g2", path))]
        for writer in writers:
            expect("a writer's end", writer.finish(120), (0, ""))
        for guest in (one, two):
            count = guest.sh(f"sqlite3 {path} 'select guest, count(*) from t group by guest'")
            expect(f"rows seen by {guest.name}", count, f"g1|{SQLITE_ROWS}\ng2|{SQLITE_ROWS}")
            expect("integrity_check", guest.sh(f"sqlite3 {path} 'pragma integrity_check'"), "ok")


def sqlite_writer(name, path):
    """Each row is a transaction, so the guests contend for the database at each."""
    rows = f"for n in $(seq {SQLITE_ROWS}); do echo \"insert into t values ('{name}', $n);\"; done"
    return ["sh", "-c", f"{rows} | sqlite3 -bail -cmd '.timeout 60000' {path}"]
