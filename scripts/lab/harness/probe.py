"""A lock client of a hundred lines, without a kernel: asks a server what no Linux client would.

The wire is that of RFC 5531 (RPC), RFC 1833 (portmap), RFC 1813 (MOUNT, NFS) and XNFS ch. 10 (NLM).
"""

import socket
import struct
from dataclasses import dataclass

from .network import SERVER

PORTMAP, NFS, MOUNT, NLM = (100000, 2), (100003, 3), (100005, 3), (100021, 4)
GETPORT, LOOKUP, MNT = 3, 3, 1
NLM_TEST, NLM_LOCK, NLM_UNLOCK = 1, 2, 4
PORTMAP_PORT = 111
AUTH_NONE, AUTH_SYS = 0, 1
LAST_FRAGMENT = 1 << 31
GRANTED, DENIED, DENIED_GRACE_PERIOD = 0, 1, 4
TIMEOUT_S = 10
NAME = b"probe"


class ProbeFailed(Exception):
    """The server answered something else than was asked."""


class InGrace(Exception):
    """The server tells nothing before its clients have reclaimed."""


@dataclass(frozen=True)
class Holder:
    """Whom the server names as in the way."""

    exclusive: bool
    oh: str
    offset: int
    # 0 where it goes to the end of the file.
    length: int


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


class Results:
    """Reads an answer's XDR from its start to its end."""

    def __init__(self, data):
        self.data = data

    def number(self, form=">I"):
        size = struct.calcsize(form)
        (value,) = struct.unpack(form, self.data[:size])
        self.data = self.data[size:]
        return value

    def opaque(self):
        length = self.number()
        value, self.data = self.data[:length], self.data[length + -length % 4 :]
        return value

    def expect_zero(self, what):
        status = self.number()
        if status != 0:
            raise ProbeFailed(f"{what}: {status}")


class Connection:
    """To one program of a server, where its rpcbind says that it is."""

    def __init__(self, address, program):
        self.program = program
        self.xid = 0
        port = PORTMAP_PORT if program == PORTMAP else find_port(address, program)
        self.socket = socket.create_connection((address, port), TIMEOUT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, procedure, arguments):
        self.xid += 1
        credential = struct.pack(">I", 0) + opaque(NAME) + struct.pack(">3I", 0, 0, 0)
        body = struct.pack(">7I", self.xid, 0, 2, *self.program, procedure, AUTH_SYS)
        body += opaque(credential) + struct.pack(">2I", AUTH_NONE, 0) + arguments
        self.socket.sendall(struct.pack(">I", LAST_FRAGMENT | len(body)) + body)
        answer = Results(self.record())
        if (answer.number(), answer.number(), answer.number()) != (self.xid, 1, 0):
            raise ProbeFailed("no accepted answer to this call")
        answer.number()
        answer.opaque()
        answer.expect_zero("accept_stat")
        return answer

    def record(self):
        size = struct.unpack(">I", self.exactly(4))[0]
        if not size & LAST_FRAGMENT:
            raise ProbeFailed("an answer in fragments")
        return self.exactly(size & ~LAST_FRAGMENT)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ProbeFailed("the connection ended")
            data += more
        return data


def find_port(address, program):
    with Connection(address, PORTMAP) as portmap:
        port = portmap.call(GETPORT, struct.pack(">4I", *program, socket.IPPROTO_TCP, 0)).number()
    if port == 0:
        raise ProbeFailed(f"program {program[0]} is not registered")
    return port


def find_file(export, name, address=SERVER):
    """The handle of a file in an export."""
    with Connection(address, MOUNT) as mount:
        mounted = mount.call(MNT, opaque(str(export).encode()))
        mounted.expect_zero("MNT")
    with Connection(address, NFS) as nfs:
        found = nfs.call(LOOKUP, opaque(mounted.opaque()) + opaque(name.encode()))
        found.expect_zero("LOOKUP")
    return found.opaque()


class LockManager(Connection):
    """A server's, as one client with one owner sees it."""

    def __init__(self, address=SERVER):
        super().__init__(address, NLM)

    def test(self, handle, offset, length):
        """Who is in the way of an exclusive lock, or None."""
        result = self.ask(NLM_TEST, struct.pack(">I", True), handle, offset, length)
        status = result.number()
        if status == DENIED_GRACE_PERIOD:
            raise InGrace
        if status == GRANTED:
            return None
        if status != DENIED:
            raise ProbeFailed(f"NLM_TEST: {status}")
        exclusive = bool(result.number())
        result.number()
        oh = result.opaque().decode(errors="replace")
        return Holder(exclusive, oh, result.number(">Q"), result.number(">Q"))

    def lock(self, handle, offset, length):
        """Asks for an exclusive lock without waiting; its nlm4_stats."""
        block_exclusive = struct.pack(">2I", False, True)
        reclaim_state = struct.pack(">2I", False, 1)
        asked = self.ask(NLM_LOCK, block_exclusive, handle, offset, length, reclaim_state)
        return asked.number()

    def unlock(self, handle, offset, length):
        self.ask(NLM_UNLOCK, b"", handle, offset, length).expect_zero("NLM_UNLOCK")

    def ask(self, procedure, before, handle, offset, length, after=b""):
        lock = opaque(NAME) + opaque(handle) + opaque(b"0@" + NAME)
        lock += struct.pack(">IQQ", 0, offset, length)
        result = self.call(procedure, opaque(b"") + before + lock + after)
        result.opaque()
        return result
