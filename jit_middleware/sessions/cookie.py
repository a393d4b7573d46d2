"""The session cookie: an unguessable id and its end, signed; about 100 bytes.

Everything else about the session is in the ledger. The signature keeps made-up ids away from the database.
"""

from __future__ import annotations

from jit_middleware.http.cookies import CookieSpec
from jit_middleware.keyring import Signature

_VERSION = "1"


class SessionCookie:
    """Issues and reads the one cookie that stands for a session."""

    def __init__(self, signature: Signature, *, secure: bool) -> None:
        self._signature = signature
        # RFC 6265bis §4.1.3.2: __Host- keeps siblings and plain http from planting one. It needs Secure, so a
        # loopback http origin has to do without.
        self.spec = CookieSpec(name="__Host-jit" if secure else "jit", secure=secure)

    @property
    def name(self) -> str:
        return self.spec.name

    def issue(self, session_id: str, expires_at: int, now: int) -> tuple[str, str]:
        """The Set-Cookie header; the browser forgets it when the session must end anyway."""
        value = self._signature.sign(f"{_VERSION}:{session_id}:{expires_at:x}")
        return self.spec.set(value, max_age=max(0, expires_at - now))

    def clear(self) -> tuple[str, str]:
        return self.spec.clear()

    def read(self, value: str, now: int) -> str | None:
        """The session id, or ``None`` for anything that we did not sign or that is over."""
        if len(value) > 512:
            return None
        text = self._signature.unsign(value)
        if text is None:
            return None
        version, session_id, expires_at = text.split(":")
        if version != _VERSION or int(expires_at, 16) <= now:
            return None
        return session_id
