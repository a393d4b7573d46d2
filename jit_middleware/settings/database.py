"""What an operator does about a database that does not serve, in words of ``JIT_DATABASE_URL``; never its password."""

from __future__ import annotations

import os
from typing import Final

from jit_middleware.errors import AdapterError, Fault
from jit_middleware.settings.settings import Settings
from jit_middleware.settings.table import DATABASE_URL, variable

#: By reason: what is wrong with the server, and what to do about it.
_SERVER: Final = {
    "unreachable": ("does not answer", "start the server, or correct host and port."),
    "connection_lost": ("has hung up", "look into the server's own log, and at what lies between."),
    "no_answer": ("is connected and says nothing", "look at the server's load and locks, and at the network between."),
    "login_refused": ("lets nobody in with these names", "correct user and password, or let the user in from here."),
    "database_missing": ("has no database of that name", "create it, or correct the name."),
    "read_only": ("cannot be written", "name the primary, and let the user create and write tables."),
    "too_many_connections": ("takes no more connections", "run fewer workers, or let the server take more."),
    "disk_full": ("has no room", "give it room."),
}
#: The same for the file of SQLite; ``{folder}`` is its directory.
_FILE: Final = {
    "cannot_open": (
        "cannot be opened",
        "let the user of this process read and write it, and write in its directory {folder}.",
    ),
    "read_only": ("cannot be written", "let the user of this process write it, and in its directory {folder}."),
    "corrupt": ("is no database of SQLite, or a damaged one", "name another file, or restore it from a backup."),
    "disk_full": ("has no room", "give the disk room."),
}


def database_fault(settings: Settings, error: AdapterError) -> Fault:
    """What is wrong with the database, and the fix, as far as the reason tells."""
    path = _file(settings.database_url)
    if path is None:
        what, fix = _SERVER.get(error.reason, ("does not serve", "look its reason up in docs/errors.md."))
        place = settings.database_label
    else:
        folder = os.path.dirname(path)
        what, fix = _FILE.get(error.reason, ("does not serve", "look its reason up in docs/errors.md."))
        if error.reason == "cannot_open" and not os.path.isdir(folder):
            what, fix = "cannot be opened: there is no directory {folder}", "create it, or correct the path."
        what, fix, place = what.replace("{folder}", folder), fix.replace("{folder}", folder), path
    return Fault(variable(DATABASE_URL), f"{place} {what} ({error}).", fix)


def _file(url: str) -> str | None:
    """The absolute path of SQLite's file; ``None`` for a server."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = rest.partition("?")[0].removeprefix("/")
    return path if path.startswith("file:") else os.path.abspath(path)
