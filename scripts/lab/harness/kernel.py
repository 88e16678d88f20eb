"""Starts a guest's kernel on whatever processor this machine has, and says why one did not boot."""

import functools
import os
import re
import subprocess
from pathlib import Path

from .sandbox import ROOT

PRELOAD_SOURCE = ROOT / "scripts" / "lab" / "guest" / "whole_xstate.c"
CONSOLE_LINES = 8
# What a console says, and what is then most likely the matter.
CAUSES = {
    "ptrace set fp regs failed": "the kernel cannot set this processor's floating point state;"
    f" {PRELOAD_SOURCE.name} does that where /proc/cpuinfo has amx_tile",
    "likely just ran out of space": "/dev/shm has no room for the guests' memory",
    "Requested init": "the guest's init cannot be run: are the directories above it open to all?",
    "not found in directory": "user-mode-linux and its modules do not fit: install it again",
}
# Stacks and registers hide the line that says what happened.
NOISE = re.compile(
    r"^(<\d>)?\s*(\[<|\? |Call Trace|RIP|RSP|R[A-D]X|R\d\d|kmsg_dump|Stack:|[0-9a-f]{8,} )"
)


def has_amx():
    return "amx_tile" in Path("/proc/cpuinfo").read_text()


@functools.cache
def environment(directory):
    """The environment of a guest's kernel; the library that it may need is built in `directory`."""
    if not has_amx():
        return dict(os.environ)
    library = directory / "whole_xstate.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, PRELOAD_SOURCE],
        check=True,
    )
    print(f"lab: this processor has AMX: guests start with {PRELOAD_SOURCE.name}", flush=True)
    return os.environ | {"LD_PRELOAD": str(library)}


def why_not_booted(console):
    """The last lines of a console, and the likely cause."""
    text = console.read_text(errors="replace")
    causes = [cause for sign, cause in CAUSES.items() if sign in text]
    said = [line for line in text.splitlines() if line.strip() and not NOISE.match(line)]
    lines = said[-CONSOLE_LINES:] or ["(the console is empty)"]
    likely = causes[0] if causes else "not known from what the console says"
    return "\n".join([*lines, f"likely cause: {likely}"])
