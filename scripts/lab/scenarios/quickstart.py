"""scripts/serve serves a directory, and what it prints mounts it"""

from harness.report import expect
from harness.servers import CleatQuickstart


def run(lab):
    guest = lab.guests[0]
    with lab.serving(kind=CleatQuickstart, data="rw") as server:
        lab.path("data").chmod(0o1777)
        with lab.check("a guest mounts by the printed command, and writes"):
            command = server.mount_command(lab.path("data"))
            guest.sh(f"mkdir -p /mnt/data && {command} /mnt/data")
            guest.sh("echo hello >/mnt/data/file")
            expect("on the server", (lab.path("data") / "file").read_text(), "hello\n")
