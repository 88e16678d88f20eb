"""What crossed the lab's wire: recorded whole, and judged by tshark's decoders."""

import signal
import subprocess
import time
from collections import Counter, defaultdict
from contextlib import contextmanager

from .network import AGENT_PORT
from .report import CheckFailed

# Of an expert's notes: what is wrong with the packet itself, not with how it travelled.
WRONG = "_ws.malformed || _ws.expert.severity >= 0x800000"
# What was in an earlier packet already, which tshark does not decode a second time.
REPEATED = "tcp.analysis.retransmission || tcp.analysis.spurious_retransmission"
# Of packets with something in them: no RPC, nor a piece of one that ends in a later packet.
FOREIGN = f"(tcp.len > 0 || udp) && !icmp && !rpc && !tcp.reassembled_in && !({REPEATED})"
# A repetition that overtakes a later segment has this name instead, and so has a segment that comes
# late for the first time.
LATE = "tcp.analysis.out_of_order"
SEGMENT = ("tcp.stream", "tcp.srcport", "tcp.seq", "tcp.len")
PREFERENCES = (
    # A client's source port may be one that tshark knows as some other protocol's.
    "tcp.try_heuristic_first:TRUE",
    "udp.try_heuristic_first:TRUE",
    # A tap that is full drops segments, which then come late.
    "tcp.reassemble_out_of_order:TRUE",
    # A message of NLM and its result find each other by their cookie.
    "nlm.msg_res_matching:TRUE",
)
FIELDS = ("rpc.xid", "rpc.msgtyp", "rpc.program", "rpc.programversion", "rpc.procedure")
VERSION = FIELDS.index("rpc.programversion")
CALL = "0"
START_LIMIT_S = 20
# For the kernel to hand on what it has of the capture.
SETTLE_S = 1


@contextmanager
def recorded(file, interface="lab"):
    """Records every byte of the interface's packets, apart from the lab's own commands."""
    words = ["tcpdump", "-i", interface, "-s", "0", "-B", "16384", "-U", "-w", file]
    with open(f"{file}.log", "wb") as log:
        tcpdump = subprocess.Popen(
            [*words, "not", "port", str(AGENT_PORT)], stdin=subprocess.DEVNULL, stderr=log
        )
    deadline = time.monotonic() + START_LIMIT_S
    while not (file.exists() and file.stat().st_size):
        if tcpdump.poll() is not None or time.monotonic() > deadline:
            raise CheckFailed(f"tcpdump did not start; see {file}.log")
        time.sleep(0.1)
    try:
        yield
    finally:
        time.sleep(SETTLE_S)
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.wait()


def tshark(file, display_filter, *words):
    """The lines that tshark writes of the packets that the filter lets through."""
    preferences = [word for preference in PREFERENCES for word in ("-o", preference)]
    command = ["tshark", "-2", "-n", *preferences, "-r", file, "-Y", display_filter, *words]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise CheckFailed(f"tshark: {told.stderr}")
    return told.stdout.splitlines()


def wrong_packets(file):
    """Those that tshark calls malformed or erroneous, one line each."""
    return tshark(file, WRONG)


def undecoded_packets(file):
    """Those that tshark does not take for RPC, one line each."""
    late = segments(file, f"{FOREIGN} && {LATE}")
    seen = set(segments(file, f"tcp.len > 0 && !{LATE}")) if late else set()
    new = [f"out of order: {segment}" for segment in late if segment not in seen]
    return tshark(file, f"{FOREIGN} && !{LATE}") + new


def segments(file, display_filter):
    fields = [word for name in SEGMENT for word in ("-e", name)]
    return tshark(file, display_filter, "-T", "fields", *fields)


def calls_and_replies(file, programs):
    """How often each (program, version, procedure) was called, and which calls had no reply.

    A call that was sent again, with its id, is one call.
    """
    calls, replies = {}, defaultdict(set)
    fields = [word for name in FIELDS for word in ("-e", name)]
    wanted = f"rpc.program in {{{', '.join(map(str, programs))}}}"
    for line in tshark(file, wanted, "-T", "fields", "-E", "aggregator=,", *fields):
        columns = [column.split(",") for column in line.split("\t")]
        if len(set(columns[VERSION])) == 1:
            # Of a NULL call, tshark tells the version twice.
            columns[VERSION] = columns[VERSION][:1] * len(columns[0])
        if len({len(column) for column in columns}) != 1:
            raise CheckFailed(f"tshark did not tell every field of every message: {line}")
        for xid, kind, program, version, procedure in zip(*columns):
            if int(program) not in programs:
                continue
            name = (int(program), int(version), int(procedure))
            if kind == CALL:
                calls[xid, name] = name
            else:
                replies[name].add(xid)
    silent = [name for (xid, name) in calls if xid not in replies[name]]
    return Counter(calls.values()), silent
