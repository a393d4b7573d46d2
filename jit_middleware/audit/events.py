"""What is worth an audit event, each made in one place so that its shape never varies.

Events hold ids, names of rules and codes. Never tokens, raw claims, e-mail addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from jit_middleware.model import JSON, AuditEvent, SessionRecord, User, VerifiedIdentity
from jit_middleware.ports import Clock, TokenSource


class AuditTrail:
    """Makes the events; the ledger keeps them in the transaction they tell of."""

    def __init__(self, *, clock: Clock, tokens: TokenSource, relaxations: Sequence[str] = ()) -> None:
        self._clock = clock
        self._tokens = tokens
        self._relaxations = tuple(relaxations)

    def user_created(
        self, identity: VerifiedIdentity, user: User, *, grants: Sequence[tuple[str, str]], reference: str
    ) -> AuditEvent:
        """A user was made at their first login."""
        return self._event(
            "user.created",
            identity,
            user.id,
            reference,
            once=f"user.created:{user.id}",
            data={
                "path": "created",
                "status": user.status.value,
                "fields": sorted(_filled(user)),
                "roles": [{"role": role, "source": source} for role, source in grants],
            },
        )

    def identity_linked(self, identity: VerifiedIdentity, user_id: str, *, proof: str, reference: str) -> AuditEvent:
        """An identity was tied to an account that was there before."""
        return self._event("identity.linked", identity, user_id, reference, data={"proof": proof})

    def first_login(self, identity: VerifiedIdentity, user_id: str, *, session: str, reference: str) -> AuditEvent:
        """The first login of a user; the ledger holds it to exactly once."""
        return self._event(
            "user.first_login",
            identity,
            user_id,
            reference,
            session=session,
            once=f"user.first_login:{user_id}",
            data=self._circumstances(identity),
        )

    def login_succeeded(self, identity: VerifiedIdentity, session: SessionRecord, *, reference: str) -> AuditEvent:
        return self._event(
            "login.succeeded",
            identity,
            session.user_id,
            reference,
            session=session.id,
            data=self._circumstances(identity),
        )

    def login_refused(
        self,
        *,
        connection: str,
        tenant: str,
        code: str,
        reason: str,
        reference: str,
        identity: VerifiedIdentity | None = None,
    ) -> AuditEvent:
        """A login that failed; ``identity`` is who it was, where that much was verified."""
        return AuditEvent(
            id=self.new_id(),
            type="login.refused",
            at=self._clock.now(),
            tenant=tenant,
            connection=connection,
            outcome="failure",
            reason=reason,
            reference=reference,
            data={"code": code} if identity is None else {"code": code, "identity": identity_key(identity)},
        )

    def session_ended(self, session: SessionRecord, *, cause: str, reference: str | None = None) -> AuditEvent:
        """A session is over before its time."""
        return session_ended(session, id=self.new_id(), at=self._clock.now(), cause=cause, reference=reference)

    def new_id(self) -> str:
        """A fresh event id."""
        return event_id(self._clock, self._tokens)

    def _event(
        self,
        kind: str,
        identity: VerifiedIdentity,
        user_id: str,
        reference: str,
        *,
        data: Mapping[str, JSON],
        session: str | None = None,
        once: str | None = None,
    ) -> AuditEvent:
        return AuditEvent(
            id=self.new_id(),
            type=kind,
            at=self._clock.now(),
            tenant=identity.tenant,
            user_id=user_id,
            connection=identity.connection,
            reference=reference,
            session=session,
            data=data,
            once=once,
        )

    def _circumstances(self, identity: VerifiedIdentity) -> Mapping[str, JSON]:
        return {
            "issuer": identity.issuer,
            "auth_time": identity.auth_time,
            "acr": identity.acr,
            "amr": list(identity.amr),
            "relaxations": list(self._relaxations),
        }


def event_id(clock: Clock, tokens: TokenSource) -> str:
    """An id for an audit event: 12 hex digits of time, so that ids sort by the second, then 80 random bits."""
    return f"{clock.now() * 1000:012x}-{tokens(10)}"


def session_ended(
    session: SessionRecord, *, id: str, at: int, cause: str, reference: str | None = None, by: str | None = None
) -> AuditEvent:
    """``session.ended``: which session of whom, why, and by whose hand if it was somebody's."""
    return AuditEvent(
        id=id,
        type="session.ended",
        at=at,
        tenant=session.tenant,
        user_id=session.user_id,
        connection=session.connection,
        session=session.id,
        reference=reference,
        reason=cause,
        data={} if by is None else {"actor": by},
    )


def identity_key(identity: VerifiedIdentity) -> str:
    """Stable for one identity, and different for any other: SHA-256 over the length-prefixed parts, in hex."""
    parts = [part.encode() for part in (identity.tenant, identity.connection, identity.issuer, identity.subject)]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


def _filled(user: User) -> list[str]:
    named = {"username": user.username, "email": user.email, "display_name": user.display_name}
    return [name for name, value in named.items() if value is not None] + [
        f"attributes.{key}" for key in user.attributes
    ]
