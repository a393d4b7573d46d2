"""Whom a connection believes when it is told, by a push, that somebody's access ends; and the readers of its values."""

from __future__ import annotations

from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

from jit_middleware.records import dataclass
from jit_middleware.settings.url import is_loopback, split_url
from jit_middleware.settings.values import BadValue, secret_text, text

_EXAMPLE: Final = "https://login.example.org/oauth2/v1/keys"
_LONGEST_AUDIENCE: Final = 1024


@dataclass(frozen=True, slots=True)
class SignalsSettings:
    """The transmitter of a connection's security events (SSF 1.0) and global token revocations.

    ``issuer`` ``None``: there is none, and no events are taken. ``audience`` ``None`` stands for the URL of our own
    endpoint. ``jwks_uri`` ``None``: the keys of the OpenID provider itself. ``token`` is what the transmitter has to
    show besides its signature, if anything. ``ends_on_credential_change``: a changed password or factor ends sessions.
    """

    issuer: str | None = None
    audience: str | None = None
    jwks_uri: str | None = None
    token: str | None = field(default=None, repr=False)
    ends_on_credential_change: bool = True


def key_set_url(value: object) -> str:
    """Where a key set is served."""
    url = text(value)
    split_url(url, example=_EXAMPLE)
    return url


def audience(value: object) -> str:
    """What ``aud`` has to name, compared exactly."""
    found = text(value)
    if len(found) > _LONGEST_AUDIENCE or not found.isascii() or " " in found:
        raise BadValue("it cannot be an audience.", "write exactly what the transmitter puts into aud.")
    return found


def bearer_token(value: object) -> str:
    """What stands behind ``Bearer`` in an Authorization header (RFC 6750 §2.1)."""
    found = secret_text(value).strip()
    if len(found) < 16 or not all("!" <= character <= "~" for character in found):
        raise BadValue(
            "it is shorter than 16 characters, or holds some that no header carries.",
            "use 32 random letters and digits.",
        )
    return found


def keys_in_the_clear(signals: SignalsSettings) -> bool:
    """Whether the transmitter's keys would come over a network without TLS."""
    if signals.jwks_uri is None:
        return False
    parts = urlsplit(signals.jwks_uri)
    return parts.scheme != "https" and not is_loopback((parts.hostname or "").lower())
