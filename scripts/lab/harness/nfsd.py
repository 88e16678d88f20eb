"""The kernel's own server in a guest, to compare Cleat with."""

import subprocess

from .guest import Guest

EXPORT = "/tmp/data"
DISK_BYTES = 64 << 20


class KernelNfsd:
    """nfsd and lockd at their defaults. Its death is its machine's: the kernel has no other."""

    def __init__(self, number, directory):
        self.guest = Guest(number, directory)
        self.address = self.guest.address
        self.disk = self.guest.directory / "disk"
        with open(self.disk, "wb") as disk:
            disk.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", self.disk], check=True)

    def boot(self):
        """Up to where the service's start would be next; sm-notify has been run, as at any boot."""
        self.guest.start(f"ubd0={self.disk}")
        self.guest.wait_ready()
        self.guest.sh(
            f"mkdir -p {EXPORT} /var/lib/nfs/v4recovery && modprobe -d /run/modules nfsd"
            f" && mknod /tmp/disk b 98 0 && mount -t ext4 /tmp/disk {EXPORT}"
            f" && mount -t nfsd nfsd /proc/fs/nfsd && touch /var/lib/nfs/etab /var/lib/nfs/rmtab"
            f" && exportfs -o rw,no_root_squash,insecure,no_subtree_check '*:{EXPORT}'"
        )

    def start(self):
        self.guest.sh("rpc.nfsd 8 && rpc.mountd")

    def kill(self):
        self.guest.kill()
