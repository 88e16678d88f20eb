"""tshark reads every version and form of NLM, and NSM, as a host that is no Linux speaks them"""

import socket
from collections import Counter
from contextlib import ExitStack
from functools import partial
from itertools import product

from harness import nlm, nlm_read, rpc, wire
from harness.host import NLM, NSM, host
from harness.network import SERVER, second_address
from harness.nlm import BLOCKED, DEADLCK, DENIED, FBIG, GRACE, OK, ROFS, STALE, VERSIONS
from harness.report import expect
from harness.servers import Cleat

MOUNT, NFS = 100005, 100003
MNT, LOOKUP = 1, 3
PORT = 2049
LOOPBACK = "127.0.0.1"
NAME = "dialects"
# The server's address, and the host's, of each family.
SIDES = ((SERVER, "10.77.0.31"), ("fd77::1", "fd77::31"))
PROCEDURES = {1: range(16), 3: [*range(16), *range(20, 24)], 4: [*range(16), *range(20, 24)]}
SM_STAT, SM_MON, SM_UNMON, SM_UNMON_ALL, SM_SIMU_CRASH, SM_NOTIFY = range(1, 7)
SUCC, FAIL = 0, 1
BOTH = (False, True)
ONE, TWO = (10, 20), (50, 10)
# No handle of the server's.
STALE_FH = b"\1" * 32
ELSEWHERE = (5000, 10)
# A lock manager of the server's host, which is called back by no procedure of this program.
MY_ID = rpc.opaque("lab") + rpc.u32(0x20000001, 1, 1)
MON_ID = rpc.opaque(SIDES[0][1]) + MY_ID
PRIVATE = bytes(16)


def run(lab):
    near, far = lab.directory / "loopback.pcap", lab.directory / "bridge.pcap"
    listen = [word for address in (SIDES[1][0], LOOPBACK) for word in ("--listen", address)]
    with ExitStack() as stack:
        stack.enter_context(second_address(SIDES[1][0]))
        here = stack.enter_context(host(NAME, *(side[1] for side in SIDES)))
        kind = partial(Cleat, more_flags=listen)
        exports = {"data": "rw,no_root_squash", "readonly": "ro"}
        server = stack.enter_context(lab.serving(kind, **exports))
        stack.enter_context(wire.recorded(near, "lo"))
        stack.enter_context(wire.recorded(far))
        session(lab, server, here)
        monitor(lab, here)
        with lab.check("nothing else was asked of the host"):
            called = [heard.called for heard in here.heard]
            expect("calls", [each for each in called if each != (NSM, 1, SM_NOTIFY)], [])
    judged(lab, near, far, here.told)


def callers(here):
    """Each way to the server: by IPv4 and IPv6, over UDP and TCP."""
    for (server, address), tcp in product(SIDES, BOTH):
        caller = here.caller(address, server, PORT, tcp)
        yield caller
        caller.close()


def handle(lab, here, export):
    """The handle of a new file of the export."""
    (lab.path(export) / "held").touch()
    server, address = SIDES[0]
    caller = here.caller(address, server, PORT, tcp=True)
    mounted = caller.call(MOUNT, 3, MNT, rpc.opaque(str(lab.path(export))))
    expect("MNT", mounted.u32(), 0)
    found = caller.call(NFS, 3, LOOKUP, rpc.opaque(mounted.opaque()) + rpc.opaque("held"))
    expect("LOOKUP", found.u32(), 0)
    caller.close()
    return found.opaque()


def session(lab, server, here):
    held, readonly = (handle(lab, here, export) for export in ("data", "readonly"))
    for by_message in BOTH:
        form = "messages and their results" if by_message else "calls"
        with lab.check(f"NLM 1, 3 and 4 by {form}: what was wanted is answered, and waits end"):
            here.messages_only = by_message
            for caller, version in ways(here):
                client = nlm.Client(here, caller, version, by_message)
                locks(client, held)
                waits(client, held)
                mistakes(client, held, readonly)
    with lab.check("SHARE, UNSHARE, NM_LOCK and FREE_ALL of NLM 3 and 4"):
        for caller, version in ways(here):
            client = nlm.Client(here, caller, version, False)
            client.call(0).end()
            if version > 1:
                reservations(client, held)
    with lab.check("after a restart each version is told of the grace period, and reclaims"):
        restart(server, here, held)


def ways(here):
    for caller in callers(here):
        for version in VERSIONS:
            yield caller, version


