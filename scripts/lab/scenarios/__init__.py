"""What the guests show, one scenario a module, in the order they run."""

from . import (
    client_crash,
    data_crash,
    files,
    locks,
    ownership,
    portmap,
    quickstart,
    recovery,
    server_crash,
    unprivileged,
)

SCENARIOS = {
    "quickstart": quickstart,
    "files": files,
    "data-crash": data_crash,
    "ownership": ownership,
    "locks": locks,
    "server-crash": server_crash,
    "client-crash": client_crash,
    "recovery": recovery,
    "portmap": portmap,
    "unprivileged": unprivileged,
}

# What other servers do not claim to do.
CLEAT_ONLY = {"quickstart", "portmap", "recovery", "unprivileged"}
