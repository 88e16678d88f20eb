"""the server dies at random moments under lockers of both guests, and a referee looks on"""

import re

from harness.report import CheckFailed, expect
from harness.torture import Plan, Torture

KILLS = 10
SEED = 4
# A server that forgets is found out at the first kill that meets a holder.
KILLS_OF_A_FORGETFUL = 20
# Two claims of one cell, or one that is not on record.
LOST = re.compile(r"^\S+ cell \d+ of file \d+ is .* and |the server has no record of")


def run(lab):
    with (
        lab.serving(data="rw,no_root_squash") as server,
        lab.check(f"{KILLS} deaths of the server lose no lock, grant none twice, forget no waiter"),
    ):
        torture = Torture(lab, server, Plan(KILLS, SEED))
        expect("findings", "\n".join(torture.run()), "")
        if torture.referee.told["hold"] < KILLS:
            raise CheckFailed(f"the lockers got too few locks: {torture.referee.told}")
    # Another directory, and a state of its own.
    lab.scenario += "-forgetful"
    with lab.serving(data="rw,no_root_squash") as server:
        with lab.check("the referee notices a server that forgets its locks"):
            findings = Torture(lab, server, Plan(KILLS_OF_A_FORGETFUL, SEED, forget=True)).run()
            if not any(LOST.search(finding) for finding in findings):
                raise CheckFailed(f"expected a lost lock, got {findings}")
        # Their processes hold what the server knows nothing of.
        for guest in lab.guests:
            guest.kill()
    lab.boot()
