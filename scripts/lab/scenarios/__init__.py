"""What the guests show, one scenario a module, in the order they run."""

from . import (
    client_crash,
    data_crash,
    deadlock,
    files,
    granted_lost,
    locks,
    ownership,
    portmap,
    queue,
    quickstart,
    server_crash,
    torture,
    two_addresses,
    unprivileged,
    vanished,
)

SCENARIOS = {
    "quickstart": quickstart,
    "files": files,
    "data-crash": data_crash,
    "ownership": ownership,
    "locks": locks,
    "queue": queue,
    "deadlock": deadlock,
    "granted-lost": granted_lost,
    "two-addresses": two_addresses,
    "server-crash": server_crash,
    "client-crash": client_crash,
    "vanished": vanished,
    "torture": torture,
    "portmap": portmap,
    "unprivileged": unprivileged,
}

# What other servers do not claim to do.
CLEAT_ONLY = {"quickstart", "portmap", "torture", "two-addresses", "unprivileged"}
