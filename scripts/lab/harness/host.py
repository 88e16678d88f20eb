"""A host on the lab's bridge that is no kernel: its own network, port mapper and lock manager."""

import ctypes
import os
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from . import rpc
from .network import ip, on_link
from .report import CheckFailed

PORTMAP, NLM, NSM = 100000, 100021, 100024
PORTMAP_PORT = 111
# GETPORT of version 2, which tells a port, and GETADDR of 3 and 4, which tell an address.
FIND = 3
CLONE_NEWNET = 0x40000000
GRANTED, GRANTED_MSG = 5, 10
RESULTS = range(11, 16)
SM_NOTIFY = 6


@dataclass(frozen=True)
class Heard:
    """A call that came to the host: where from and how, what it asks, and its arguments."""

    source: str
    tcp: bool
    called: tuple
    arguments: bytes

    def reader(self):
        return rpc.Reader(self.arguments)


class Host:
    """Answers the server's calls, and keeps them for `hear`. It grants what it is granted."""

    def __init__(self, namespace, addresses):
        self.namespace = namespace
        # Whether it knows NLM_GRANTED_MSG alone.
        self.messages_only = False
        # (version, procedure, cookie) of a result of NLM's -> its status, and of a holder, svid,
        # offset and length.
        self.told = {}
        self.heard = []
        self.came = threading.Condition()
        self.ports = {}
        for address in addresses:
            for tcp in (False, True):
                self.ports[address, tcp] = self.serve(address, 0, tcp)
                self.serve(address, PORTMAP_PORT, tcp)

    def socket(self, address, tcp):
        """A socket of the host's network: which one a socket is of is settled when it is made."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.namespace}", "rb") as network:
                # Of this thread alone.
                if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise CheckFailed(f"no socket in the network of {self.namespace}")
        return made[0]

    def caller(self, address, server, port, tcp):
        """Calls to the server from this address."""
        made = self.socket(address, tcp)
        rpc.bind_reserved(made, address)
        made.settimeout(rpc.ANSWER_S)
        made.connect((server, port))
        return rpc.Caller(made)

    def hear(self, *called):
        """The server's next call of this (program, version, procedure), once it came."""
        with self.came:
            if not self.came.wait_for(lambda: self.first(called) is not None, rpc.ANSWER_S):
                others = [heard.called for heard in self.heard]
                raise CheckFailed(f"expected a call of {called}, got {others}")
            return self.heard.pop(self.first(called))

    def first(self, called):
        return next((at for at, heard in enumerate(self.heard) if heard.called == called), None)

    def serve(self, address, port, tcp):
        listener = self.socket(address, tcp)
        listener.bind((address, port))
        if tcp:
            listener.listen()
        work = self.accept if tcp else self.receive
        threading.Thread(target=work, args=(listener,), daemon=True).start()
        return listener.getsockname()[1]

    def accept(self, listener):
        while True:
            stream, peer = listener.accept()
            threading.Thread(target=self.connection, args=(stream, peer), daemon=True).start()

    def connection(self, stream, peer):
        with stream, suppress(ConnectionError):
            while record := rpc.read_record(stream):
                rpc.write_record(stream, self.answer(record, stream.getsockname(), peer, True))

    def receive(self, listener):
        while True:
            record, peer = listener.recvfrom(65536)
            listener.sendto(self.answer(record, listener.getsockname(), peer, False), peer)

    def answer(self, record, here, peer, tcp):
        reader = rpc.Reader(record)
        xid, called = rpc.call_header(reader)
        heard = Heard(peer[0], tcp, called, reader.data)
        results = self.results(heard, here[0])
        if called[0] != PORTMAP:
            with self.came:
                self.heard.append(heard)
                self.came.notify_all()
        return rpc.reply(xid, results)

    def results(self, heard, here):
        """What the procedure comes to; None where there is no such procedure."""
        program, version, procedure = heard.called
        if program == PORTMAP and procedure == FIND:
            port = self.ports[here, heard.tcp]
            universal = rpc.opaque(f"{here}.{port >> 8}.{port & 255}")
            return rpc.u32(port) if version == 2 else universal
        if program == NLM and procedure == GRANTED and not self.messages_only:
            return rpc.opaque(heard.reader().opaque()) + rpc.u32(0)
        silent = {NLM: (0, GRANTED_MSG, *RESULTS), NSM: (SM_NOTIFY,)}
        return b"" if procedure in silent.get(program, ()) else None


@contextmanager
def host(name, *addresses):
    """A host on the bridge with these addresses, which is off the bridge at the end."""
    os.makedirs("/run/netns", exist_ok=True)
    ip(f"netns add {name}")
    try:
        ip(f"link add {name} type veth peer name eth0 netns {name}")
        ip(f"link set {name} master lab up")
        for address in addresses:
            ip(f"-n {name} address add {on_link(address)} dev eth0")
        ip(f"-n {name} link set eth0 up")
        yield Host(name, addresses)
    finally:
        # The network itself is there for as long as the sockets are: until the lab ends.
        ip(f"link del {name}")
        ip(f"netns del {name}")
