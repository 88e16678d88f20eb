"""Kills the server at random moments while lockers in every guest do their worst.

In rounds: lockers start, the server dies some times, the lockers end, and what is left is checked.
"""

import random
import re
import shutil
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from .forgotten import Forgotten
from .guest import TOOLS
from .hung import Hung
from .probe import InGrace, LockManager, find_file
from .referee import CYCLE, Referee, RefereeServer
from .report import CheckFailed, NoAnswer

FILES = 3
CELLS = 8
CELL_BYTES = 4096
COUNTER_BYTES = 8
START_LIMIT_S = 60
KILLS_IN_ROUND = 50
# Between the server's start and its end. Its clients need a second or two to be at it again.
ALIVE_S_MAX = 5.0
# Between a kill and the start; mostly none, as a supervisor would do it.
DOWN_S_MAX = 1.0
# How often the server dies before it says that it is ready, and how long it has had by then.
DIES_STARTING = 0.15
STARTING_S_MAX = 0.08
AUDITED = 0.3
# From the last start to the end of the torture: Linux connects anew after up to some seconds.
CALM_S = 8
# From there to the end of the last locker. After 30 s a client would make a lost GRANTED good.
END_LIMIT_S = 25
# And to be sure that it is lost, not late.
LOST_LIMIT_S = 100
# From the end of the last locker, which may have given up a wait, to the last record's.
CLEAR_LIMIT_S = 15

GRACE = re.compile(r"^(\S+Z) .* grace (opened|closed): (.*?)(?: (?:locks|reclaimed)=.*)?$")


@dataclass(frozen=True)
class Plan:
    kills: int
    seed: int
    # Ends earlier, where that is over.
    seconds: float = float("inf")
    processes: int = 8
    # Makes the server forget: brings its state back to what it was before the lockers came.
    forget: bool = False


