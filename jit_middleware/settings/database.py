"""What an operator does about a database that does not serve, in words of ``JIT_DATABASE_URL``; never its password."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

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
    file = database_file(settings.database_url)
    if file is None:
        what, fix = _SERVER.get(error.reason, ("does not serve", "look its reason up in docs/errors.md."))
        place = settings.database_label
    else:
        folder = str(file.parent)
        what, fix = _FILE.get(error.reason, ("does not serve", "look its reason up in docs/errors.md."))
        if error.reason == "cannot_open" and not file.parent.is_dir():
            what, fix = "cannot be opened: there is no directory {folder}", "create it, or correct the path."
        what, fix, place = what.replace("{folder}", folder), fix.replace("{folder}", folder), str(file)
    return Fault(variable(DATABASE_URL), f"{place} {what} ({error}).", fix)


def database_file(url: str) -> Path | None:
    """The absolute path of the SQLite file that this URL names from the working directory; ``None`` for a database on a
    server or in memory."""
    scheme, _, rest = url.partition("://")
    name, _, query = rest.partition("?")
    name, options = unquote(name.removeprefix("/")), parse_qs(query)
    if scheme.partition("+")[0] != "sqlite" or options.get("mode") == ["memory"]:
        return None
    if name.startswith("file:") and "uri" in options:  # SQLite's own form, sqlite:///file:jit.db?uri=true
        name = unquote(urlsplit(name).path)
    return None if name in {"", ":memory:"} else Path(name).absolute()
