"""Starts a program again in namespaces of its own, so that all it makes ends with it.

Network, mount and process id namespaces: bridge, taps, mounts, guests and servers are gone when the
inner process is, however that came about.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INSIDE = "CLEAT_LAB_DIR"


def enter(keep):
    """Returns the lab's directory inside the sandbox; outside, runs the sandbox and exits.

    The directory outlives the lab where something failed, or where it is to be kept.
    """
    if INSIDE in os.environ:
        arrange_mounts(Path(os.environ[INSIDE]))
        return Path(os.environ[INSIDE])
    require_privileges()
    directory = ROOT / "target" / "lab" / time.strftime(f"%Y%m%d-%H%M%S-{os.getpid()}")
    directory.mkdir(parents=True)
    sys.exit(run(directory, keep))


def require_privileges():
    if os.geteuid() != 0:
        sys.exit("lab: the guests need root, for network namespaces and taps")
    if not os.path.exists("/dev/net/tun"):
        sys.exit("lab: the guests need /dev/net/tun, which this machine lacks")


def run(directory, keep):
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inner = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *unshare, "--", sys.executable, *sys.argv],
        env=os.environ | {INSIDE: str(directory)},
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: inner.kill())
    status = inner.wait()
    if status == 0 and not keep:
        shutil.rmtree(directory)
        return status
    print(f"lab: logs are kept in {directory}", file=sys.stderr)
    return status if status >= 0 else 128 - status


def arrange_mounts(directory):
    """Gives the server's side a /run and NSM records apart from the machine's own."""
    nsm = directory / "server" / "nsm"
    for name in ("sm", "sm.bak"):
        (nsm / name).mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["mount", "--bind", nsm, "/var/lib/nfs"], check=True)
