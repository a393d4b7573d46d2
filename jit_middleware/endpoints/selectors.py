"""Whose access ends, by what measure, on whose word, and what came of it: the words of ``revocation``."""

from __future__ import annotations

import enum
from dataclasses import field
from typing import TypeAlias

from jit_middleware.model import Account, SessionRecord
from jit_middleware.records import dataclass
from jit_middleware.sso.signals import IdentitySubject, Receipt, Subject

# --- whose sessions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OneSession:
    """The session with this id."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Every session of this user, whatever connection it began at."""

    user_id: str


@dataclass(frozen=True, slots=True)
class ProviderSessions:
    """What the provider calls by these names. If ``subject`` says whose, that person's only, and with them those that
    it has given no name: it may call sessions by names in such messages alone, and leave them out of its ID tokens.

    A subject that nobody here has spares no session: a provider that tells each application another one may write one
    of its own into such messages. Then the names alone count.
    """

    idp_sessions: tuple[str, ...]
    subject: IdentitySubject | None = None


@dataclass(frozen=True, slots=True)
class NamedSessions:
    """Sessions at the provider whose names begin so."""

    prefix: str


@dataclass(frozen=True, slots=True)
class KnownSession:
    """The session that the provider calls so. It has to be here, or nobody is meant; ``None`` is never here."""

    idp_session: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """Every session of this person that began at this connection; ``aliases`` are other names for them."""

    subject: Subject
    aliases: tuple[Subject, ...] = ()

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All their names, at least one."""
        return (self.subject, *self.aliases)


Selector: TypeAlias = OneSession | Everywhere | ProviderSessions | NamedSessions | KnownSession | Person


class Measure(enum.Enum):
    """What is done."""

    END_SESSIONS = enum.auto()
    #: The account is deprovisioned, which ends its sessions wherever they began.
    CLOSE_ACCOUNT = enum.auto()
    #: Nobody vouches for the e-mail address any more.
    WITHDRAW_EMAIL = enum.auto()
    NOTHING = enum.auto()


# --- on whose word, and what came of it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signal:
    """A verified message of a connection; ``kind`` is the way it came, ``event`` its type if it has one.

    ``is_answered``: whoever sent it hears what came of it. Then one that reached nobody is not used up: a repeat is
    answered with success, and this was none.
    """

    connection: str
    kind: str
    receipt: Receipt
    event: str | None = None
    state: str | None = None
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Revoked:
    """What came of it. ``repeated``: the message was acted on before, and nothing was done now.

    ``missed`` says why nobody was reached: ``subject_unknown``, ``subject_foreign`` (not this connection's to name), or
    ``subject_unresolvable`` (a name that cannot be told from another).
    """

    ended: tuple[SessionRecord, ...] = ()
    repeated: bool = False
    missed: str | None = None
    moved: tuple[Account, ...] = field(default=(), repr=False)
