"""a server without any privilege serves as its user, and handles survive its death"""

from harness.locker import lockers, seconds_until
from harness.report import expect, expect_within
from harness.servers import CleatUnprivileged

# From golang-1.19-src.
TREE = "/usr/share/go-1.19/src/net"
GRANT_LIMIT_S = 20


def run(lab):
    one, two = lab.guests
    with lab.serving(kind=CleatUnprivileged, data="rw") as server:
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        with lab.check("a tree is copied in, and every file is the server's user's"):
            one.sh(f"cp -r {TREE} {at}/tree && diff -r {TREE} {at}/tree")
            expect("files of others", two.sh(f"find {at} ! -user 0 | wc -l").strip(), "0")
        with lab.check("an open file goes on after the server's death, and its directory's new name"):
            one.sh(f"mkdir {at}/old && touch {at}/old/held")
            with lockers(f"{at}/old/held", one, two) as (holder, other):
                expect("g1's lock", holder.do("lock ex 0 100"), "ok")
                two.sh(f"mv {at}/old {at}/new")
                server.kill()
                server.start()
                other.ask("lock ex 200 1")
                seconds, answer = seconds_until(lambda: other.answer(60))
                expect("g2's lock of a free range", answer, "ok")
                expect_within("g2's lock of a free range", seconds, GRANT_LIMIT_S)
                expect("g2's lock of g1's range", other.do("lock ex 0 1"), "refused")
                expect("g1's unlock", holder.do("unlock 0 100"), "ok")
                expect("g2's lock of it", other.do("lock ex 0 1"), "ok")
            expect("the new name", one.sh(f"ls {at}/new").strip(), "held")
