"""A browser on its way to link an account: one sealed cookie, for ten minutes.

It is what a page of ours and its form have in common. The page shows the ``nonce`` and the cookie holds it, so a form
that another site makes up comes without the one or the other. Nobody can read the cookie: it names the account.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from hmac import compare_digest
from typing import Final, Literal, cast

from jit_middleware.http.cookies import CookieSpec, values
from jit_middleware.keyring import Envelope
from jit_middleware.ports import Clock, TokenSource
from jit_middleware.records import dataclass

LIFETIME: Final = 600


@dataclass(frozen=True, slots=True)
class LinkTicket:
    """Which account (``user_id``) is to be linked at which connection, and where the browser lands afterwards.

    ``confirm``: the person was known by the identity ``identity`` (its key) and is to prove the account by a password.
    ``invitation``: whoever holds the invitation with the id ``invitation`` may link it.
    """

    kind: Literal["confirm", "invitation"]
    connection: str
    user_id: str
    target: str
    nonce: str
    identity: str | None = None
    invitation: str | None = None


class LinkTickets:
    """Makes and finds the ticket of a browser."""

    def __init__(self, envelope: Envelope, *, name: str, secure: bool, clock: Clock, tokens: TokenSource) -> None:
        self._envelope = envelope
        self._clock = clock
        self._tokens = tokens
        # Lax, not Strict: the way from the provider to our page is a chain of redirects that another site began.
        self._spec = CookieSpec(name=name, secure=secure, max_age=LIFETIME)

    def confirm(self, *, connection: str, user_id: str, target: str, identity: str) -> LinkTicket:
        """A fresh ticket for an account that is to be confirmed."""
        return LinkTicket("confirm", connection, user_id, target, self._tokens(24), identity=identity)

    def invited(self, *, connection: str, user_id: str, target: str, invitation: str) -> LinkTicket:
        """A fresh ticket for an invitation."""
        return LinkTicket("invitation", connection, user_id, target, self._tokens(24), invitation=invitation)

    def keep(self, ticket: LinkTicket) -> tuple[str, str]:
        """The Set-Cookie header that gives the ticket to the browser."""
        return self._spec.set(self._envelope.seal(json.dumps(asdict(ticket)), self._clock.now()))

    def find(self, cookie: str) -> LinkTicket | None:
        """The ticket of this browser, while it lasts."""
        for sealed in values(cookie, self._spec.name):
            text = self._envelope.open(sealed, now=self._clock.now(), max_age=LIFETIME)
            if text is not None:
                return _read(text)
        return None

    def forget(self) -> tuple[str, str]:
        """The Set-Cookie header that takes it away."""
        return self._spec.clear()


def shows(ticket: LinkTicket, nonce: str | None) -> bool:
    """Whether the form comes from the page that belongs to the ticket."""
    return nonce is not None and compare_digest(ticket.nonce.encode(), nonce.encode("utf-8", "replace"))


def _read(text: str) -> LinkTicket | None:
    """What was sealed; ``None`` when another version of this software sealed it."""
    try:
        return cast("Callable[..., LinkTicket]", LinkTicket)(**cast("dict[str, object]", json.loads(text)))
    except TypeError:
        return None