def locks(client, fh):
    client.test(OK, fh, 2, ONE)
    client.lock(OK, fh, 1, ONE)
    client.test(DENIED, fh, 2, (0, 0), holder=(True, 1, ONE))
    client.lock(DENIED, fh, 2, ONE)
    client.lock(BLOCKED, fh, 2, ONE, block=True)
    client.cancel(OK, fh, 2, ONE)
    client.claim_to_grant(fh, 2, ONE)
    client.unlock(OK, fh, 1, ONE)
    client.unlock(OK, fh, 1, ONE)


def waits(client, fh):
    client.lock(OK, fh, 1, ONE)
    client.lock(OK, fh, 1, TWO)
    client.lock(BLOCKED, fh, 2, ONE, block=True)
    client.unlock(OK, fh, 1, ONE)
    client.granted(fh, 2, ONE)
    client.test(DENIED, fh, 1, ONE, holder=(True, 2, ONE))
    client.lock(BLOCKED, fh, 2, TWO, block=True)
    client.lock(DEADLCK, fh, 1, ONE, block=True)
    client.cancel(OK, fh, 2, TWO)
    client.unlock(OK, fh, 1, (0, 0))
    client.unlock(OK, fh, 2, (0, 0))


def mistakes(client, fh, readonly):
    last = client.last_byte()
    client.lock(OK, fh, 1, (last, 1))
    client.test(DENIED, fh, 2, (last, 1), holder=(True, 1, (last, 1)))
    client.unlock(OK, fh, 1, (last, 1))
    if client.version == 4:
        client.lock(FBIG, fh, 1, (last, 2))
        client.test(FBIG, fh, 1, (last + 1, 0))
    else:
        past_the_end(client, fh, last)
    client.lock(STALE, STALE_FH, 1, ONE)
    client.lock(ROFS, readonly, 1, ONE)
    client.lock(OK, readonly, 1, ONE, exclusive=False)
    client.unlock(OK, readonly, 1, ONE)


def past_the_end(client, fh, last):
    """What versions 1 and 3 cannot name is the end of the file to them."""
    client.lock(OK, fh, 1, (last, 2))
    client.test(DENIED, fh, 2, (last, 1), holder=(True, 1, (last, 0)))
    client.unlock(OK, fh, 1, (last, 0))
    wide = nlm.Client(client.host, client.caller, 4, client.by_message)
    wide.lock(OK, fh, 1, (2**40, 10))
    client.test(DENIED, fh, 2, (0, 0), holder=(True, 1, (last, 0)))
    wide.unlock(OK, fh, 1, (2**40, 10))


def reservations(client, fh):
    client.share(OK, fh, "one")
    client.share(DENIED, fh, "two")
    client.share(OK, fh, "one", by=nlm.UNSHARE)
    client.share(OK, fh, "two")
    client.lock(OK, fh, 1, ONE, by=nlm.NM_LOCK)
    client.lock(DENIED, fh, 2, ONE, by=nlm.NM_LOCK)
    client.free_all()
    client.test(OK, fh, 2, ONE)
    client.share(OK, fh, "one")
    client.share(OK, fh, "one", by=nlm.UNSHARE)


def restart(server, here, fh):
    for client, span in spans(here):
        client.lock(OK, fh, 1, span)
    before = nsm_state(here)
    server.kill()
    server.start()
    hear_state(here, before + 2)
    for client, span in spans(here):
        client.test(GRACE, fh, 2, ELSEWHERE)
        client.lock(GRACE, fh, 1, ELSEWHERE)
        if client.version > 1:
            client.share(GRACE, fh, "one")
    for client, span in spans(here):
        client.lock(OK, fh, 1, span, reclaim=True)
    for client, span in spans(here):
        client.lock(OK, fh, 1, ELSEWHERE)
        client.unlock(OK, fh, 1, (0, 0))


def spans(here):
    """A client in each version and form and by each way, and bytes of its own."""
    first = 0
    for caller, version in ways(here):
        for by_message in BOTH:
            client = nlm.Client(here, caller, version, by_message)
            yield client, (first, 10)
            first += 10


