"""The contract of a way to sign in, small enough to hold in mind: begin, finish, log out.

A strategy speaks one protocol to one identity provider (one connection). It holds no state of a login in flight: what
must survive the round trip through the browser is in the :class:`LoginState`, which the middleware seals into a cookie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from jit_middleware.model import SessionRecord, VerifiedIdentity


@dataclass(frozen=True, slots=True)
class LoginState:
    """One login in flight, bound to one browser and one connection, for ten minutes and one use.

    ``state`` travels to the provider and back; ``nonce`` (OIDC Core §3.1.2.1) and ``code_verifier`` (RFC 7636 §4.1) are
    fresh secrets of this login; ``target`` is the checked path to land on; ``restarts`` counts healed stale callbacks;
    ``someone_else`` asks the provider to let another person sign in than the one it knows.
    """

    connection: str
    state: str
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    target: str
    created_at: int
    restarts: int = 0
    someone_else: bool = False


class Strategy(Protocol):
    """One connection's way to sign in."""

    @property
    def name(self) -> str:
        """The connection's name, as in ``callback/<name>``."""
        ...

    @property
    def label(self) -> str:
        """What the login chooser shows."""
        ...

    @property
    def tenant(self) -> str: ...

    @property
    def answer(self) -> Literal["query", "form_post"]:
        """How the provider's answer comes back: a GET with a query, or a cross-site POST."""
        ...

    async def request_phase(self, login: LoginState) -> str:
        """The URL to send the browser to. Raises ``ProviderUnavailable``, or ``VerificationError`` for bad metadata."""
        ...

    async def callback_phase(self, answer: Mapping[str, str], login: LoginState) -> VerifiedIdentity:
        """Who signed in, after every check. ``answer`` holds each parameter exactly once.

        Raises ``ProviderRefused``, ``VerificationError`` or ``ProviderUnavailable``.
        """
        ...

    async def logout_phase(self, session: SessionRecord, *, return_url: str, state: str) -> str | None:
        """Where to send the browser so that the provider's session ends too; ``None`` when it offers no such thing.

        The provider sends the browser back to ``return_url`` with that ``state``.
        """
        ...
