"""What tshark reads of NLM in a record of the wire, and what is amiss in it."""

from dataclasses import dataclass
from itertools import product

from . import wire
from .nlm import TEST, TO_MESSAGE, TO_RESULT
from .report import CheckFailed

# What tells one message of NLM; of a range, the fields of versions 1 and 3 or those of 4 are empty.
FIELDS = (
    *("rpc.msgtyp", "rpc.programversion", "rpc.procedure", "tcp.stream", "ipv6.version"),
    *("nlm.cookie", "nlm.res_in", "nlm.stat", "nlm.test_stat.stat", "nlm.lock.svid"),
    *("nlm.lock.l_offset", "nlm.lock.l_offset64", "nlm.lock.l_len", "nlm.lock.l_len64"),
)
# Of nlm4_stats, in the result of TEST: a holder follows.
DENIED = "1"


@dataclass(frozen=True)
class Message:
    """A call or a reply of NLM as tshark reads it."""

    is_call: bool
    version: int
    procedure: int
    tcp: bool
    ipv6: bool
    # In hexadecimal.
    cookie: str
    # Where the result of this NLM_*_MSG is.
    result_in: str
    # The status that it tells, and the svid, offset and length of a holder; else empty.
    result: tuple


def messages(file):
    """Every one of the file. Each is expected in a packet of its own."""
    fields = [word for name in FIELDS for word in ("-e", name)]
    for line in wire.tshark(file, "nlm", "-T", "fields", "-E", "aggregator=,", *fields):
        kind, versions, procedure, stream, ipv6, cookie, result_in, *values = line.split("\t")
        if not (kind + procedure).isdigit():
            raise CheckFailed(f"expected one message in a packet: {line}")
        stat, test_stat, *holder = values
        told = [stat or test_stat, *(holder if test_stat == DENIED else [])]
        yield Message(
            is_call=kind == wire.CALL,
            # Of some, tshark tells the version twice.
            version=int(versions.split(",")[0]),
            procedure=int(procedure),
            tcp=bool(stream),
            ipv6=bool(ipv6),
            cookie=cookie,
            result_in=result_in,
            result=tuple(int(value) for value in told if value),
        )


def unanswered(file):
    """The messages, NLM_*_MSG, whose result is not there."""
    sent = range(TEST + TO_MESSAGE, TEST + TO_RESULT)
    asked = [each for each in messages(file) if each.is_call and each.procedure in sent]
    return [message for message in asked if not message.result_in]


def misread(file, told):
    """The results that tshark reads otherwise than they were told, or that one of both lacks."""
    read = {
        ((message.version, message.procedure, message.cookie), message.result)
        for message in messages(file)
        if message.result
    }
    return sorted(read ^ set(told.items()))


def missing(file, procedures):
    """Of these procedures by version, what was not called or not answered by each way.

    Each is (whether it is the call, version, procedure, over TCP, over IPv6).
    """
    both = (False, True)
    wanted = {
        (is_call, version, procedure, tcp, ipv6)
        for version, numbers in procedures.items()
        for is_call, procedure, tcp, ipv6 in product(both, numbers, both, both)
    }
    return wanted - {
        (message.is_call, message.version, message.procedure, message.tcp, message.ipv6)
        for message in messages(file)
    }
