"""What the guests show, one scenario a module, in the order they run."""

from . import (
    admin,
    beside_statd,
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
    recovery,
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
    "recovery": recovery,
    "admin": admin,
    "beside-statd": beside_statd,
    "vanished": vanished,
    "torture": torture,
    "portmap": portmap,
    "unprivileged": unprivileged,
}

# What other servers do not claim to do.
CLEAT_ONLY = {
    "admin",
    "beside-statd",
    "portmap",
    "quickstart",
    "recovery",
    "torture",
    "two-addresses",
    "unprivileged",
}
