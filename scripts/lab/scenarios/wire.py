"""tshark decodes every message of a session, and each call has its reply"""

from harness import wire
from harness.locker import lockers
from harness.report import CheckFailed, expect

MOUNT, NFS, NLM, NSM = 100005, 100003, 100021, 100024
# (program, version, procedure) that the session below cannot do without.
WANTED = {
    (MOUNT, 3, 1): "MNT",
    (MOUNT, 3, 3): "UMNT",
    (NFS, 3, 1): "GETATTR",
    (NFS, 3, 2): "SETATTR",
    (NFS, 3, 3): "LOOKUP",
    (NFS, 3, 4): "ACCESS",
    (NFS, 3, 5): "READLINK",
    (NFS, 3, 6): "READ",
    (NFS, 3, 7): "WRITE",
    (NFS, 3, 8): "CREATE",
    (NFS, 3, 9): "MKDIR",
    (NFS, 3, 10): "SYMLINK",
    (NFS, 3, 11): "MKNOD",
    (NFS, 3, 12): "REMOVE",
    (NFS, 3, 13): "RMDIR",
    (NFS, 3, 14): "RENAME",
    (NFS, 3, 15): "LINK",
    (NFS, 3, 17): "READDIRPLUS",
    (NFS, 3, 18): "FSSTAT",
    (NFS, 3, 19): "FSINFO",
    (NFS, 3, 20): "PATHCONF",
    (NFS, 3, 21): "COMMIT",
    (NLM, 4, 1): "TEST",
    (NLM, 4, 2): "LOCK",
    (NLM, 4, 3): "CANCEL",
    (NLM, 4, 4): "UNLOCK",
    (NLM, 4, 5): "GRANTED",
    (NSM, 1, 6): "SM_NOTIFY",
}
FILES = (
    "mkdir d && echo hello >d/f && ln -s f d/s && ln d/f d/l && mv d/l d/m"
    " && mkfifo d/p && chmod 600 d/f && dd if=/dev/zero of=d/big bs=64k count=8 conv=fsync 2>&1"
    " && ls -l d && df . && echo 3 >/proc/sys/vm/drop_caches && readlink d/s"
    " && cat d/f d/big >/dev/null && rm d/* && rmdir d"
)
# It is given up after a second and sent again with another id; which guest answers in that time
# is the machine's load.
NOTICE = (NSM, 1, 6)
# So that one write of the application is many on the wire, and a COMMIT.
SMALL = "rsize=32768,wsize=32768"
# Of an NLM call: the caller's name, "g1", as a string of XDR.
NAME = b"\0\0\0\2g1\0\0"
ENDLESS = b"\0\xff\xff\xffg1\0\0"


def run(lab):
    file = lab.directory / "session.pcap"
    with lab.serving(data="rw,no_root_squash") as server, wire.recorded(file):
        session(lab, server)
    decoded(lab, file)
    corrupted(lab, file)


def session(lab, server):
    one, two = lab.guests
    with lab.check("a session with files, locks, a restart of the server and their reclaim"):
        for guest in lab.guests:
            at = lab.mount(guest, "data", f",{SMALL}")
        one.sh(f"touch {at}/held && cd {at} && {FILES}")
        with lockers(f"{at}/held", one, two) as (a, b):
            expect("g1's lock", a.do("lock ex 0 10"), "ok")
            expect("g2's test", b.do("test ex 0 10").split()[0], "ex")
            b.ask("wait ex 0 10")
            b.expect_silence(0.5)
            expect("g1's unlock", a.do("unlock 0 10"), "ok")
            expect("g2's wait", b.answer(), "ok")
            a.ask("wait ex 0 10")
            a.expect_silence(1)
            a.signal("INT")
            expect("g1's wait", a.answer(), "interrupted")
            server.kill()
            server.start()
            expect("g1's lock after the restart", a.do("lock ex 100 1", 60), "ok")
            expect("g1's lock of what g2 holds", a.do("lock ex 0 10", 60), "refused")
        for guest in lab.guests:
            guest.unmount(at)


def decoded(lab, file):
    with lab.check("tshark finds no malformed packet and no error in the session"):
        expect("packets that are not RPC", wire.undecoded_packets(file), [])
        expect("packets that are wrong", wire.wrong_packets(file), [])
    with lab.check("the session has every procedure expected, and each call has its reply"):
        calls, silent = wire.calls_and_replies(file, {MOUNT, NFS, NLM, NSM})
        missing = [name for key, name in WANTED.items() if not calls[key]]
        expect("procedures missing", missing, [])
        expect("calls without a reply", [name for name in silent if name != NOTICE], [])
        if calls[NOTICE] - silent.count(NOTICE) < len(lab.guests):
            raise CheckFailed(f"expected an answer of each guest to a notice, {silent} have none")
        print(f"{'':15}{sum(calls.values())} calls of {len(calls)} procedures")


def corrupted(lab, file):
    with lab.check("the same session with lengths corrupted is found malformed"):
        damaged = file.with_name("damaged.pcap")
        whole = file.read_bytes()
        if NAME not in whole:
            raise CheckFailed("expected g1's name in the session")
        damaged.write_bytes(whole.replace(NAME, ENDLESS))
        expect("found", bool(wire.wrong_packets(damaged)), True)
