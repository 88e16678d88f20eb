"""where no rpcbind runs, the server answers for itself"""

from harness.locker import lockers
from harness.report import expect


def run(lab):
    one, two = lab.guests
    with lab.serving(system_rpcbind=False, data="rw,no_root_squash"):
        with lab.check("a guest mounts and finds the lock service"):
            for guest in lab.guests:
                at = lab.mount(guest, "data")
            one.sh(f"touch {at}/held")
            with lockers(f"{at}/held", one, two) as (a, b):
                expect("g1's lock", a.do("lock ex 0 1"), "ok")
                expect("g2's lock", b.do("lock ex 0 1"), "refused")
        with lab.check("rpcinfo -p lists every program"):
            listed = {line.split()[0] for line in one.sh("rpcinfo -p 10.77.0.1").splitlines()[1:]}
            programs = {"100000", "100003", "100005", "100021", "100024"}
            expect("programs missing", programs - listed, set())