def monitor(lab, here):
    with lab.check("SM_STAT, and what only a lock manager of the server's host may ask"):
        for caller in callers(here):
            caller.call(NSM, 1, 0).end()
            expect("state is odd", nsm_state(here) % 2, 1)
            mon = caller.call(NSM, 1, SM_MON, MON_ID + PRIVATE)
            expect("SM_MON from elsewhere", mon.u32(), FAIL)
        for tcp in BOTH:
            local_lock_manager(here, tcp)
    with lab.check("SM_NOTIFY of each way releases what the host held"):
        fh = handle(lab, here, "data")
        for state, caller in zip(range(3, 99, 2), callers(here)):
            client = nlm.Client(here, caller, 4, False)
            client.lock(OK, fh, 1, ONE)
            client.test(DENIED, fh, 2, ONE, holder=(True, 1, ONE))
            caller.call(NSM, 1, SM_NOTIFY, rpc.opaque(NAME) + rpc.u32(state)).end()
            client.test(OK, fh, 2, ONE)


def local_lock_manager(here, tcp):
    local = socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    rpc.bind_reserved(local, LOOPBACK)
    local.connect((LOOPBACK, PORT))
    caller = rpc.Caller(local)
    for procedure, arguments in ((SM_UNMON, MON_ID), (SM_UNMON_ALL, MY_ID), (SM_SIMU_CRASH, b"")):
        mon = caller.call(NSM, 1, SM_MON, MON_ID + PRIVATE)
        expect("SM_MON", mon.u32(), SUCC)
        state = mon.u32()
        mon.end()
        done = caller.call(NSM, 1, procedure, arguments)
        if procedure != SM_SIMU_CRASH:
            expect("state", done.u32(), state)
        done.end()
    hear_state(here, state + 2)
    caller.close()


def nsm_state(here):
    server, address = SIDES[0]
    caller = here.caller(address, server, PORT, tcp=False)
    stat = caller.call(NSM, 1, SM_STAT, rpc.opaque(NAME))
    expect("SM_STAT", stat.u32(), SUCC)
    state = stat.u32()
    stat.end()
    caller.close()
    return state


def hear_state(here, wanted):
    """Hears SM_NOTIFYs, of which one may come under several names, until one tells this state."""
    state = 0
    while state < wanted:
        reader = here.hear(NSM, 1, SM_NOTIFY).reader()
        reader.opaque()
        state = reader.u32()
        reader.end()
    expect("state", state, wanted)


def judged(lab, near, far, told):
    with lab.check("every procedure was called and answered by each way, in the eyes of tshark"):
        expect("missing of NLM", nlm_read.missing(far, PROCEDURES), set())
        calls = [calls_and_replies(file)[0] for file in (near, far)]
        nsm = {procedure for each in calls for program, _, procedure in each if program == NSM}
        expect("NSM's procedures", nsm, set(range(7)))
        print(f"{'':15}{sum(map(Counter.total, calls))} calls, {len(told)} results")
    with lab.check("on the server's loopback interface tshark finds every call right and answered"):
        expect("packets", wire.undecoded_packets(near) + wire.wrong_packets(near), [])
        expect("calls without a reply", silent(near), [])
    for title, judge, true, false in judges(told):
        with lab.check(f"tshark finds {title}"):
            expect("found", judge(far), [])
        with lab.check(f"where one is damaged, it does not find {title}"):
            whole, copy = far.read_bytes(), far.with_name("damaged.pcap")
            expect("something to damage", true in whole, True)
            copy.write_bytes(whole.replace(true, false))
            expect("found", judge(copy) != [], True)


def judges(told):
    """What has to be found, who finds what is not so, and bytes that make it so."""
    # Messages have a flag behind their cookie, so this tells the status of one result.
    blocked = next(key for key, result in told.items() if key[1] == 12 and result == (BLOCKED,))
    cookie = bytes.fromhex(blocked[2])
    result = rpc.opaque(cookie) + rpc.u32(BLOCKED)
    stray = rpc.opaque(cookie.upper()) + rpc.u32(BLOCKED)
    name, first = rpc.opaque(NAME), rpc.u32(rpc.XID_FIRST, rpc.REPLY)
    return (
        ("each packet well formed", malformed, name, rpc.u32(0xFFFFFF) + name[4:]),
        ("a reply to each call", silent, first, b"\x40" + first[1:]),
        ("a result for each message", nlm_read.unanswered, result, stray),
        (
            "the status and the holder of each result as they were told",
            lambda file: nlm_read.misread(file, told),
            result,
            rpc.opaque(cookie) + rpc.u32(DEADLCK),
        ),
    )


def malformed(file):
    return wire.undecoded_packets(file) + wire.wrong_packets(file)


def silent(file):
    return calls_and_replies(file)[1]


def calls_and_replies(file):
    return wire.calls_and_replies(file, {MOUNT, NFS, NLM, NSM})
