"""Holds locks on one file for whoever writes commands to its stdin, one answer line for each.

    lock ex|sh START LENGTH    F_SETLK:  ok, or refused
    wait ex|sh START LENGTH    F_SETLKW: ok, or interrupted (by SIGINT)
    unlock START LENGTH        F_SETLK:  ok
    test ex|sh START LENGTH    F_GETLK:  free, or the lock in the way: ex|sh START LENGTH PID
    flock ex|sh|un             flock, LOCK_NB: ok, or refused

Any other failure is answered by its errno's name. The first line it writes is its process id.
"""

import errno
import fcntl
import os
import struct
import sys

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
FLOCK = struct.Struct("hhqqi4x")
TYPES = {"ex": fcntl.F_WRLCK, "sh": fcntl.F_RDLCK}
NAMES = {number: name for name, number in TYPES.items()}
WHOLE_FILE = {"ex": fcntl.LOCK_EX, "sh": fcntl.LOCK_SH, "un": fcntl.LOCK_UN}


def request(file, command, lock_type, start, length):
    wanted = FLOCK.pack(lock_type, os.SEEK_SET, int(start), int(length), 0)
    return FLOCK.unpack(fcntl.fcntl(file, command, wanted))


def lock(file, mode, start, length):
    request(file, fcntl.F_SETLK, TYPES[mode], start, length)
    return "ok"


def wait(file, mode, start, length):
    request(file, fcntl.F_SETLKW, TYPES[mode], start, length)
    return "ok"


def unlock(file, start, length):
    request(file, fcntl.F_SETLK, fcntl.F_UNLCK, start, length)
    return "ok"


def test(file, mode, start, length):
    found, _, start, length, pid = request(file, fcntl.F_GETLK, TYPES[mode], start, length)
    return "free" if found == fcntl.F_UNLCK else f"{NAMES[found]} {start} {length} {pid}"


def flock(file, mode):
    fcntl.flock(file, WHOLE_FILE[mode] | fcntl.LOCK_NB)
    return "ok"


COMMANDS = {"lock": lock, "wait": wait, "unlock": unlock, "test": test, "flock": flock}


def answer(file, line):
    verb, *words = line.split()
    try:
        return COMMANDS[verb](file, *words)
    except BlockingIOError:
        return "refused"
    except KeyboardInterrupt:
        return "interrupted"
    except OSError as error:
        return errno.errorcode[error.errno]


def main(path):
    with open(path, "r+b", buffering=0) as file:
        print(os.getpid(), flush=True)
        for line in sys.stdin:
            print(answer(file, line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
