"""The lab's wire: a bridge that is the server's address, and a tap for each guest."""

import subprocess

SERVER = "10.77.0.1"
AGENT_PORT = 7700


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


def capture(file):
    """Records what crosses the bridge, apart from the lab's own commands, until the lab ends."""
    words = ["tcpdump", "-i", "lab", "-s", "512", "-U", "-w", file, "not", "port", str(AGENT_PORT)]
    subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