class Torture:
    def __init__(self, lab, server, plan):
        self.lab = lab
        self.server = server
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.referee = Referee(FILES, CELLS)
        self.listener = RefereeServer(self.referee)
        self.forgotten = Forgotten(lab, server, self.referee, CELL_BYTES)
        self.hung = Hung(lab, self.referee)
        self.kills = 0
        self.rounds = 0
        self.audited = Counter()
        self.started = time.monotonic()
        self.memory = server.directory / "state-before"

    def prepare(self):
        for guest in self.lab.guests:
            self.at = self.lab.mount(guest, "data")
        for number in range(FILES):
            file = self.lab.path("data") / str(number)
            file.write_bytes(bytes(CELLS * CELL_BYTES))
            file.chmod(0o666)
        if self.plan.forget:
            self.server.stop()
            shutil.copytree(self.server.directory / "state", self.memory)
            self.server.start()

    def run(self):
        """Returns the findings; there should be none."""
        self.prepare()
        while not self.is_over():
            self.round()
            print(self.progress(), flush=True)
        return self.referee.findings

    def seconds(self):
        return time.monotonic() - self.started

    def is_over(self):
        return (
            self.kills >= self.plan.kills
            or self.seconds() >= self.plan.seconds
            or bool(self.referee.findings)
        )

    def round(self):
        self.rounds += 1
        channels = self.start_lockers()
        for _ in range(KILLS_IN_ROUND):
            if self.is_over():
                break
            time.sleep(self.random.uniform(0, ALIVE_S_MAX))
            if self.random.random() < AUDITED:
                self.audit()
            self.forgotten.clear()
            self.crash()
        if self.plan.forget and self.referee.findings:
            # It is proven, and what the lockers believe to hold takes its time to end.
            return
        time.sleep(CALM_S)
        self.forgotten.clear()
        self.audit()
        self.end_lockers(channels)
        self.check_nothing_left()
        self.check_counters()

    def start_lockers(self):
        self.referee.begin()
        plan, address = self.plan, self.listener.address
        channels = [
            guest.open(
                ["python3", f"{TOOLS}/torturer.py", self.at, address, guest.name]
                + [f"{plan.seed}.{self.rounds}", str(plan.processes), str(FILES), str(CELLS)]
            )
            for guest in self.lab.guests
        ]
        deadline = time.monotonic() + START_LIMIT_S
        while len(self.referee.still_here()) < plan.processes * len(channels):
            if time.monotonic() > deadline:
                raise CheckFailed(f"only these came: {self.referee.still_here()}")
            time.sleep(0.1)
        return channels

    def crash(self):
        if self.server.process.poll() is not None:
            self.referee.find(f"the server ended by itself:\n{self.server.tail()}")
        self.server.kill()
        self.kills += 1
        if self.plan.forget:
            state = self.server.directory / "state"
            shutil.rmtree(state)
            shutil.copytree(self.memory, state)
        if self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, DOWN_S_MAX))
        while self.random.random() < DIES_STARTING:
            self.server.spawn()
            time.sleep(self.random.uniform(0, STARTING_S_MAX))
            self.server.kill()
            self.kills += 1
        self.server.start()
        self.referee.disturbed()

    def audit(self):
        """Asks the server for every lock that is claimed, while nobody can give any up."""
        with self.referee.paused() as claims, LockManager() as manager:
            handles = self.handles()
            try:
                for claim in claims:
                    self.expect_on_record(claim, manager, handles[claim.file])
            except InGrace:
                self.audited["in grace"] += 1
                return
            self.audited["times"] += 1
            self.audited["locks"] += len(claims)

    def handles(self):
        return [find_file(self.lab.path("data"), str(number)) for number in range(FILES)]

    def expect_on_record(self, claim, manager, handle):
        start = claim.cell * CELL_BYTES
        holder = manager.test(handle, start, CELL_BYTES)
        guest = claim.locker.partition(".")[0]
        if holder is None:
            self.referee.find(f"the server has no record of {claim}")
        elif holder.exclusive and not covers(holder, start, guest):
            self.referee.find(f"the server tells another holder for {claim}: {holder}")
        elif claim.mode == "ex" and not holder.exclusive:
            self.referee.find(f"the server has a weaker lock on record for {claim}: {holder}")

    def end_lockers(self, channels):
        self.referee.stop()
        late = self.finish(channels, END_LIMIT_S)
        if late and self.forgotten.clear():
            late = self.finish(late, END_LIMIT_S)
        if late and (hung := self.hung.boot()):
            late = self.finish([one for one in late if one.guest not in hung], END_LIMIT_S)
        if late:
            self.tell_late(END_LIMIT_S)
            late = self.finish(late, LOST_LIMIT_S - END_LIMIT_S)
        if late:
            self.tell_late(LOST_LIMIT_S)

    def finish(self, channels, limit_s):
        """Waits for the lockers' end; of which channels they have not come to it."""
        deadline = time.monotonic() + limit_s
        late = []
        for channel in channels:
            try:
                status, output = channel.finish(max(deadline - time.monotonic(), 0.1))
            except NoAnswer:
                late.append(channel)
            else:
                if status != 0:
                    self.referee.find(f"{channel.name} ended with {status}:\n{output}")
        return late

    def tell_late(self, seconds):
        lockers = "; ".join(self.referee.still_here())
        self.referee.find(f"after {seconds} s not ended: {lockers}")

    def check_nothing_left(self):
        deadline = time.monotonic() + CLEAR_LIMIT_S
        handles = self.handles()
        with LockManager() as manager:
            while left := self.left(manager, handles):
                if time.monotonic() > deadline and not self.forgotten.clear():
                    self.referee.find(f"nobody is left, and these are on record: {left}")
                    return
                time.sleep(0.2)

    def left(self, manager, handles):
        try:
            return [holder for handle in handles if (holder := manager.test(handle, 0, 0))]
        except InGrace:
            return ["something that is to be reclaimed"]

    def check_counters(self):
        for file in range(FILES):
            data = (self.lab.path("data") / str(file)).read_bytes()
            for cell, wanted in enumerate(self.referee.counters[file]):
                at = cell * CELL_BYTES
                got = int.from_bytes(data[at : at + COUNTER_BYTES], "little")
                if got != wanted:
                    self.referee.find(
                        f"cell {cell} of file {file} holds {got}, counted were {wanted}"
                    )

    def progress(self):
        told = self.referee.told
        return (
            f"     {self.seconds():6.0f} s  round {self.rounds}: {self.kills} kills,"
            f" {told['hold']} locks taken, {len(self.referee.findings)} findings"
        )

    def figures(self):
        """What was done, a line each."""
        told, audited, waits = self.referee.told, self.audited, self.referee.waits_s
        windows = grace_windows(self.server.log.read_text())
        closed = [seconds for seconds, _ in windows if seconds is not None]
        yield f"{self.kills} kills in {self.seconds():.0f} s, {self.rounds} rounds"
        yield (
            f"{told['hold']} locks taken of {told['want']} asked for, {told['EAGAIN']} refused,"
            f" {told['GivenUp']} given up, {told[CYCLE]} cycles; {told['counted']} counted"
        )
        median_s, longest_s = self.referee.median_wait_s(), max(waits, default=0)
        yield f"wait: median {median_s:.3f} s, longest {longest_s:.1f} s"
        yield (
            f"audits: {audited['times']} of {audited['locks']} locks in all,"
            f" {audited['in grace']} put off for grace"
        )
        if self.forgotten.cleared:
            yield f"{self.forgotten.cleared} locks that a guest's kernel forgot were cleared by hand"
        if self.hung.booted:
            yield f"{self.hung.booted} guests whose kernel had deadlocked itself were booted anew"
        if closed:
            yield (
                f"grace: {len(windows)} windows, {len(windows) - len(closed)} cut short by a kill;"
                f" median {statistics.median(closed):.3f} s, longest {max(closed):.1f} s"
            )
        for reason, count in Counter(reason for _, reason in windows if reason).most_common():
            yield f"grace closed {count} times: {reason}"


def covers(holder, start, guest):
    """Whether it may be the guest's claim; what is shared may be more by now, as told before."""
    end = start + CELL_BYTES
    reaches = holder.length == 0 or holder.offset + holder.length >= end
    return holder.offset <= start and reaches and holder.oh.endswith(f"@{guest}")


def grace_windows(log):
    """Of each window its seconds and why it closed; None for both where the server died in it."""
    windows = []
    opened = None
    for line in log.splitlines():
        found = GRACE.match(line)
        if not found:
            continue
        at, event, reason = datetime.fromisoformat(found.group(1)), found.group(2), found.group(3)
        if event == "opened":
            if opened:
                windows.append((None, None))
            opened = at
        elif opened:
            windows.append(((at - opened).total_seconds(), reason))
            opened = None
    if opened:
        windows.append((None, None))
    return windows
