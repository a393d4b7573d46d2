"""What is worth an audit event, each made in one place so that its shape never varies.

Events hold ids, names of rules and codes. Never tokens, raw claims, e-mail addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from jit_middleware.model import JSON, AuditEvent, Grant, SessionRecord, Status, User, VerifiedIdentity
from jit_middleware.ports import Clock, TokenSource

#: Every type that an event may have.
EVENT_TYPES: Final = frozenset(
    {
        "adoption.prelinked", "adoption.undone",
        "feed.interrupted",
        "groups.unavailable",
        "identity.linked", "identity.unlinked",
        "invitation.issued", "invitation.revoked",
        "login.refused", "login.succeeded",
        "provisioning.alarm",
        "role.granted", "role.revoked", "roles.changed",
        "session.ended",
        "signal.received",
        "user.created", "user.first_login", "user.updated",
        *(f"user.{status.value}" for status in Status if status is not Status.INVITED),
    }
)  # fmt: skip

_NOTHING_RELAXED: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


class AuditTrail:
    """Makes the events; the ledger keeps them in the transaction they tell of."""

    def __init__(
        self, *, clock: Clock, tokens: TokenSource, relaxations: Mapping[str, Sequence[str]] = _NOTHING_RELAXED
    ) -> None:
        """``relaxations`` names, for each connection, what the operator has weakened."""
        self._clock = clock
        self._tokens = tokens
        self._relaxations = relaxations

    def user_created(
        self,
        identity: VerifiedIdentity,
        user: User,
        *,
        grants: Sequence[Grant],
        path: Sequence[str],
        seat: bool,
        reference: str,
    ) -> AuditEvent:
        """A user was made at their first login; ``path`` is what was asked on the way."""
        return self._event(
            "user.created",
            identity,
            user.id,
            reference,
            once=f"user.created:{user.id}",
            data={
                "path": list(path),
                "status": user.status.value,
                "seat": seat,
                "fields": sorted(_filled(user)),
                "roles": _roles(grants),
                "relaxations": self._relaxed(identity),
            },
        )

    def identity_linked(
        self, identity: VerifiedIdentity, user_id: str, *, proof: str, path: Sequence[str], reference: str
    ) -> AuditEvent:
        """An identity was tied to an account that was there before; ``proof`` is why it may be."""
        data: Mapping[str, JSON] = {"proof": proof, "path": list(path), "relaxations": self._relaxed(identity)}
        return self._event("identity.linked", identity, user_id, reference, data=data)

    def user_updated(
        self, identity: VerifiedIdentity, user_id: str, *, fields: Sequence[str], reference: str
    ) -> AuditEvent:
        """A login changed these fields of the profile; names only."""
        return self._event("user.updated", identity, user_id, reference, data={"fields": list(fields)})

    def roles_changed(
        self,
        identity: VerifiedIdentity,
        user_id: str,
        *,
        added: Sequence[Grant],
        removed: Sequence[Grant],
        groups: str,
        path: Sequence[str],
        reference: str,
    ) -> AuditEvent:
        """A login changed what the user may do. ``groups`` says whether the provider told the groups: ``given``,
        ``absent`` or ``overage``."""
        data: Mapping[str, JSON] = {
            "added": _roles(added),
            "removed": _roles(removed),
            "groups": groups,
            "path": list(path),
        }
        return self._event("roles.changed", identity, user_id, reference, data=data)

    def groups_unavailable(
        self, identity: VerifiedIdentity, user_id: str, *, groups: str, kept: Sequence[Grant], reference: str
    ) -> AuditEvent:
        """The provider did not say which groups a person has; ``kept`` are the roles that stay all the same."""
        data: Mapping[str, JSON] = {"groups": groups, "kept": _roles(kept)}
        return self._event("groups.unavailable", identity, user_id, reference, data=data)

    def first_login(self, identity: VerifiedIdentity, user_id: str, *, session: str, reference: str) -> AuditEvent:
        """The first login of a user; the ledger holds it to exactly once."""
        return self._event(
            "user.first_login",
            identity,
            user_id,
            reference,
            session=session,
            once=first_login_once(user_id),
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
        path: Sequence[str] = (),
    ) -> AuditEvent:
        """A login that failed; ``identity`` is who it was, as far as that is verified, ``path`` what was asked then."""
        data: dict[str, JSON] = {"code": code}
        if identity is not None:
            data |= {"identity": identity_key(identity), "path": list(path)}
        return AuditEvent(
            id=self.new_id(),
            type="login.refused",
            at=self._clock.now(),
            tenant=tenant,
            connection=connection,
            outcome="failure",
            reason=reason,
            reference=reference,
            data=data,
        )

    def signal_received(
        self,
        *,
        connection: str,
        tenant: str,
        kind: str,
        token: str,
        event: str | None,
        reason: str | None,
        people: Sequence[str],
        sessions_ended: int,
        reference: str,
        state: str | None = None,
    ) -> AuditEvent:
        """A provider's verified message that access ends. ``token`` is a digest of its id, ``event`` its type,
        ``reason`` why nothing came of it, ``people`` the users it was about."""
        data: dict[str, JSON] = {"kind": kind, "token": token, "users": list(people), "sessions_ended": sessions_ended}
        if event is not None:
            data["event"] = event
        if state is not None:
            data["state"] = state
        return AuditEvent(
            id=self.new_id(),
            type="signal.received",
            at=self._clock.now(),
            tenant=tenant,
            user_id=people[0] if len(people) == 1 else None,
            connection=connection,
            outcome="success" if reason is None else "failure",
            reason=reason,
            reference=reference,
            data=data,
        )

    def email_withdrawn(self, *, user_id: str, connection: str, tenant: str, cause: str, reference: str) -> AuditEvent:
        """``user.updated``: nobody vouches for the user's e-mail address any more."""
        return AuditEvent(
            id=self.new_id(),
            type="user.updated",
            at=self._clock.now(),
            tenant=tenant,
            user_id=user_id,
            connection=connection,
            reason=cause,
            reference=reference,
            data={"fields": ["email_verified"]},
        )

    def session_ended(self, session: SessionRecord, *, cause: str, reference: str | None = None) -> AuditEvent:
        """A session is over before its time."""
        return session_ended(session, id=self.new_id(), at=self._clock.now(), cause=cause, reference=reference)

    def feed_interrupted(self, *, seconds: int, reason: str, refused: bool) -> AuditEvent:
        """One worker could not read the revocation feed for so long; ``refused``: it refused requests for that."""
        event_id = self.new_id()
        return AuditEvent(
            id=event_id,
            type="feed.interrupted",
            at=self._clock.now(),
            outcome="failure",
            reason=reason,
            data={"seconds": seconds, "refused": refused},
            once=f"feed.interrupted:{event_id}",
        )

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
            "relaxations": self._relaxed(identity),
        }

    def _relaxed(self, identity: VerifiedIdentity) -> list[str]:
        return list(self._relaxations.get(identity.connection, ()))


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


def first_login_once(user_id: str) -> str:
    """What holds the event ``user.first_login`` of this user to exactly once."""
    return f"user.first_login:{user_id}"


def identity_key(identity: VerifiedIdentity) -> str:
    """Stable for one identity, and different for any other: SHA-256 over the length-prefixed parts, in hex."""
    parts = [part.encode() for part in (identity.tenant, identity.connection, identity.issuer, identity.subject)]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


def _roles(grants: Sequence[Grant]) -> list[JSON]:
    return [{"role": grant.role, "source": grant.source} for grant in grants]


def _filled(user: User) -> list[str]:
    named = {"username": user.username, "email": user.email, "display_name": user.display_name}
    return [name for name, value in named.items() if value is not None] + [
        f"attributes.{key}" for key in user.attributes
    ]
