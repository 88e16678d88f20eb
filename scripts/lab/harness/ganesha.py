"""NFS-Ganesha as the server, to compare Cleat with."""

import subprocess
from pathlib import Path

from .network import SERVER
from .servers import Server


class Ganesha(Server):
    """NFS-Ganesha on its VFS, with the rpc.statd it leaves NSM to."""

    SQUASH = {"root_squash": "Root_Squash", "no_root_squash": "No_Root_Squash"}

    def __init__(self, directory, exports):
        super().__init__(directory, exports)
        self.config = directory / "ganesha.conf"
        self.started_before = False
        self.statd = None
        Path("/run/ganesha").mkdir(exist_ok=True)
        Path("/var/lib/nfs/ganesha").mkdir(exist_ok=True)

    def write_config(self):
        # Unlike Cleat, it would hold every first start in grace too, and refuse writes meanwhile.
        graceless = not self.started_before
        self.config.write_text(
            f"NFS_CORE_PARAM {{ Protocols = 3; mount_path_pseudo = false; }}\n"
            f"NFSv4 {{ Graceless = {graceless}; }}\n"
            + "".join(map(self.export, range(len(self.exports))))
        )

    def export(self, index):
        path, words = self.exports[index].path, self.exports[index].options.split(",")
        access = "RO" if "ro" in words else "RW"
        squash = next((self.SQUASH[word] for word in words if word in self.SQUASH), "Root_Squash")
        return (
            f"EXPORT {{ Export_Id = {index + 1}; Path = {path}; Pseudo = {path}; Protocols = 3;"
            f" Access_Type = {access}; Squash = {squash}; SecType = sys;"
            f" Anonymous_uid = 65534; Anonymous_gid = 65534; FSAL {{ Name = VFS; }} }}\n"
        )

    def command(self):
        pid_file = str(self.directory / "pid")
        log = str(self.directory / "ganesha.log")
        return ["ganesha.nfsd", "-F", "-f", str(self.config), "-L", log, "-p", pid_file]

    def spawn(self):
        if self.statd is None:
            self.statd = subprocess.Popen(
                ["rpc.statd", "--foreground", "--no-notify"], stderr=subprocess.DEVNULL
            )
        # It drops its monitor list when it starts: whoever is to be told must be told before.
        subprocess.run(["sm-notify", "-f"], check=True)
        self.write_config()
        self.started_before = True
        super().spawn()

    def stop(self):
        status = super().stop()
        self.statd.terminate()
        self.statd.wait()
        return status

    def is_ready(self):
        return answers("status", "1") and answers("nlockmgr", "4")


def answers(program, version):
    words = ["rpcinfo", "-t", SERVER, program, version]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
