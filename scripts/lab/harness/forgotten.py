"""Locks that a guest's kernel forgot, by its own word: found on the server, and cleared by hand.

Linux (seen in 6.1) loses a lock that it was given while another process of the guest still holds
those bytes exclusively, as far as the kernel knows: the server has let that one downgrade and the
answer is under way. The kernel waits for it, and where a signal ends that wait, it keeps nothing,
says "VFS is out of sync with lock manager" in its log, and leaves the lock on the server. There it
stands for ever: no server can tell it from one that is held. An administrator can.
"""

import time

SAID = "VFS is out of sync with lock manager"
# Who has a lock claims it long before.
UNCLAIMED_S = 10
LIMIT_S = 20


class Forgotten:
    def __init__(self, lab, server, referee, cell_bytes):
        self.guests = {guest.name: guest for guest in lab.guests}
        self.server = server
        self.referee = referee
        self.cell_bytes = cell_bytes
        self.seen = dict.fromkeys(self.guests, 0)
        self.cleared = 0

    def clear(self):
        """Clears as many locks as the guests' kernels newly say that they forgot; how many."""
        before = self.cleared
        for name, guest in self.guests.items():
            said = int(guest.sh(f"dmesg | grep -c '{SAID}' || true"))
            self.clear_of(name, said - self.seen[name])
            self.seen[name] = said
        return self.cleared - before

    def clear_of(self, guest, count):
        deadline = time.monotonic() + LIMIT_S
        while count > 0 and time.monotonic() < deadline:
            time.sleep(1)
            for row in self.unclaimed(guest)[:count]:
                self.server.ask("locks", "clear", "--id", row["id"])
                self.cleared += 1
                count -= 1

    def unclaimed(self, guest):
        """What the server has for a guest, has had for long, and nobody there claims."""
        with self.referee.paused() as claims:
            rows = self.server.ask("locks", "--client", guest)
        claimed = {
            (claim.file, claim.cell)
            for claim in claims
            if claim.locker.partition(".")[0] == guest
        }
        return [row for row in rows if self.is_old(row) and not self.cells(row) & claimed]

    def is_old(self, row):
        return row["kind"] == "lock" and row["age_ms"] >= UNCLAIMED_S * 1000

    def cells(self, row):
        file, first = int(row["path"].rpartition("/")[2]), row["offset"] // self.cell_bytes
        count = row["length"] // self.cell_bytes or self.referee.cells
        return {(file, cell) for cell in range(first, min(first + count, self.referee.cells))}
