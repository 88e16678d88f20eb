"""The lab's wire: a bridge that is the server's address, and a tap for each guest."""

import subprocess

SERVER = "10.77.0.1"


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


def lay_bridge():
    ip("link set lo up")
    ip("link add lab type bridge")
    ip(f"address add {SERVER}/24 dev lab")
    ip("link set lab up")


def lay_tap(name):
    ip(f"tuntap add {name} mode tap")
    ip(f"link set {name} master lab up")
