"""What the guests show, one scenario a module, in the order they run."""

from . import client_crash, files, locks, ownership, portmap, server_crash

SCENARIOS = {
    "files": files,
    "ownership": ownership,
    "locks": locks,
    "server-crash": server_crash,
    "client-crash": client_crash,
    "portmap": portmap,
}
