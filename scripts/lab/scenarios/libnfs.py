"""libnfs, which is not Linux's client, meets a guest's locks and files"""

import re
import subprocess

from harness.guest import Channel
from harness.locker import lockers
from harness.network import SERVER
from harness.report import CheckFailed, expect
from harness.sandbox import ROOT

SOURCE = ROOT / "scripts" / "lab" / "libnfs" / "locker.c"
# Where the guest finds what was built for it.
BUILT = "/run/libnfs"
ANSWER_S = 20


class Asker:
    """The libnfs client, on the second guest's machine but without its kernel's client."""

    def __init__(self, lab, guest, file):
        words = [f"{BUILT}/locker", SERVER, str(lab.path("data")), file]
        self.channel = Channel(guest, words)
        self.channel.read_line(ANSWER_S)

    def do(self, command):
        self.channel.send_line(command)
        return self.channel.read_line(ANSWER_S)


def run(lab):
    one, two = lab.guests
    build(lab, two)
    with lab.serving(data="rw,no_root_squash"):
        at = lab.mount(one, "data")
        one.sh(f"touch {at}/held")
        asker = Asker(lab, two, "held")
        with lockers(f"{at}/held", one) as (kernel,):
            libnfs_holds(lab, asker, kernel)
            kernel_holds(lab, asker, kernel)
            waits(lab, asker, kernel)
            nsm(lab, asker)
            restarts(lab, asker, kernel)
        asker.channel.close()
        files(lab, one, two, at)


def build(lab, guest):
    directory = lab.directory / "libnfs"
    directory.mkdir()
    words = ["gcc", "-Wall", "-O1", "-o", directory / "locker", SOURCE, "-lnfs"]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise CheckFailed(f"gcc: {built.stderr}")
    guest.sh(f"mkdir -p {BUILT} && mount -t hostfs -o {directory},ro libnfs {BUILT}")


def libnfs_holds(lab, asker, kernel):
    with lab.check("libnfs's lock refuses the kernel's client, which is told of it"):
        expect("NULL", asker.do("null"), "ok")
        expect("TEST", asker.do("test ex 0 0"), "NLM4_GRANTED")
        expect("LOCK", asker.do("lock ex 10 20"), "NLM4_GRANTED")
        expect("LOCK again", asker.do("lock ex 10 20"), "NLM4_GRANTED")
        expect("the kernel's lock", kernel.do("lock ex 29 5"), "refused")
        expect("the kernel's lock beside it", kernel.do("lock ex 30 5"), "ok")
        told = kernel.do("test sh 0 20")
        expect("F_GETLK", told.rpartition(" ")[0], "ex 10 20")
        expect("UNLOCK", asker.do("unlock 10 20"), "NLM4_GRANTED")
        expect("UNLOCK of nothing", asker.do("unlock 10 20"), "NLM4_GRANTED")
        expect("the kernel's lock after it", kernel.do("lock ex 10 5"), "ok")
        expect("the kernel's unlock", kernel.do("unlock 0 0"), "ok")


def kernel_holds(lab, asker, kernel):
    with lab.check("the kernel's lock denies libnfs, whose TEST tells its mode and range"):
        expect("the kernel's shared lock", kernel.do("lock sh 0 100"), "ok")
        expect("TEST shared", asker.do("test sh 0 10"), "NLM4_GRANTED")
        expect("TEST", asker.do("test ex 50 10"), "NLM4_DENIED sh 0 100")
        expect("LOCK shared", asker.do("lock sh 90 20"), "NLM4_GRANTED")
        expect("LOCK", asker.do("lock ex 90 20"), "NLM4_DENIED")
        expect("the kernel's upgrade", kernel.do("lock ex 0 100"), "refused")
        expect("UNLOCK", asker.do("unlock 90 20"), "NLM4_GRANTED")
        expect("a range past 2^63-1", asker.do(f"lock ex {2**63} 1"), "NLM4_FBIG")
        expect("the kernel's unlock", kernel.do("unlock 0 0"), "ok")


def waits(lab, asker, kernel):
    with lab.check("libnfs's blocked request is cancelled, and the kernel's wait ends with UNLOCK"):
        expect("the kernel's lock", kernel.do("lock ex 0 10"), "ok")
        expect("a blocking LOCK", asker.do("wait ex 0 10"), "NLM4_BLOCKED")
        expect("CANCEL", asker.do("cancel ex 0 10"), "NLM4_GRANTED")
        expect("the kernel's unlock", kernel.do("unlock 0 10"), "ok")
        expect("TEST: nothing was left behind", asker.do("test ex 0 10"), "NLM4_GRANTED")
        expect("LOCK", asker.do("lock ex 0 10"), "NLM4_GRANTED")
        kernel.ask("wait ex 5 10")
        kernel.expect_silence(0.5)
        expect("UNLOCK", asker.do("unlock 0 10"), "NLM4_GRANTED")
        expect("the kernel's wait", kernel.answer(), "ok")


def nsm(lab, asker):
    with lab.check("libnfs's SM_STAT is answered with an odd state"):
        expect("NULL", asker.do("nsm-null"), "ok")
        stat = asker.do("stat libnfs")
        state = re.fullmatch(r"(?:NSM_STAT|STAT)_?SUCC (\d+)", stat)
        if not state or int(state.group(1)) % 2 == 0:
            raise CheckFailed(f"SM_STAT: expected success and an odd state, got {stat!r}")


def restarts(lab, asker, kernel):
    with lab.check("libnfs's SM_NOTIFY releases its lock, and the kernel that waits has it at once"):
        expect("LOCK", asker.do("lock ex 200 10"), "NLM4_GRANTED")
        kernel.ask("wait ex 205 10")
        kernel.wait_until_queued()
        # The state that it locked under is no news.
        expect("SM_NOTIFY of that state", asker.do("notify libnfs 1"), "ok")
        kernel.expect_silence(1)
        expect("SM_NOTIFY", asker.do("notify libnfs 3"), "ok")
        # Called back: by itself the kernel asks again after 30 s.
        expect("the kernel's wait", kernel.answer(), "ok")
        expect("TEST", asker.do("test ex 200 10"), "NLM4_DENIED ex 205 10")
        expect("the kernel's unlock", kernel.do("unlock 0 0"), "ok")
        expect("LOCK after it", asker.do("lock ex 200 10"), "NLM4_GRANTED")


def files(lab, one, two, at):
    url = f"nfs://{SERVER}{lab.path('data')}"
    with lab.check("nfs-cp, nfs-ls and nfs-cat move files that the kernel's client sees alike"):
        two.sh("head -c 3000000 /dev/urandom >/tmp/sent")
        two.sh(f"nfs-cp /tmp/sent {url}/copied && nfs-cat {url}/copied | cmp - /tmp/sent")
        expect("bytes", one.sh(f"md5sum <{at}/copied"), two.sh("md5sum </tmp/sent"))
        one.sh(f"mkdir {at}/dir && echo hello >{at}/dir/file")
        listed = two.sh(f"nfs-ls -R {url}")
        for name in ("copied", "held", "dir/file"):
            if not re.search(rf"\b{name}$", listed, re.MULTILINE):
                raise CheckFailed(f"nfs-ls: expected {name}, got\n{listed}")
        expect("nfs-cat", two.sh(f"nfs-cat {url}/dir/file"), "hello")
