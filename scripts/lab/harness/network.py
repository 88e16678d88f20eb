"""The lab's wire: a bridge that is the server's address, and a tap for each guest."""

import socket
import subprocess
import time
from contextlib import contextmanager

from .report import CheckFailed

SERVER = "10.77.0.1"
# Not there until a scenario adds it.
SECOND_SERVER = "10.77.0.2"
AGENT_PORT = 7700
PORT_TRIES = 250


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


def lay_bridge():
    ip("link set lo up")
    ip("link add lab type bridge")
    ip(f"address add {SERVER}/24 dev lab")
    ip("link set lab up")


def on_link(address):
    """The address as ip(8) is told of it, with its network, to be used at once."""
    return f"{address}/64 nodad" if ":" in address else f"{address}/24"


@contextmanager
def second_address(address=SECOND_SERVER):
    """Gives the server's side another address for as long as the block runs."""
    ip(f"address add {on_link(address)} dev lab")
    try:
        yield address
    finally:
        ip(f"address del {on_link(address)} dev lab")


def lay_tap(name):
    ip(f"tuntap add {name} mode tap")
    ip(f"link set {name} master lab up")


def wait_for_port(port):
    for _ in range(PORT_TRIES):
        try:
            socket.create_connection((SERVER, port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise CheckFailed(f"nobody listens on {SERVER}:{port}")


def registered_programs():
    """The RPC programs that the server's rpcbind lists; none where there is no rpcbind."""
    words = ["rpcinfo", "-p", SERVER]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return {line.split()[0] for line in listed.splitlines()[1:]}


def wait_for_program(program):
    for _ in range(PORT_TRIES):
        if program in registered_programs():
            return
        time.sleep(0.02)
    raise CheckFailed(f"nobody registered program {program}")


def capture(file):
    """Records what crosses the bridge, apart from the lab's own commands, until the lab ends."""
    words = ["tcpdump", "-i", "lab", "-s", "512", "-U", "-w", file, "not", "port", str(AGENT_PORT)]
    subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
