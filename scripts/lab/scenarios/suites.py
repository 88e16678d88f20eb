"""locking programs and suites that others wrote hold on the mount"""

import os
import re

from harness.guest import TOOLS
from harness.report import CheckFailed, expect

# How long each stressor runs; a longer run is asked for by the environment.
SECONDS = int(os.environ.get("LAB_SUITE_SECONDS", "4"))
# A guest has one slow CPU, and shares the machine's with whatever else it does.
END_S = 120
STRESSORS = ("lockf", "flock", "lockofd", "locka")
FLOCK_ROUNDS = 20
LOCKFILE_ROUNDS = 8
SQLITE_ROUNDS = 12
INCREMENT = 'n=$(cat count); echo $((n + 1)) >count'
# Of timeout(1), which ended what would have gone on for ever.
TIMED_OUT = 124


def run(lab):
    one, two = lab.guests
    with lab.serving(data="rw,no_root_squash"):
        for guest in lab.guests:
            at = lab.mount(guest, "data")
        for case in (
            stressors,
            ping_pong_alone,
            ping_pong_of_two,
            ping_pong_brief,
            flock_counter,
            lockfile_programs,
            sqlite_journals,
            berkeley_db,
            python_suite,
        ):
            directory = f"{at}/{case.__name__}"
            one.sh(f"mkdir {directory}")
            case(lab, one, two, directory)


def finish_both(*channels):
    """Waits for every command, and fails if one of them failed."""
    for channel in channels:
        expect(f"the end of {channel.name}", channel.finish(END_S), (0, ""))


def stressors(lab, one, two, directory):
    for stressor in STRESSORS:
        with lab.check(f"stress-ng --{stressor} --verify on both guests"):
            running = [guest.open(stress(stressor, guest, directory)) for guest in (one, two)]
            for channel in running:
                status, output = channel.finish(SECONDS + END_S)
                expect(f"{stressor}'s exit status", (status, output if status else ""), (0, ""))
                counted = re.search(rf"metrc:.* {stressor} +(\d+) ", output)
                if not counted or int(counted.group(1)) == 0:
                    raise CheckFailed(f"expected {stressor} to have locked, got\n{output}")


def stress(stressor, guest, directory):
    words = f"mkdir {directory}/{stressor}-{guest.name} && stress-ng --{stressor} 2 --verify"
    # It takes a buffer as large as a cache of this level, and some processors have a third that is
    # larger than a guest's memory.
    where = f"--temp-path {directory}/{stressor}-{guest.name} --cache-level 1"
    return ["sh", "-c", f"{words} {where} --timeout {SECONDS}s --metrics-brief 2>&1"]


def ping_pong(flags, path, locks):
    """It runs for ever, and counts the locks of each second."""
    return ["timeout", str(SECONDS), "ping_pong", *flags, path, str(locks)]


def rates_of(channel):
    """The locks a second that ping_pong told, and the data increments, once it was stopped."""
    status, output = channel.finish(SECONDS + END_S)
    if status != TIMED_OUT or "failed" in output:
        raise CheckFailed(f"{channel.name}: ended with {status}, saying\n{output}")
    rates = [int(rate) for rate in re.findall(r"(\d+) locks/sec", output)]
    if not rates or 0 in rates:
        raise CheckFailed(f"{channel.name}: expected a rate each second, got {output!r}")
    return rates, [int(n) for n in re.findall(r"data increment = (\d+)", output)]


def ping_pong_alone(lab, one, _, directory):
    with lab.check("ping_pong alone locks on, and reads back what it wrote"):
        rates, increments = rates_of(one.open(ping_pong(["-rw"], f"{directory}/file", 2)))
        expect("data increments", increments, [1])
        print(f"{'':15}locks a second: {rates}")


def ping_pong_of_two(lab, one, two, directory):
    with lab.check("ping_pong -rw of two guests on one file sees each other's every write"):
        words = ping_pong(["-rw"], f"{directory}/file", 3)
        running = [guest.open(words) for guest in (one, two)]
        for channel in running:
            rates, increments = rates_of(channel)
            # Between two turns of one, the other has had exactly one, until it ended.
            _, met, after = "".join(map(str, increments)).partition("2")
            if not met or after not in ("", "1"):
                raise CheckFailed(f"expected data increments of 2, got {increments}")
            print(f"{'':15}locks a second: {rates}, data increments: {increments}")


def ping_pong_brief(lab, one, two, directory):
    with lab.check("ping_pong -l finds that byte range locks work between the guests"):
        one.sh(f"touch {directory}/file")
        words = ["stdbuf", "-oL", "timeout", "60", "ping_pong", "-l", f"{directory}/file"]
        holder = one.open(words)
        expect("the first", "Holding lock" in holder.read_line(20), True)
        _, output = two.run(f"ping_pong -l {directory}/file </dev/null")
        expect("the second", "Working POSIX byte range locks" in output, True)
        holder.send_line("")
        holder.finish(20)


