"""What the guests show, one scenario a module, in the order they run."""

from . import (
    client_crash,
    data_crash,
    files,
    libnfs,
    locks,
    ownership,
    portmap,
    quickstart,
    server_crash,
    suites,
    unprivileged,
    wire,
)

SCENARIOS = {
    "quickstart": quickstart,
    "files": files,
    "data-crash": data_crash,
    "ownership": ownership,
    "locks": locks,
    "server-crash": server_crash,
    "client-crash": client_crash,
    "portmap": portmap,
    "libnfs": libnfs,
    "suites": suites,
    "wire": wire,
    "unprivileged": unprivileged,
}

# What other servers do not claim to do; they leave NSM, for one, to a statd beside them.
CLEAT_ONLY = {"quickstart", "portmap", "libnfs", "wire", "unprivileged"}
