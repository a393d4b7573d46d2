"""A browser's cookie jar, as strict as browsers are: prefixes, ``Secure`` with loopback excepted, ``Path``, ``SameSite``.

RFC 6265bis. Cookies belong to a host, not to a port, and so do sites: ``localhost`` and ``127.0.0.1`` are two sites.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie as the browser keeps it; ``expires_at`` is ``None`` for a session cookie."""

    host: str
    path: str
    name: str
    value: str
    secure: bool
    http_only: bool
    same_site: str
    expires_at: float | None


class Jar:
    """All cookies of one browser. ``now`` is its clock: pass the test's, so that ``Max-Age`` runs with it."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: dict[tuple[str, str, str], Cookie] = {}
        self.rejected: list[str] = []

    def __iter__(self) -> Iterable[Cookie]:
        return iter(self.live())

    def live(self) -> list[Cookie]:
        """The cookies that have not expired."""
        now = self._now()
        return [cookie for cookie in self._kept.values() if cookie.expires_at is None or cookie.expires_at > now]

    def get(self, name: str, host: str | None = None) -> str | None:
        """The value of the first live cookie with this name."""
        return next((c.value for c in self.live() if c.name == name and host in {None, c.host}), None)

    def put(self, url: str, name: str, value: str, *, path: str = "/", same_site: str = "lax") -> None:
        """Plant a cookie without asking any server."""
        host = urlsplit(url).hostname or ""
        self._kept[host, path, name] = Cookie(host, path, name, value, False, False, same_site, None)

    def drop(self, *names: str) -> None:
        """Forget the cookies with these names, or all."""
        self._kept = {key: cookie for key, cookie in self._kept.items() if names and cookie.name not in names}

    def store(self, url: str, set_cookies: Iterable[str]) -> None:
        """Take in the ``Set-Cookie`` lines of a response; what a browser would ignore goes to ``rejected``."""
        for line in set_cookies:
            if not self._store(url, line):
                self.rejected.append(line)

    def _store(self, url: str, line: str) -> bool:
        place = urlsplit(url)
        host = place.hostname or ""
        pair, *attributes = line.split(";")
        name, equals, value = pair.strip(" \t").partition("=")
        if not equals or not name:
            return False
        given = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in attributes)}
        secure = "secure" in given
        if secure and place.scheme != "https" and host not in _LOOPBACK:
            return False
        if given.get("domain", host).lstrip(".").lower() != host:
            return False
        path = given.get("path", "")
        if not path.startswith("/"):
            path = (place.path or "/").rpartition("/")[0] or "/"
        if name.startswith("__Host-") and not (secure and given.get("path") == "/" and "domain" not in given):
            return False
        if name.startswith("__Secure-") and not secure:
            return False
        same_site = given.get("samesite", "lax").lower()
        if same_site == "none" and not secure:
            return False
        expires_at = None
        if "max-age" in given:
            expires_at = self._now() + int(given["max-age"])
        elif "expires" in given:
            expires_at = parsedate_to_datetime(given["expires"]).timestamp()
        self._kept.pop((host, path, name), None)
        if expires_at is None or expires_at > self._now():
            self._kept[host, path, name] = Cookie(
                host, path, name, value, secure, "httponly" in given, same_site, expires_at
            )
        return True

    def header(self, url: str, *, method: str = "GET", initiator: str | None = None, navigation: bool = True) -> str:
        """The ``Cookie`` header for a request; ``initiator`` is the URL of the page that caused it, if any."""
        place = urlsplit(url)
        host = place.hostname or ""
        cross_site = initiator is not None and site_of(initiator) != site_of(url)
        lax_fits = navigation and method in {"GET", "HEAD"}
        sent = [
            cookie
            for cookie in self.live()
            if cookie.host == host
            and _path_matches(place.path or "/", cookie.path)
            and (not cookie.secure or place.scheme == "https" or host in _LOOPBACK)
            and (not cross_site or cookie.same_site == "none" or (cookie.same_site == "lax" and lax_fits))
        ]
        # RFC 6265bis §5.8.3: longer paths first, then the older ones.
        return "; ".join(f"{c.name}={c.value}" for c in sorted(sent, key=lambda c: -len(c.path)))


def site_of(url: str) -> tuple[str, str]:
    """Scheme and host: what ``SameSite`` compares (no test host has a registrable parent)."""
    place = urlsplit(url)
    return place.scheme, place.hostname or ""


def _path_matches(path: str, of_cookie: str) -> bool:
    return path == of_cookie or (
        path.startswith(of_cookie) and (of_cookie.endswith("/") or path[len(of_cookie)] == "/")
    )
