"""the server is killed under writers: what they wrote is there, and what is open stays open"""

import hashlib
import time

from harness.report import CheckFailed, NoAnswer, expect

CRASHES = 10
# Long enough for a writer to get on, short enough to fall into its writing.
BETWEEN_S = 0.7
FIO = (
    "fio --name=verify --directory=. --filename=written --size=256M --rw=randwrite --bs=64k"
    " --rate=,12M --ioengine=psync --verify=crc32c --verify_fatal=1 --output-format=terse"
)
# Writes what it says the sum of, and has it stored in the end alone: nothing of it is stable before.
UNSTABLE_WRITER = """
import hashlib, os, sys, time
file, sum = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), hashlib.sha256()
print("ready", flush=True)
for piece in range(96):
    data = os.urandom(1 << 20)
    sum.update(data)
    os.write(file, data)
    time.sleep(0.05)
os.fsync(file)
print(sum.hexdigest(), flush=True)
"""
# Writes, waits for a line on its stdin, and goes on with what it has open.
LATE_WRITER = "exec 3>>dir/open && echo early >&3 && echo ready && read word && echo late >&3"


def run(lab):
    guest = lab.guests[0]
    with lab.serving(data="rw,no_root_squash") as server:
        at = lab.mount(guest, "data")
        writes(lab, server, guest, at)
        unstable_writes(lab, server, guest, at)
        open_file(lab, server, guest, at)


def writes(lab, server, guest, at):
    with lab.check("fio writes while the server is killed and started again"):
        words = f"cd {at} && {FIO} --do_verify=0 --fsync=64 --end_fsync=1"
        writer = guest.open(["sh", "-c", words])
        for _ in range(CRASHES):
            time.sleep(BETWEEN_S)
            expect_running(writer)
            server.kill()
            server.start()
        status, output = writer.finish(120)
        expect("fio's exit status", (status, output if status else ""), (0, ""))
    with lab.check("after a remount, fio verifies what it wrote"):
        guest.unmount(at)
        lab.mount(guest, "data")
        guest.sh(f"cd {at} && {FIO} --verify_only", timeout_s=120)


def expect_running(writer):
    try:
        line = writer.read_line(0.01)
    except NoAnswer:
        return
    raise CheckFailed(f"expected it to write still, it said {line!r}")


def unstable_writes(lab, server, guest, at):
    with lab.check("what was written and not yet committed when the server died is there, each byte"):
        path = f"{at}/unstable"
        writer = guest.open(["python3", "-c", UNSTABLE_WRITER, path])
        expect("the writer", writer.read_line(20), "ready")
        for _ in range(3):
            time.sleep(BETWEEN_S)
            expect_running(writer)
            server.kill()
            server.start()
        told = writer.read_line(120)
        expect("the writer's exit status", writer.finish(20), (0, ""))
        stored = (lab.path("data") / "unstable").read_bytes()
        expect("the sum of what is stored", hashlib.sha256(stored).hexdigest(), told)


def open_file(lab, server, guest, at):
    with lab.check("a file that is open is written on, its path renamed while the server was down"):
        guest.sh(f"mkdir {at}/dir")
        writer = guest.open(["sh", "-c", f"cd {at} && {LATE_WRITER}"])
        expect("the writer", writer.read_line(20), "ready")
        served = lab.path("data")
        server.kill()
        (served / "dir").rename(served / "moved")
        (served / "moved/open").rename(served / "moved/elsewhere")
        server.start()
        writer.send_line("on")
        expect("the writer's exit status", writer.finish(60), (0, ""))
        expect("content", (served / "moved/elsewhere").read_text(), "early\nlate\n")
