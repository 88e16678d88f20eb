"""the caller's identity decides, root is squashed, read-only is read-only"""

from harness.guest import User
from harness.report import CheckFailed, expect

ALICE = User(uid=5001, gid=5001)
BOB = User(uid=5002, gid=5002)
TEAM = 6000
CAROL = User(uid=5003, gid=5003, groups=(6001, 6002, TEAM))
NOBODY = "65534 65534"
# A client that asks ACCESS first is told EACCES by its own kernel.
READ_ONLY = ("Read-only file system", "Permission denied")
WRITES = ("touch {}/new", "mkdir {}/new", "rm -f {}/file", "chmod 600 {}/file", "echo >>{}/file")


def run(lab):
    guest = lab.guests[0]
    exports = {"open": "rw,no_root_squash", "squashed": "rw", "readonly": "ro,no_root_squash"}
    with lab.serving(**exports):
        for export in exports:
            lab.path(export).chmod(0o1777)
        private_files(lab, guest, lab.mount(guest, "open"))
        root(lab, guest, lab.mount(guest, "squashed"))
        (lab.path("readonly") / "file").write_text("kept\n")
        read_only(lab, guest, lab.mount(guest, "readonly"))


def expect_refused(guest, command, user=None, reasons=("Permission denied",)):
    status, output = guest.run(command, user)
    if status == 0 or not any(reason in output for reason in reasons):
        wanted = " or ".join(map(repr, reasons))
        raise CheckFailed(f"{command}: expected {wanted}, got exit status {status}, {output!r}")


def private_files(lab, guest, at):
    with lab.check("two users cannot read or write each other's 0600 files"):
        for user in (ALICE, BOB):
            guest.sh(f"umask 077 && echo secret >{at}/{user.uid}", user)
        for user, other in ((ALICE, BOB), (BOB, ALICE)):
            expect("own file", guest.sh(f"cat {at}/{user.uid}", user), "secret")
            expect_refused(guest, f"cat {at}/{other.uid}", user)
            expect_refused(guest, f"echo more >>{at}/{other.uid}", user)
        owner = guest.sh(f"stat -c '%u %g %a' {at}/{ALICE.uid}")
        expect("owner and mode", owner, f"{ALICE.uid} {ALICE.gid} 600")
    with lab.check("a supplementary group opens what its members may read"):
        guest.sh(f"echo plans >{at}/team && chgrp {TEAM} {at}/team && chmod 640 {at}/team")
        expect("a member", guest.sh(f"cat {at}/team", CAROL), "plans")
        expect_refused(guest, f"cat {at}/team", ALICE)
    with lab.check("one user cannot change the mode or owner of another's file, nor remove it"):
        for command in ("chmod 666", f"chown {BOB.uid}", "rm -f"):
            expect_refused(guest, f"{command} {at}/{ALICE.uid}", BOB, ("not permitted",))


def root(lab, guest, at):
    with lab.check("root is nobody unless the export says otherwise"):
        guest.sh(f"touch {at}/by-root && touch /mnt/open/by-root")
        expect("squashed", guest.sh(f"stat -c '%u %g' {at}/by-root"), NOBODY)
        expect("not squashed", guest.sh("stat -c '%u %g' /mnt/open/by-root"), "0 0")
    with lab.check("a squashed root cannot read a user's 0600 file"):
        guest.sh(f"umask 077 && echo secret >{at}/private", ALICE)
        expect_refused(guest, f"cat {at}/private")


def read_only(lab, guest, at):
    with lab.check("a read-only export is read, and refuses every write"):
        expect("content", guest.sh(f"cat {at}/file"), "kept")
        for command in WRITES:
            expect_refused(guest, command.format(at), reasons=READ_ONLY)
        expect("content", guest.sh(f"cat {at}/file"), "kept")
