"""What a client may not say about itself: identity headers are taken out before the app sees the request.

A gateway turns ``X-Remote-User`` and ``X_Remote_User`` into one variable, so a name counts in every spelling: any case,
``-`` or ``_`` at each place, and as often as it occurs. This happens on every path, public ones too.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Final

DEFAULT_IDENTITY_HEADERS: Final[tuple[str, ...]] = (
    "remote-user",
    "remote-name",
    "remote-email",
    "remote-groups",
    "remote-group",
    "remote-roles",
    "x-remote-user",
    "x-remote-name",
    "x-remote-user-name",
    "x-remote-display-name",
    "x-remote-email",
    "x-remote-user-email",
    "x-remote-group",
    "x-remote-groups",
    "x-remote-role",
    "x-remote-roles",
    "x-remote-tenant",
    "x-remote-user-id",
    "x-forwarded-user",
    "x-forwarded-name",
    "x-forwarded-email",
    "x-forwarded-group",
    "x-forwarded-groups",
    "x-forwarded-roles",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-roles",
    "x-auth-request-preferred-username",
    "x-auth-request-access-token",
    "x-auth-user",
    "x-auth-email",
    "x-authenticated-user",
    "x-webauth-user",
    "x-webauth-name",
    "x-webauth-email",
    "x-webauth-groups",
    "x-webauth-role",
    "x-authentik-username",
    "x-authentik-name",
    "x-authentik-email",
    "x-authentik-uid",
    "x-authentik-groups",
    "x-authentik-entitlements",
    "x-forwarded-username",
    "x-remote-username",
    "remote-username",
    "cf-access-authenticated-user-email",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-ms-client-principal-idp",
    "x-pomerium-claim-email",
    "x-pomerium-claim-sub",
    "x-vouch-user",
    "x-vouch-idp-claims-email",
    "tailscale-user-login",
    "tailscale-user-name",
    "oidc-claim-sub",
    "oidc-claim-email",
    "oidc-claim-preferred-username",
    "oidc-claim-groups",
    "x-script-name",
    "x-scheme",
)
"""Names under which applications and their proxies pass on who somebody is, or where the app is mounted."""

OWNED_ENVIRON_KEYS: Final[frozenset[str]] = frozenset(
    {"REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT", "jit.user", "jit.session", "jit.roles", "jit.is_live"}
)
"""WSGI keys that only this middleware sets; what a server or an outer layer put there is not an identity."""

_NAME_OF: Final = operator.itemgetter(0)
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_SEPARATORS: Final = 8
_ORDINARY: Final[frozenset[bytes]] = frozenset(
    b"accept accept-charset accept-encoding accept-language authorization cache-control connection content-length "
    b"content-type cookie date dnt expect forwarded host if-match if-modified-since if-none-match if-range "
    b"if-unmodified-since keep-alive origin pragma priority range referer sec-ch-ua sec-ch-ua-mobile "
    b"sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc sec-websocket-extensions "
    b"sec-websocket-key sec-websocket-protocol sec-websocket-version te traceparent tracestate transfer-encoding "
    b"upgrade upgrade-insecure-requests user-agent via x-csrf-token x-csrftoken x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-requested-with".split()
)
"""Lower-case names of everyday headers: they need no second look, whatever they hold."""


class Scrubber:
    """Takes the named headers out of a request, in every spelling.

    ``environ_keys`` are the WSGI keys it removes; ``raw_names`` the lower-case ASGI names with each choice of ``-`` and
    ``_``. Raises ``ValueError`` for a name that is no header name, or has more than eight separators.

    >>> Scrubber(["X-Remote-User"]).clean_headers([(b"X_Remote-USER", b"admin"), (b"host", b"app.example.com")])
    [(b'host', b'app.example.com')]
    """

    __slots__ = ("_doomed_keys", "_ordinary", "environ_keys", "is_clean", "raw_names")

    def __init__(self, names: Iterable[str] = DEFAULT_IDENTITY_HEADERS) -> None:
        raw_names: set[bytes] = set()
        environ_keys: set[str] = set()
        for name in names:
            words = _words(name)
            environ_keys.add("HTTP_" + "_".join(words).upper())
            raw_names.update(_spellings(words))
        self.environ_keys: frozenset[str] = frozenset(environ_keys)
        self.raw_names: frozenset[bytes] = frozenset(raw_names)
        self._doomed_keys = self.environ_keys | OWNED_ENVIRON_KEYS
        self._ordinary = _ORDINARY - self.raw_names
        #: Whether an environ holds nothing to remove.
        self.is_clean = self._doomed_keys.isdisjoint

    def are_clean(self, names: Iterable[bytes]) -> bool:
        """Whether :meth:`clean_headers` removes no header that has one of these names."""
        return not any(self._is_doomed(name) for name in names)

    def _is_doomed(self, name: bytes) -> bool:
        # A name padded with blanks counts as the name: some gateway may trim it.
        return name not in self._ordinary and name.strip().lower() in self.raw_names

    def clean_environ(self, environ: dict[str, object]) -> None:
        """Remove the headers and the ``OWNED_ENVIRON_KEYS`` from ``environ``, in place: pass a copy."""
        if self.is_clean(environ):
            return
        for key in self._doomed_keys:
            environ.pop(key, None)

    def clean_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """A new list without the named headers; the others keep their order, spelling and number."""
        if self._ordinary.issuperset(map(_NAME_OF, headers)):
            return list(headers)
        return [pair for pair in headers if not self._is_doomed(pair[0])]


def _words(name: str) -> Sequence[str]:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    words = name.lower().replace("_", "-").split("-")
    if len(words) > _MAX_SEPARATORS + 1:
        raise ValueError(f"the header name {name!r} has more than {_MAX_SEPARATORS} separators")
    return words


def _spellings(words: Sequence[str]) -> Iterable[bytes]:
    for separators in itertools.product("-_", repeat=len(words) - 1):
        pieces = [word + separator for word, separator in zip(words, (*separators, ""), strict=True)]
        yield "".join(pieces).encode("ascii")
