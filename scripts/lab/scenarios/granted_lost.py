"""GRANTED is lost on the way to a guest, or its answer is: the lock still arrives, once"""

import re
import time
from contextlib import contextmanager

from harness import wire
from harness.locker import lockers
from harness.report import CheckFailed, expect, expect_within

LOST_S = 20
ANSWER_LOST_S = 5
# Longer than the server waits for an answer before it calls again.
MORE_S = 12
# From the LOCK. A call is made anew at least every 10 s, and TCP's first repetitions of it come
# soon. Linux itself asks again after 30 s, which is not what is to be seen here.
ARRIVAL_LIMIT_S = 28

# Where a segment from a Linux machine carries an RPC message: 20 bytes of IPv4, 32 of TCP with its
# timestamps, 4 of record mark and 4 of xid are before it.
MESSAGE_AT = 60
CALL, REPLY = 0, 1
NLM = 100021
# As a call, and as a message.
GRANTED = ((NLM, 4, 5), (NLM, 4, 10))


def run(lab):
    one, two = lab.guests
    for guest in lab.guests:
        guest.sh("modprobe -a -d /run/modules sch_ingress cls_u32 act_gact")
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        one.sh(f"touch {at}/call {at}/answer {at}/more")
        file = lab.directory / "granted-lost.pcap"
        with wire.recorded(file):
            call_lost(lab, one, two, f"{at}/call")
        called_again(lab, file)
        answer_lost(lab, one, two, f"{at}/answer")
        more_asked_for(lab, one, two, f"{at}/more")


def call_lost(lab, one, two, path):
    title = f"GRANTED is dropped for {LOST_S} s: the lock is the waiter's, and it learns of it"
    with lab.check(title), lockers(path, one, two, one) as (holder, waiter, other):
        asked = queue_behind(holder, waiter, "ex")
        with dropping(two, "ingress", granted_call()):
            expect("g1's unlock", holder.do("unlock 0 10"), "ok")
            waiter.expect_silence(LOST_S)
            expect("g1's lock of what was handed over", other.do("lock sh 0 1"), "refused")
        expect("the waiter", waiter.answer(60), "ok")
        expect_within("the lock since it was asked for", time.monotonic() - asked, ARRIVAL_LIMIT_S)
        expect_one_grant(waiter, other)


def called_again(lab, file):
    # Without it, one call would do that TCP repeats for as long as it was lost.
    with lab.check("GRANTED was called anew, in a call of its own each time"):
        calls, _ = wire.calls_and_replies(file, {NLM})
        told = sum(calls[name] for name in GRANTED)
        if told < 2:
            raise CheckFailed(f"expected several calls, the wire has {told}")


def answer_lost(lab, one, two, path):
    title = "the answer to GRANTED is dropped: the lock is the waiter's, and stays so"
    with lab.check(title), lockers(path, one, two, one) as (holder, waiter, other):
        queue_behind(holder, waiter, "ex")
        with dropping(two, "egress", reply_from(lock_manager_port(two))):
            expect("g1's unlock", holder.do("unlock 0 10"), "ok")
            expect("the waiter", waiter.answer(), "ok")
            # A server that takes silence for a "no" would hand the lock on.
            time.sleep(ANSWER_LOST_S)
            expect("g1's lock of it", other.do("lock sh 0 1"), "refused")
        # Time for another GRANTED, whose answer arrives.
        time.sleep(ANSWER_LOST_S)
        expect_one_grant(waiter, other)


def more_asked_for(lab, one, two, path):
    # Linux takes a GRANTED for what it waits for by the range alone, whatever the mode.
    title = "a shared lock's GRANTED, its answer lost, is not taken for the exclusive one's"
    with lab.check(title), lockers(path, one, two) as (holder, waiter):
        queue_behind(holder, waiter, "sh")
        with dropping(two, "egress", reply_from(lock_manager_port(two))):
            expect("g1's unlock, but for a shared lock", holder.do("lock sh 0 10"), "ok")
            expect("the waiter", waiter.answer(), "ok")
            waiter.ask("wait ex 0 10")
            waiter.expect_silence(MORE_S)
        expect("g1's lock, which is shared still", holder.do("unlock 0 10"), "ok")
        expect("the waiter", waiter.answer(), "ok")


def queue_behind(holder, waiter, mode):
    """Has g1 hold what the waiter then waits for at the server; when it asked."""
    expect("g1's lock", holder.do("lock ex 0 10"), "ok")
    asked = time.monotonic()
    waiter.ask(f"wait {mode} 0 10")
    waiter.wait_until_queued()
    return asked


def expect_one_grant(waiter, other):
    expect("another's lock while it is held", other.do("lock sh 0 1"), "refused")
    expect("the waiter's unlock", waiter.do("unlock 0 10"), "ok")
    # Time for a grant that should not come.
    time.sleep(1)
    expect("the range, asked by g1", other.do("test ex 0 0"), "free")
    expect("another's lock", other.do("lock ex 0 10"), "ok")
    expect("the former waiter's lock", waiter.do("lock sh 0 10"), "refused")


def granted_call():
    # In any form: a client that does not answer the call is sent the message.
    return [(CALL, MESSAGE_AT), (NLM, MESSAGE_AT + 8)]


def reply_from(port):
    return [(REPLY, MESSAGE_AT), (f"{port:#06x}0000", 20, "0xffff0000")]


def lock_manager_port(guest):
    listed = guest.sh("rpcinfo -p")
    return int(re.search(r"100021\s+4\s+tcp\s+(\d+)", listed).group(1))


@contextmanager
def dropping(guest, direction, words):
    """Drops the segments in which each of `words` (value, offset, mask) is found.

    Fails if there were none: then it was something else that the block has shown.
    """
    matches = " ".join(match(*word) for word in words)
    guest.sh(
        "tc qdisc add dev vec0 clsact && tc filter add dev vec0"
        f" {direction} protocol ip u32 match ip protocol 6 0xff {matches} action drop"
    )
    try:
        yield
        told = guest.sh(f"tc -s filter show dev vec0 {direction}")
    finally:
        guest.sh("tc qdisc del dev vec0 clsact")
    dropped = re.search(r"dropped (\d+)", told)
    if not dropped or int(dropped.group(1)) == 0:
        raise CheckFailed(f"expected the filter to drop something; it tells\n{told}")


def match(value, offset, mask="0xffffffff"):
    return f"match u32 {value} {mask} at {offset}"
