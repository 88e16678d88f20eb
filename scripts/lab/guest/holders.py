"""Many processes that hold one byte each: holders.py PATH FIRST COUNT

Says `held` when all do, and ends with them at the next line of its stdin.
"""

import fcntl
import os
import signal
import sys


def hold(path, offset, told):
    with open(path, "r+b", buffering=0) as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, offset)
        os.write(told, b".")
        signal.pause()


def main(path, first, count):
    heard, told = os.pipe()
    children = []
    for offset in range(int(first), int(first) + int(count)):
        child = os.fork()
        if child == 0:
            hold(path, offset, told)
        children.append(child)
    for _ in children:
        os.read(heard, 1)
    print("held", flush=True)
    sys.stdin.readline()
    for child in children:
        os.kill(child, signal.SIGTERM)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
