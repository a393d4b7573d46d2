"""Where a SQLite database lies, for those who must not make a new one by looking for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from jit_middleware_sqlalchemy.engine import parse_url


def database_file(url: str) -> Path | None:
    """The absolute path of the file that this URL names from the working directory; ``None`` for a database on a server
    or in memory.

    Raises ``ConfigurationError`` for what is no database URL, or names a driver that is not installed.
    """
    parsed = parse_url(url)
    name = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or parsed.query.get("mode") == "memory":
        return None
    if name.startswith("file:") and "uri" in parsed.query:  # SQLite's own form, sqlite:///file:jit.db?uri=true
        name = unquote(urlsplit(name).path)
    return None if name in {"", ":memory:"} else Path(name).absolute()
