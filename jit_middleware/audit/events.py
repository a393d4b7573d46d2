"""What is worth an audit event, each made in one place so that its shape never varies.

Events hold ids, names of rules and codes. Never tokens, raw claims, e-mail addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        self, *, connection: str, tenant: str, code: str, reason: str, reference: str, user_id: str | None = None
    ) -> AuditEvent:
        return AuditEvent(
            id=self.new_id(),
            type="login.refused",
            at=self._clock.now(),
            tenant=tenant,
            user_id=user_id,
            connection=connection,
            outcome="failure",
            reason=reason,
            reference=reference,
            data={"code": code},
        )

    def session_ended(self, session: SessionRecord, *, cause: str, reference: str | None = None) -> AuditEvent:
        return AuditEvent(
            id=self.new_id(),
            type="session.ended",
            at=self._clock.now(),
            tenant=session.tenant,
            user_id=session.user_id,
            connection=session.connection,
            session=session.id,
            reference=reference,
            reason=cause,
        )

    def new_id(self) -> str:
        """A time-ordered id: 48 bits of milliseconds, then 80 random bits (the layout of UUIDv7, RFC 9562 §5.7)."""
        return f"{self._clock.now() * 1000:012x}-{self._tokens(10)}"

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


def _filled(user: User) -> list[str]:
    named = {"username": user.username, "email": user.email, "display_name": user.display_name}
    return [name for name, value in named.items() if value is not None] + [
        f"attributes.{key}" for key in user.attributes
    ]
