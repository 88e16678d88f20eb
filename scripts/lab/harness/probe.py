"""Asks the server by NLM_TEST what it has on record, as a client of its own (XNFS ch. 10)."""

import socket
import struct
from dataclasses import dataclass

from .network import SERVER

PORT = 2049
NFS, MOUNT, NLM = (100003, 3), (100005, 3), (100021, 4)
MNT, LOOKUP, NLM_TEST = 1, 3, 1
AUTH_NONE, AUTH_SYS = 0, 1
LAST_FRAGMENT = 1 << 31
GRANTED, DENIED, DENIED_GRACE_PERIOD = 0, 1, 4
TIMEOUT_S = 10


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


class Probe:
    def __init__(self, export):
        self.xid = 0
        self.socket = socket.create_connection((SERVER, PORT), TIMEOUT_S)
        mounted = self.call(MOUNT, MNT, opaque(str(export).encode()))
        self.expect_zero("MNT", mounted.number())
        self.root = mounted.opaque()

    def close(self):
        self.socket.close()

    def find(self, name):
        """The handle of a file of the export."""
        found = self.call(NFS, LOOKUP, opaque(self.root) + opaque(name.encode()))
        self.expect_zero("LOOKUP", found.number())
        return found.opaque()

    def test(self, handle, offset, length, exclusive=True):
        """Who is in the way of such a lock, or None."""
        lock = opaque(b"probe") + opaque(handle) + opaque(b"0@probe")
        lock += struct.pack(">IQQ", 0, offset, length)
        result = self.call(NLM, NLM_TEST, opaque(b"") + struct.pack(">I", exclusive) + lock)
        result.opaque()
        status = result.number()
        if status == DENIED_GRACE_PERIOD:
            raise InGrace
        if status == GRANTED:
            return None
        if status != DENIED:
            raise ProbeFailed(f"NLM_TEST: {status}")
        holder_exclusive = bool(result.number())
        result.number()
        oh = result.opaque().decode(errors="replace")
        return Holder(holder_exclusive, oh, result.number(">Q"), result.number(">Q"))

    def call(self, program, procedure, arguments):
        self.xid += 1
        head = struct.pack(">6I", self.xid, 0, 2, *program, procedure)
        credential = struct.pack(">I", 0) + opaque(b"probe") + struct.pack(">3I", 0, 0, 0)
        body = head + struct.pack(">I", AUTH_SYS) + opaque(credential)
        body += struct.pack(">2I", AUTH_NONE, 0) + arguments
        self.socket.sendall(struct.pack(">I", LAST_FRAGMENT | len(body)) + body)
        answer = Results(self.record())
        if (answer.number(), answer.number(), answer.number()) != (self.xid, 1, 0):
            raise ProbeFailed("an answer to no call of ours")
        answer.number()
        answer.opaque()
        self.expect_zero("accept_stat", answer.number())
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

    @staticmethod
    def expect_zero(what, status):
        if status != 0:
            raise ProbeFailed(f"{what}: {status}")
