"""The contract of a way to sign in, small enough to hold in mind: begin, finish, log out.

A strategy speaks one protocol to one identity provider (one connection). It holds no state of a login in flight: what
must survive the round trip through the browser is in the :class:`LoginState`, which the middleware seals into a cookie.
:class:`Federated` is what SAML asks for beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, Protocol, TypeAlias

from jit_middleware.model import LinkProof, OnceKey, SessionRecord, StepUp, VerifiedIdentity
from jit_middleware.records import dataclass, record


@record(frozen=True, slots=True)
class LoginState:
    """One login in flight, bound to one browser and one connection, for ten minutes and one use.

    ``state`` travels to the provider and back; ``nonce`` (OIDC Core §3.1.2.1) and ``code_verifier`` (RFC 7636 §4.1) are
    fresh secrets of this login; ``target`` is the checked path to land on;
    ``someone_else`` asks the provider to let another person sign in than the one it knows; ``hops`` is how many logins
    the browser had just completed and ``replaces`` the sessions it had, which a cross-site answer does not bring along.
    ``proof`` shows that the person in front of this browser holds a certain account. ``step_up`` is what the login is
    to show, in place of what the connection asks for otherwise; the strategy asks for it, the caller judges the answer.
    """

    connection: str
    state: str
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    target: str
    created_at: int
    someone_else: bool = False
    hops: int = 0
    replaces: tuple[str, ...] = ()
    proof: LinkProof | None = None
    step_up: StepUp | None = None


@dataclass(frozen=True, slots=True)
class PostForm:
    """A message that the browser posts to ``url``: what a redirect cannot carry."""

    url: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)


#: Where the browser goes next: a URL, or a form it posts.
Onward: TypeAlias = str | PostForm


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

    @property
    def state_parameter(self) -> Literal["state", "RelayState"]:
        """The parameter that brings ``LoginState.state`` back."""
        ...

    async def request_phase(self, login: LoginState) -> Onward:
        """Where to send the browser. Raises ``ProviderUnavailable``, or ``VerificationError`` for bad metadata."""
        ...

    async def callback_phase(self, answer: Mapping[str, str], login: LoginState) -> VerifiedIdentity:
        """Who signed in, after every check. ``answer`` holds each parameter exactly once.

        Raises ``ProviderRefused``, ``VerificationError`` or ``ProviderUnavailable``.
        """
        ...

    async def logout_phase(self, session: SessionRecord, *, return_url: str, state: str) -> Onward | None:
        """Where to send the browser so that the provider's session ends too; ``None`` when it offers no such thing.

        The provider sends the browser back to ``return_url`` with that ``state``, or to an endpoint of ours that does.
        Raises ``ProviderUnavailable``, and ``VerificationError`` where its metadata cannot be trusted.
        """
        ...


# --- what SAML asks for beyond that -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Document:
    """Something to be served as it is."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class LogoutMessage:
    """A message at the logout endpoint as it came: the raw query of a GET, or the fields of a form."""

    query: str | None = None
    form: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class LogoutRequested:
    """The provider ends a person's sessions (SAML Core §3.7.1), verified.

    ``idp_sessions`` are the sessions it names, and those of this person that it has given no name; empty means all of
    this person, whose values of ``idp_session`` then begin with ``idp_session_prefix``.
    """

    message_id: str
    idp_sessions: tuple[str, ...]
    idp_session_prefix: str
    relay_state: str | None
    once: OnceKey


@dataclass(frozen=True, slots=True)
class LogoutAnswered:
    """The provider's answer to a logout of ours, verified; ``state`` is the one it answers to, where that is known.

    ``complete`` is false when the provider could not end everything.
    """

    state: str | None
    complete: bool


class Federated(Protocol):
    """What a SAML connection can be asked besides :class:`Strategy`."""

    @property
    def allows_unsolicited(self) -> bool:
        """Whether a login may begin at the provider."""
        ...

    @property
    def logs_out(self) -> bool:
        """Whether logout messages can be signed, and so exchanged at all."""
        ...

    async def unsolicited_phase(self, answer: Mapping[str, str]) -> VerifiedIdentity:
        """Who signed in at the provider without being asked; raises as ``callback_phase`` does."""
        ...

    async def metadata(self) -> Document:
        """Our own metadata, for the provider."""
        ...

    async def logout_message(self, message: LogoutMessage) -> LogoutRequested | LogoutAnswered:
        """What the provider says about a logout. Raises ``VerificationError`` or ``ProviderUnavailable``."""
        ...

    async def logout_answer(self, request: LogoutRequested) -> Onward | None:
        """Where to send the browser with our answer to that request; ``None`` when the provider takes no answers."""
        ...
