"""Logins that a revocation overtakes: who may have been signed out, while they were signing in.

Theory of operation. A provider may end a session between the moment it vouches for somebody and the moment our own
session is committed: there is nothing to end yet. So a revocation leaves *marks* first, one for each name that it calls
people by, commits them, and only then looks for sessions. Whoever began to sign in by that time (``begun_at``) and
answers to one of these names is overtaken. That is asked by reads that are made anyway:

1. each transaction of a login that looks up the identity;
2. whoever loads a session from the ledger. A session that is committed after the revocation has looked was not there
   when the mark was, so whoever loads it sees the mark; one committed before that is found and ended.

What begins in a later second than the revocation arrives is the provider's later word, and counts. Names are kept as
digests with the connection in them, and a connection by its name: a provider's word never touches the people of
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final, Protocol

from jit_middleware.letters import ascii_lower
from jit_middleware.model import Account, IdentityLink, Marks, SessionView, VerifiedIdentity

#: Seconds that a login may be on its way at most: a login in flight lasts half of that, and so does an assertion.
_UNDER_WAY: Final = 1_200


class OvertakingVerbs(Protocol):
    """A part of :class:`~jit_middleware.ports.Transaction`."""

    async def find_login(
        self, connection: str, issuer: str, subject: str, marks: Marks
    ) -> tuple[tuple[IdentityLink, Account | None] | None, int | None]:
        """What ``find_link`` answers, and when one of these marks was last left; one read. A mark from more than an
        hour ahead of now is passed over, as it is where a session is loaded: no clock that is right was there."""
        ...

    async def leave_marks(self, marks: Sequence[str], *, at: int, until: int) -> None:
        """Leave these, or renew them; to be remembered at least until that time. The later of two times stays, unless
        it is more than an hour after ``at``."""
        ...


def identity_mark(connection: str, issuer: str, subject: str) -> str:
    """The mark for an identity."""
    return _digest("identity", connection, f"{len(issuer)}:{issuer}{subject}")


def session_mark(connection: str, idp_session: str) -> str:
    """The mark for a session at the provider."""
    return _digest("session", connection, idp_session)


def own_session_mark(identity: str, idp_session: str | None) -> str:
    """The mark for a session at the provider, if it is that of the identity which has this mark; ``None`` is for those
    that the provider has given no name."""
    return _digest("own_session", identity, idp_session or "")


def person_mark(connection: str, prefix: str) -> str:
    """The mark for all sessions at the provider whose names begin so, up to their last dot."""
    return _digest("person", connection, prefix)


def email_mark(connection: str, email: str) -> str:
    """The mark for whoever bears this address, without ASCII case as user stores compare it."""
    return _digest("email", connection, ascii_lower(email))


def connection_mark(connection: str) -> str:
    """The mark for everybody who signs in there: its name, which is too short for a digest."""
    return connection


def marks_of(identity: VerifiedIdentity, email: str | None) -> Marks:
    """All that a revocation may call this login by; ``email`` is the address that the provider has for the person, as
    it would be the user's."""
    connection, name = identity.connection, identity.idp_session
    who = identity_mark(connection, identity.issuer, identity.subject)
    prefix = "" if name is None else name[: name.rfind(".") + 1]
    return Marks(
        connection=connection_mark(connection),
        identity=who,
        session=None if name is None else session_mark(connection, name),
        own_session=own_session_mark(who, name),
        person=person_mark(connection, prefix) if prefix else None,
        email=None if email is None else email_mark(connection, email),
    )


def with_email(marks: Marks, email: str | None) -> Marks:
    """The same for a login whose user has this address."""
    return replace(marks, email=None if email is None else email_mark(marks.connection, email))


def is_overtaken(begun_at: int | None, marked_at: int | None) -> bool:
    """Whether a login that began then was overtaken by a mark that was left then (``None``: there is none).

    In the same second it was: nobody can tell, and whoever begins anew in a later one is let in.
    """
    return begun_at is not None and marked_at is not None and begun_at <= marked_at


def is_view_overtaken(view: SessionView) -> bool:
    """Whether this session was overtaken before it was committed."""
    return is_overtaken(view.session.begun_at, view.marked_at)


def remembered_until(now: int, *, idle: int) -> int:
    """How long a mark that is left now must be there: as long as a login may be on its way, and as its session may
    wait for the first request that loads it."""
    return now + _UNDER_WAY + idle


def _digest(kind: str, whose: str, name: str) -> str:
    # Where one part ends and the next begins is part of it.
    return sha256(f"{kind} {len(whose)}:{whose}{name}".encode("utf-8", "surrogatepass")).hexdigest()
