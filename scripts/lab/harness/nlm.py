"""NLM 1, 3 and 4 as XNFS chapters 10 and 14 write them, asked by calls or by messages."""

import itertools

from . import rpc
from .host import GRANTED, GRANTED_MSG, NLM
from .report import expect

TEST, LOCK, CANCEL, UNLOCK = 1, 2, 3, 4
SHARE, UNSHARE, NM_LOCK, FREE_ALL = 20, 21, 22, 23
# From an operation's number to that of its message, and of the message's result.
TO_MESSAGE, TO_RESULT = 5, 10
# Of nlm4_stats; versions 1 and 3 end with the grace period.
OK, DENIED, NOLOCKS, BLOCKED, GRACE, DEADLCK, ROFS, STALE, FBIG = range(9)
# What versions 1 and 3 say where version 4 has a word of its own (as Linux's lockd does).
NARROW = {DEADLCK: DENIED, ROFS: NOLOCKS, STALE: NOLOCKS}
VERSIONS = (1, 3, 4)
# "For writing", of fsh_access, and "deny both", of fsh_mode.
WRITING, NOBODY_ELSE = 2, 3
STATE = 1


class Client:
    """The lock manager of a host, in one version and form."""

    cookies = itertools.count(1)

    def __init__(self, host, caller, version, by_message):
        self.host = host
        self.caller = caller
        self.version = version
        self.by_message = by_message

    def stat(self, stat):
        """The status as this version says it."""
        return stat if self.version == 4 else NARROW.get(stat, stat)

    def last_byte(self):
        return 2**63 - 1 if self.version == 4 else 2**31 - 1

    def alock(self, fh, svid, span):
        wide = rpc.u64 if self.version == 4 else rpc.u32
        name = rpc.opaque(self.host.namespace)
        return name + rpc.opaque(fh) + rpc.opaque(f"owner {svid}") + rpc.u32(svid) + wide(*span)

    def result(self, procedure, arguments):
        """A called procedure's result, or the one that follows its message: past the cookie."""
        cookie = f"dialect {next(self.cookies)}".encode()
        arguments = rpc.opaque(cookie) + arguments
        if self.by_message and procedure <= GRANTED:
            self.call(procedure + TO_MESSAGE, arguments).end()
            procedure += TO_RESULT
            heard = self.host.hear(NLM, self.version, procedure)
            expect("over TCP", heard.tcp, self.caller.stream)
            expect("from", heard.source, self.caller.socket.getpeername()[0])
            reader = heard.reader()
        else:
            reader = self.call(procedure, arguments)
        expect("cookie", reader.opaque(), cookie)
        return (self.version, procedure, cookie.hex()), reader

    def call(self, procedure, arguments=b""):
        return self.caller.call(NLM, self.version, procedure, arguments)

    def expect(self, stat, procedure, arguments, holder=None):
        """Asks, and wants this status, and the holder (exclusive, svid, span) where given."""
        key, reader = self.result(procedure, arguments)
        expect(f"status of {key[:2]}", reader.u32(), self.stat(stat))
        self.host.told[key] = (self.stat(stat),)
        if holder:
            exclusive, svid, span = holder
            wide = reader.u64 if self.version == 4 else reader.u32
            got = reader.u32(), reader.u32(), reader.opaque(), wide(), wide()
            expect("holder", got, (exclusive, svid, f"owner {svid}".encode(), *span))
            self.host.told[key] += (svid, *span)
        if procedure in (SHARE, UNSHARE):
            expect("sequence", reader.u32(), 0)
        reader.end()

    def test(self, stat, fh, svid, span, holder=None):
        self.expect(stat, TEST, rpc.u32(True) + self.alock(fh, svid, span), holder)

    def lock(self, stat, fh, svid, span, block=False, reclaim=False, exclusive=True, by=LOCK):
        alock = self.alock(fh, svid, span)
        self.expect(stat, by, rpc.u32(block, exclusive) + alock + rpc.u32(reclaim, STATE))

    def cancel(self, stat, fh, svid, span):
        self.expect(stat, CANCEL, rpc.u32(True, True) + self.alock(fh, svid, span))

    def unlock(self, stat, fh, svid, span):
        self.expect(stat, UNLOCK, self.alock(fh, svid, span))

    def share(self, stat, fh, owner, by=SHARE):
        who = rpc.opaque(self.host.namespace) + rpc.opaque(fh) + rpc.opaque(owner)
        self.expect(stat, by, who + rpc.u32(NOBODY_ELSE, WRITING) + rpc.u32(False))

    def free_all(self):
        self.call(FREE_ALL, rpc.opaque(self.host.namespace) + rpc.u32(0)).end()

    def granted(self, fh, svid, span):
        """Hears of the grant of what was blocked, in each form, and takes it."""
        forms = (GRANTED, GRANTED_MSG) if self.host.messages_only else (GRANTED,)
        for form in forms:
            heard = self.host.hear(NLM, self.version, form)
            expect("over TCP", heard.tcp, self.caller.stream)
            expect("from", heard.source, self.caller.socket.getpeername()[0])
            reader = heard.reader()
            cookie = reader.opaque()
            expect("exclusive", reader.u32(), True)
            expect("lock granted", reader.data, self.alock(fh, svid, span))
        if self.host.messages_only:
            form = GRANTED + TO_RESULT
            self.call(form, rpc.opaque(cookie) + rpc.u32(OK)).end()
        self.host.told[self.version, form, cookie.hex()] = (OK,)

    def claim_to_grant(self, fh, svid, span):
        """GRANTED to the server, which waits for nothing."""
        self.expect(DENIED, GRANTED, rpc.u32(True) + self.alock(fh, svid, span))
