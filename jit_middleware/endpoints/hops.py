"""The loop breaker: a login that succeeds again and again within seconds is not succeeding.

The session cookie did not come back (blocked, ``Secure`` on plain http, a clock far off). A small cookie counts the
completed logins of the last half minute; at three the browser gets a page that names the causes, not another redirect.
"""

from __future__ import annotations

from jit_middleware.http.cookies import CookieSpec, values

_LIMIT = 3
_WINDOW = 30


class Hops:
    """Counts completed logins in a short-lived cookie."""

    def __init__(self, *, secure: bool) -> None:
        name = "__Host-jit-hops" if secure else "jit-hops"
        self._spec = CookieSpec(name=name, secure=secure, max_age=_WINDOW)

    def count(self, cookie: str) -> int:
        """How many logins this browser has just completed; the highest that any of its cookies claims."""
        claims = values(cookie, self._spec.name)
        return max(
            (int(value) for value in claims if value.isascii() and value.isdigit() and len(value) == 1), default=0
        )

    def exhausted(self, cookie: str) -> bool:
        return self.count(cookie) >= _LIMIT

    def next(self, cookie: str, *, at_least: int = 0) -> tuple[str, str]:
        """One more; ``at_least`` is what was known before a cross-site answer, which does not bring the cookie."""
        return self._spec.set(str(min(9, max(self.count(cookie), at_least) + 1)))

    def clear(self) -> tuple[str, str]:
        return self._spec.clear()