def flock_counter(lab, one, two, directory):
    with lab.check("a number counted up under flock(1) by two processes of each guest is right"):
        one.sh(f"echo 0 >{directory}/count")
        loop = f"for i in $(seq {FLOCK_ROUNDS}); do flock lock sh -c '{INCREMENT}' || exit; done"
        words = ["sh", "-c", f"cd {directory} && {loop}"]
        finish_both(*(guest.open(words) for guest in (one, two, one, two)))
        for guest in (one, two):
            expect("the count", guest.sh(f"cat {directory}/count"), str(4 * FLOCK_ROUNDS))


def lockfile_programs(lab, one, two, directory):
    file = f"{directory}/count"
    with lab.check("lockfile-create and its kin keep the other guest out until lockfile-remove"):
        one.sh(f"lockfile-create --retry 0 {file}")
        two.sh(f"lockfile-check {file}")
        expect("g2's lockfile-create", two.run(f"lockfile-create --retry 0 {file}")[0], 4)
        one.sh(f"lockfile-touch --oneshot {file} && lockfile-remove {file}")
        # It asks stat(2), which a client may answer from its cache for some seconds.
        two.sh(f"for i in $(seq 30); do lockfile-check {file} || exit 0; sleep 1; done; exit 1")
        two.sh(f"lockfile-create --retry 0 {file} && lockfile-remove {file}")
    with lab.check("a number counted up under lockfile-create by both guests is right"):
        one.sh(f"echo 0 >{file}")
        take = "until lockfile-create --retry 0 count 2>/dev/null; do sleep 0.1; done"
        loop = f"for i in $(seq {LOCKFILE_ROUNDS}); do {take}; {INCREMENT}"
        words = ["sh", "-c", f"cd {directory} && {loop}; lockfile-remove count || exit; done"]
        finish_both(*(guest.open(words) for guest in (one, two)))
        expect("the count", two.sh(f"cat {file}"), str(2 * LOCKFILE_ROUNDS))


def sqlite_journals(lab, one, two, directory):
    for mode in ("delete", "truncate", "persist"):
        with lab.check(f"sqlite3 counts up from both guests, journal_mode={mode}"):
            path = f"{directory}/{mode}"
            one.sh(f"sqlite3 {path} 'create table t (n); insert into t values (0)'")
            row = "begin immediate; update t set n = n + 1; commit;"
            first = f"-cmd '.timeout 60000' -cmd 'pragma journal_mode={mode}'"
            rows = f"for i in $(seq {SQLITE_ROUNDS}); do echo '{row}'; done"
            words = ["sh", "-c", f"{rows} | sqlite3 -bail {first} {path} >/dev/null"]
            finish_both(*(guest.open(words) for guest in (one, two)))
            counted = two.sh(f"sqlite3 {path} 'select n from t; pragma integrity_check'")
            expect("the count", counted, f"{2 * SQLITE_ROUNDS}\nok")


def berkeley_db(lab, one, _, directory):
    """Its regions are mapped memory, which no two clients share: only the register is proven.

    Each process holds an fcntl lock on its slot of __db.register while it lives. Whoever joins
    tests those of the others, and asks for recovery where a slot in use is not locked any more.
    """
    with lab.check("Berkeley DB's register tells a killed process from a live one by its lock"):
        first = registrant(one, "recover", directory)
        pid = first.read_line(30).split()[0]
        expect("beside a live process", joined(one, "join", directory), "joined")
        one.sh(f"kill -KILL {pid}")
        first.finish(20)
        expect("after a killed process", joined(one, "join", directory), "needs-recovery")
        expect("whoever recovers", joined(one, "recover", directory), "joined")


def registrant(guest, mode, directory):
    return guest.open(["/usr/bin/python3", f"{TOOLS}/register.py", mode, directory])


def joined(guest, mode, directory):
    """What became of a process that joins and leaves."""
    channel = registrant(guest, mode, directory)
    told = channel.read_line(30).split()[1]
    channel.send_line("close")
    expect("its end", channel.finish(20)[0], 0)
    return told


def python_suite(lab, one, _, directory):
    with lab.check("Python's own tests of fcntl and of mailboxes pass with their files here"):
        tests = "test_fcntl test_mailbox"
        words = f"cd {directory} && python3 -m test --tempdir {directory} {tests} 2>&1"
        status, output = one.run(words, timeout_s=4 * END_S)
        expect("their end", (status, output if status else ""), (0, ""))
        expect("tests that ran", "All 2 tests OK." in output, True)
