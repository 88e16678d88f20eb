"""Guests whose kernel has deadlocked itself, by the stacks of its tasks: booted anew.

Linux (seen in 6.1) keeps lockd's h_rwsem, for reading, while a process that was given a lock by the
server waits for another of its guest, which holds those bytes still as far as the kernel knows: the
server has let that one downgrade, and the answer is under way. If the server restarts just then,
the reclaimer waits to write behind the first, the downgrade waits to read behind the reclaimer, and
the first waits for the downgrade. Nothing of that guest is locked, unlocked or reclaimed ever again.
"""

STACKS = "for task in /proc/[0-9]*; do echo; cat $task/stack; done 2>/dev/null"
RECLAIMER = ("rwsem_down_write_slowpath", "reclaimer")
READER = ("locks_lock_inode_wait", "nlmclnt_proc")


class Hung:
    def __init__(self, lab, referee):
        self.lab = lab
        self.referee = referee
        self.booted = 0

    def boot(self):
        """Boots the guests anew that hang, and mounts there again; which they are."""
        hung = [guest for guest in self.lab.guests if is_hung(guest)]
        for guest in hung:
            guest.kill()
            self.referee.forget(guest.name)
            guest.start()
        for guest in hung:
            guest.wait_ready()
            self.lab.mount(guest, "data")
        if hung:
            self.booted += len(hung)
            self.referee.disturbed()
        return hung


def is_hung(guest):
    stacks = guest.sh(STACKS).split("\n\n")
    return all(
        any(all(name in stack for name in names) for stack in stacks)
        for names in (RECLAIMER, READER)
    )
