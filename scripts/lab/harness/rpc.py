"""ONC RPC and XDR as RFC 5531 and RFC 4506 say, by Python's struct: nothing of Cleat's codec."""

import itertools
import socket
import struct

from .report import CheckFailed

CALL, REPLY = 0, 1
RPC_VERSION = 2
AUTH_NONE, AUTH_SYS = 0, 1
# Of accept_stat.
SUCCESS, PROC_UNAVAIL = 0, 3
LAST_FRAGMENT = 1 << 31
# Of the calls made here; the server's own begin elsewhere.
XID_FIRST = 0x20000000
ANSWER_S = 10
# The ports that only root may have; those below are services'.
RESERVED = range(1023, 664, -1)


def u32(*values):
    """Unsigned or signed integers, enums and booleans."""
    return b"".join(struct.pack(">I", value & 0xFFFFFFFF) for value in values)


def u64(*values):
    return struct.pack(f">{len(values)}Q", *values)


def opaque(data):
    """An opaque or a string of variable length."""
    data = data.encode() if isinstance(data, str) else data
    return u32(len(data)) + data + bytes(-len(data) % 4)


class Reader:
    """What a message says, field by field; each has to be there, and nothing else."""

    def __init__(self, data):
        self.data = data

    def take(self, size):
        if len(self.data) < size:
            raise CheckFailed(f"expected {size} bytes more, got {self.data.hex()!r}")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def opaque(self):
        size = self.u32()
        padded = self.take(size + -size % 4)
        if any(padded[size:]):
            raise CheckFailed(f"expected zeros to fill up, got {padded.hex()}")
        return padded[:size]

    def end(self):
        if self.data:
            raise CheckFailed(f"expected the message's end, got {self.data.hex()}")


def credential():
    """AUTH_SYS of root, and no verifier."""
    body = u32(0) + opaque("caller") + u32(0, 0, 0)
    return u32(AUTH_SYS) + opaque(body) + u32(AUTH_NONE, 0)


def call_header(reader):
    """Of a call: its id and (program, version, procedure); the reader is at the arguments."""
    xid = reader.u32()
    if (reader.u32(), reader.u32()) != (CALL, RPC_VERSION):
        raise CheckFailed("expected a call of RPC version 2")
    called = reader.u32(), reader.u32(), reader.u32()
    for _ in ("credential", "verifier"):
        reader.u32()
        reader.opaque()
    return xid, called


def reply(xid, results):
    """The reply with these results; None: the procedure is not there."""
    accepted = u32(xid, REPLY, 0, AUTH_NONE, 0)
    return accepted + (u32(PROC_UNAVAIL) if results is None else u32(SUCCESS) + results)


def write_record(stream, record):
    stream.sendall(u32(LAST_FRAGMENT | len(record)) + record)


def read_record(stream):
    """The next record of a stream; None at its end."""
    record, last = b"", False
    while not last:
        header = stream.recv(4, socket.MSG_WAITALL)
        if len(header) < 4:
            return None
        mark = struct.unpack(">I", header)[0]
        last, size = mark & LAST_FRAGMENT, mark & ~LAST_FRAGMENT
        record += stream.recv(size, socket.MSG_WAITALL) if size else b""
    return record


class Caller:
    """Calls to one address over one socket; a call that has no answer is not sent again."""

    xids = itertools.count(XID_FIRST)

    def __init__(self, connected):
        self.socket = connected
        self.stream = connected.type == socket.SOCK_STREAM
        connected.settimeout(ANSWER_S)

    def call(self, program, version, procedure, arguments=b""):
        """The results, to be read to their end."""
        xid = next(self.xids)
        header = u32(xid, CALL, RPC_VERSION, program, version, procedure)
        message = header + credential() + arguments
        name = f"program {program} version {version} procedure {procedure}"
        try:
            (write_record(self.socket, message) if self.stream else self.socket.send(message))
            record = read_record(self.socket) if self.stream else self.socket.recv(65536)
        except OSError as error:
            raise CheckFailed(f"{name}: {error}") from None
        reader = Reader(record or b"")
        # Accepted, with no verifier, and done.
        head = tuple(reader.u32() for _ in range(6))
        if head != (xid, REPLY, 0, AUTH_NONE, 0, SUCCESS):
            raise CheckFailed(f"{name}: expected success, got {head}")
        return reader

    def close(self):
        self.socket.close()


def bind_reserved(sock, address):
    """Gives the socket a port that only root may have."""
    for port in RESERVED:
        try:
            return sock.bind((address, port))
        except OSError:
            continue
    raise CheckFailed(f"no port below 1024 is free at {address}")
