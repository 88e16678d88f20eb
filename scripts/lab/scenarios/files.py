"""a source tree and random writes arrive as they were sent"""

import subprocess

from harness.network import SERVER
from harness.report import expect

# From golang-1.19-src: some three thousand files, deep paths, odd names.
TREE = "/usr/share/go-1.19/src/cmd"
FIO = (
    "fio --name=verify --directory=. --filename=random --size=24M --rw=randwrite --bs=4k"
    " --ioengine=psync --verify=crc32c --verify_fatal=1 --fsync_on_close=1 --output-format=terse"
)
# Many answers of READDIR: names of a hundred bytes.
LARGE = 2000


def run(lab):
    guest = lab.guests[0]
    with lab.serving(data="rw,no_root_squash"):
        at = lab.mount(guest, "data")
        copy_compare_delete(lab, guest, at)
        write_and_verify(lab, guest, at)
        empty_a_large_directory(lab, guest, at)
        mount_without_options(lab, guest)


def copy_compare_delete(lab, guest, at):
    with lab.check("cp -a of a source tree"):
        guest.sh(f"cp -a {TREE} {at}/tree", timeout_s=120)
        guest.sh(f"ln -s tree/go {at}/link && ln -s nowhere {at}/dangling")
        expect("files", guest.sh(f"find {at}/tree | wc -l"), guest.sh(f"find {TREE} | wc -l"))
    with lab.check("after a remount, diff -r finds no difference, nor does the server's side"):
        guest.unmount(at)
        lab.mount(guest, "data")
        expect("diff -r", guest.run(f"diff -r {TREE} {at}/tree", timeout_s=120), (0, ""))
        served = ["diff", "-rq", TREE, lab.path("data") / "tree"]
        differences = subprocess.run(served, capture_output=True, text=True, check=False)
        expect("diff -rq on the server", differences.stdout + differences.stderr, "")
        expect("links", guest.sh(f"readlink {at}/link {at}/dangling"), "tree/go\nnowhere")
    with lab.check("rm -rf leaves an empty directory"):
        guest.sh(f"rm -rf {at}/tree {at}/link {at}/dangling", timeout_s=120)
        expect("ls -A", guest.sh(f"ls -A {at}"), "")


def write_and_verify(lab, guest, at):
    with lab.check("fio writes at random and verifies"):
        guest.sh(f"cd {at} && {FIO} --do_verify=1", timeout_s=120)
    with lab.check("after a remount, fio verifies what it wrote"):
        guest.unmount(at)
        lab.mount(guest, "data")
        guest.sh(f"cd {at} && {FIO} --verify_only", timeout_s=120)


def empty_a_large_directory(lab, guest, at):
    with lab.check(f"a directory of {LARGE} files is listed, and rm -rf empties it"):
        for number in range(LARGE):
            path = lab.path("data") / "large" / f"{number:0100}"
            path.parent.mkdir(exist_ok=True)
            path.touch()
        expect("ls -f", guest.sh(f"ls -f {at}/large | sort -u | wc -l"), str(LARGE + 2))
        guest.sh(f"rm -rf {at}/large", timeout_s=120)
        expect("left", (lab.path("data") / "large").exists(), False)


def mount_without_options(lab, guest):
    with lab.check("mount finds version, transport and ports by itself, also of a directory below"):
        (lab.path("data") / "below").mkdir()
        guest.sh(f"mkdir /mnt/plain && mount {SERVER}:{lab.path('data')}/below /mnt/plain")
        guest.sh("echo told >/mnt/plain/file && umount /mnt/plain")
        expect("content", (lab.path("data") / "below/file").read_text(), "told\n")
