"""What a provider may push at us to end access, once it is verified; the contract between this room and the endpoints.

A receiver speaks for one connection. Whatever it answers with was signed by that connection's provider, or by the
transmitter that its settings name, for us, just now; the endpoint has only to act on it, once.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final, Protocol, TypeAlias

from jit_middleware.model import OnceKey
from jit_middleware.records import dataclass

#: The types of events, as RFC 8417 has them: URLs that nobody fetches.
BACKCHANNEL_LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"
VERIFICATION: Final = "https://schemas.openid.net/secevent/ssf/event-type/verification"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SESSION_REVOKED: Final = f"{_CAEP}session-revoked"
#: The older word for it, which RISC 1.0 keeps for transmitters that were there before CAEP.
RISC_SESSIONS_REVOKED: Final = f"{_RISC}sessions-revoked"
CREDENTIAL_CHANGE: Final = f"{_CAEP}credential-change"
ACCOUNT_DISABLED: Final = f"{_RISC}account-disabled"
ACCOUNT_PURGED: Final = f"{_RISC}account-purged"
IDENTIFIER_CHANGED: Final = f"{_RISC}identifier-changed"
IDENTIFIER_RECYCLED: Final = f"{_RISC}identifier-recycled"
#: The events that we act on, all of them about a person.
ABOUT_SOMEBODY: Final = frozenset(
    {
        SESSION_REVOKED,
        RISC_SESSIONS_REVOKED,
        CREDENTIAL_CHANGE,
        ACCOUNT_DISABLED,
        ACCOUNT_PURGED,
        IDENTIFIER_CHANGED,
        IDENTIFIER_RECYCLED,
    }
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message: ``once`` is taken with what it causes, ``digest`` names it in the audit trail."""

    digest: str
    once: OnceKey


@dataclass(frozen=True, slots=True)
class IdentitySubject:
    """A person by their identity at a provider. ``issuer`` ``None``: at the provider of this connection."""

    subject: str = field(repr=False)
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class EmailSubject:
    """A person by an e-mail address, as it was written."""

    email: str = field(repr=False)


Subject: TypeAlias = IdentitySubject | EmailSubject


@dataclass(frozen=True, slots=True)
class SessionSubject:
    """A session at the provider by the name that it has there, ``None`` for a name of a kind that is not kept here."""

    idp_session: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AliasSubjects:
    """One person by several identifiers (RFC 9493 §3.2.8), at least two."""

    first: Subject
    others: tuple[Subject, ...]


NamedSubject: TypeAlias = Subject | SessionSubject | AliasSubjects


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A back-channel logout (OIDC Back-Channel Logout §2.4): a session at the provider, a person, or both."""

    receipt: Receipt
    issuer: str
    subject: str | None = field(repr=False)
    idp_session: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """A security event (RFC 8417): its type, whom it is about if we act on it, and ``state`` of a verification."""

    receipt: Receipt
    event: str
    subject: NamedSubject | None
    state: str | None = None


class Receiver(Protocol):
    """What one connection takes."""

    @property
    def issuer(self) -> str | None:
        """The OpenID issuer; ``None`` where the connection speaks SAML."""
        ...

    @property
    def takes_events(self) -> bool:
        """Whether a transmitter of security events is configured."""
        ...

    @property
    def takes_revocations(self) -> bool:
        """Whether anybody's keys are known who may ask for a global revocation."""
        ...

    async def logout_token(self, token: str) -> LogoutToken:
        """What this logout token says. Raises ``VerificationError`` or ``ProviderUnavailable``."""
        ...

    async def revocation(self, token: str) -> Receipt:
        """That this bearer token authenticates a global revocation; raises as ``logout_token`` does."""
        ...

    async def security_event(self, token: str) -> SecurityEvent:
        """What this security event token says; raises as ``logout_token`` does."""
        ...

    async def framing_urls(self) -> tuple[str, ...]:
        """URLs of the provider on whose origins its own pages are, which may frame our front-channel logout."""
        ...
