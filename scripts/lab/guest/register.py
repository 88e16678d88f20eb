"""Joins a Berkeley DB environment by its register, as DB_REGISTER does, until its stdin tells it.

    register.py join|recover DIRECTORY

Its first line is its process id and whether it joined, or found that recovery is needed.
"""

import os
import sys

from bsddb3 import db

FLAGS = db.DB_CREATE | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_MPOOL | db.DB_REGISTER
MODES = {"join": 0, "recover": db.DB_RECOVER}


def main(mode, directory):
    environment = db.DBEnv()
    try:
        environment.open(directory, FLAGS | MODES[mode])
    except db.DBRunRecoveryError:
        print(os.getpid(), "needs-recovery", flush=True)
        return
    print(os.getpid(), "joined", flush=True)
    sys.stdin.readline()
    environment.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
