"""The end of access on somebody else's word, or the person's own: one way for all who may ask for it.

A selector says whose sessions are meant. Who speaks for a connection reaches only identities that are linked by this
connection, and by an e-mail address only within the domains that the connection is believed about. What is ended is
ended in one transaction with the single use of the message that asks for it, the feed that tells every worker, and the
audit trail: ``session.ended`` for each session, ``signal.received`` for the message.

Before that, in a transaction of its own, marks are left for logins that are on their way (:mod:`.overtaking`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.marking import ENDING, leave_marks, marks_meant, marks_of_users
from jit_middleware.endpoints.selectors import (
    Everywhere,
    Measure,
    NamedSessions,
    OneSession,
    Person,
    ProviderSessions,
    Revoked,
    Selector,
    Signal,
)
from jit_middleware.errors import AdapterError, Conflict, NotProvisioned
from jit_middleware.model import Account, IdentityLink, ProfileChanges, SessionRecord, User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.lifecycle import Trigger, move
from jit_middleware.provisioning.store import tell_moved
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.signals import EmailSubject, IdentitySubject, Subject

log = logging.getLogger("jit_middleware.signals")

_MOST_SESSIONS: Final = 100_000
_NO_LONGER_VOUCHED: Final = ProfileChanges(email_verified=False)


class _Missed(Exception):
    """Nobody is meant; ends the unit of work."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def revoke(
    house: House,
    selector: Selector | None,
    *,
    cause: str,
    connection: str | None = None,
    signal: Signal | None = None,
    measure: Measure = Measure.END_SESSIONS,
    reference: str | None = None,
) -> Revoked:
    """Do ``measure`` to whoever ``selector`` means, because of ``cause``.

    ``connection`` is the one that asks, ``None`` for the person themselves. Raises ``StoreUnavailable``.
    """
    reference = reference or house.reference()
    work = _Work(house, connection, cause, reference, measure)
    try:
        address = _address(house, selector, connection)
        overtakes = measure in ENDING and not isinstance(selector, OneSession)
        if selector is not None and overtakes:
            await leave_marks(house, lambda tx: work.marks(tx, selector, address, signal))
        candidates = await _candidates(house, address, measure)
        if candidates and overtakes:
            await leave_marks(house, lambda tx: work.marks_of(tx, candidates, signal))
        if measure is Measure.WITHDRAW_EMAIL and house.users is not None:
            # No call to an outside store inside a transaction. It goes first, since a store that fails must be asked
            # again when the message comes again; but not for a message that was acted on, which says nothing about an
            # address set since.
            meant = await house.ledger.transaction(lambda tx: work.unheard(tx, selector, candidates, signal))
            if meant is None:
                return Revoked(repeated=True)
            for user_id in meant:
                await house.users.update(user_id, _NO_LONGER_VOUCHED)
        done = await _once(
            signal, lambda: house.ledger.transaction(lambda tx: work.run(tx, selector, candidates, signal))
        )
    except _Missed as missed:
        nobody = Revoked(missed=missed.reason)
        # Its use is taken too: whoever signs in later is not whom it meant.
        await _once(signal, lambda: house.ledger.transaction(lambda tx: work.miss(tx, signal, nobody)))
        return nobody
    await _tell_store(house, done)
    return done


async def _once(signal: Signal | None, work: Callable[[], Awaitable[Revoked]]) -> Revoked:
    """Do the work, unless it was done for this same message before."""
    try:
        return await work()
    except Conflict as conflict:
        if conflict.reason == "once_key" and signal is not None:
            return Revoked(repeated=True)
        raise


@dataclass(frozen=True, slots=True)
class _Work:
    """One unit of work: who is meant, what becomes of them, and what is said about it."""

    house: House
    connection: str | None
    cause: str
    reference: str
    measure: Measure

    async def run(
        self, tx: Transaction, selector: Selector | None, candidates: Sequence[str], signal: Signal | None
    ) -> Revoked:
        await _claim(tx, signal)
        people: Sequence[str] = ()
        done = Revoked()
        match self.measure:
            case Measure.END_SESSIONS:
                done = Revoked(() if selector is None else tuple(await self._end(tx, selector, candidates)))
                ended_of = tuple(dict.fromkeys(session.user_id for session in done.ended))
                people = ended_of or await self.people(tx, selector, candidates)
            case Measure.CLOSE_ACCOUNT:
                people = await self.people(tx, selector, candidates)
                done = Revoked(moved=await self._close(tx, people))
            case Measure.WITHDRAW_EMAIL:
                people = await self.people(tx, selector, candidates)
                await self._withdraw(tx, people)
            case Measure.NOTHING:
                pass
            case _:
                assert_never(self.measure)
        for session in done.ended:
            event = self.house.audit.session_ended(session, cause=self.cause, reference=self.reference)
            await tx.append_audit(event)
        await self.tell(tx, signal, people, done)
        return done

    async def marks(
        self, tx: Transaction, selector: Selector, address: str | None, signal: Signal | None
    ) -> Sequence[str]:
        """The marks of those who are meant; none for a message that was acted on, which says nothing about logins
        since. Raises ``_Missed``."""
        if await _was_heard(tx, signal):
            return ()
        believed = address if self.measure is Measure.END_SESSIONS else None
        return await marks_meant(
            tx, selector, self.connection or "", believed, lambda who: _issuer(self.house, self.connection, who)
        )

    async def marks_of(self, tx: Transaction, candidates: Sequence[str], signal: Signal | None) -> Sequence[str]:
        """The marks of these users at this connection, in the same way."""
        return () if await _was_heard(tx, signal) else await marks_of_users(tx, candidates, self.connection)

    async def unheard(
        self, tx: Transaction, selector: Selector | None, candidates: Sequence[str], signal: Signal | None
    ) -> Sequence[str] | None:
        """The users that are meant by a message that is new; ``None`` when it was acted on. Raises ``_Missed``."""
        return None if await _was_heard(tx, signal) else await self.people(tx, selector, candidates)

    async def miss(self, tx: Transaction, signal: Signal | None, done: Revoked) -> Revoked:
        """Nobody is meant, and the message is used up all the same."""
        await _claim(tx, signal)
        await self.tell(tx, signal, (), done)
        return done

    async def tell(self, tx: Transaction, signal: Signal | None, people: Sequence[str], done: Revoked) -> None:
        """Write ``signal.received``."""
        if signal is None:
            return
        event = self.house.audit.signal_received(
            connection=signal.connection,
            tenant=self.house.strategies[signal.connection].tenant,
            kind=signal.kind,
            token=signal.receipt.digest,
            event=signal.event,
            reason=done.missed,
            people=people,
            sessions_ended=len(done.ended),
            reference=self.reference,
            state=signal.state,
        )
        await tx.append_audit(event)

    # --- who ----------------------------------------------------------------------------------------------------

    async def people(self, tx: Transaction, selector: Selector | None, candidates: Sequence[str]) -> Sequence[str]:
        """The users that are meant, by their ids. Raises ``_Missed``."""
        if not isinstance(selector, Person):
            return ()
        links = await self._identities(tx, selector.subject, candidates)
        return tuple(dict.fromkeys(link.user_id for link in links if link.user_id is not None))

    async def _identities(self, tx: Transaction, subject: Subject, candidates: Sequence[str]) -> Sequence[IdentityLink]:
        """The links of this connection that are meant, at least one. Raises ``_Missed``."""
        if isinstance(subject, EmailSubject):
            held = [link for user_id in candidates for link in await tx.list_links(user_id)]
            found = [link for link in held if link.connection == self.connection]
        else:
            linked = await tx.find_link(
                self.connection or "", _issuer(self.house, self.connection, subject), subject.subject
            )
            found = [] if linked is None or linked[0].user_id is None else [linked[0]]
        if not found:
            raise _Missed("subject_unknown")
        return found

    # --- what ---------------------------------------------------------------------------------------------------

    async def _end(self, tx: Transaction, selector: Selector, candidates: Sequence[str]) -> Sequence[SessionRecord]:
        now = self.house.clock.now()
        match selector:
            case OneSession(session_id):
                return await tx.end_sessions(now, session_id=session_id)
            case Everywhere(user_id):
                return await tx.end_sessions(now, user_id=user_id)
            case ProviderSessions(names, subject):
                owner = await self._owner(tx, subject)
                ended: list[SessionRecord] = []
                for name in names:
                    ended += await tx.end_sessions(now, connection=self.connection, idp_session=name, user_id=owner)
                return ended
            case NamedSessions(prefix, subject):
                owner = await self._owner(tx, subject)
                live = await tx.list_sessions(user_id=owner, connection=self.connection, limit=_MOST_SESSIONS)
                return await self._end_each(
                    tx, [session for session in live if (session.idp_session or "").startswith(prefix)]
                )
            case Person(subject):
                links = await self._identities(tx, subject, candidates)
                identities = {(link.issuer, link.subject) for link in links}
                live = [
                    session
                    for user_id in dict.fromkeys(link.user_id for link in links)
                    for session in await tx.list_sessions(user_id=user_id, limit=_MOST_SESSIONS)
                ]
                return await self._end_each(
                    tx, [session for session in live if (session.issuer, session.subject) in identities]
                )
            case _:
                assert_never(selector)

    async def _owner(self, tx: Transaction, subject: IdentitySubject | None) -> str | None:
        if subject is None:
            return None
        (link,) = await self._identities(tx, subject, ())
        return link.user_id

    async def _end_each(self, tx: Transaction, sessions: Sequence[SessionRecord]) -> Sequence[SessionRecord]:
        now = self.house.clock.now()
        ended: list[SessionRecord] = []
        for session in sessions:
            if session.connection == self.connection:
                ended += await tx.end_sessions(now, session_id=session.id)
        return ended

    async def _close(self, tx: Transaction, people: Sequence[str]) -> tuple[Account, ...]:
        moved: list[Account] = []
        for user_id in people:
            account = await deprovision(
                self.house, tx, user_id, connection=self.connection or "", reference=self.reference
            )
            if account is not None:
                moved.append(account)
        return tuple(moved)

    async def _withdraw(self, tx: Transaction, people: Sequence[str]) -> None:
        for user_id in people:
            account = await tx.find_account(user_id)
            if account is None:
                continue
            if tx.users is not None:
                await tx.users.update(user_id, _NO_LONGER_VOUCHED)
            else:
                await tx.append_feed("user", user_id)
            event = self.house.audit.email_withdrawn(
                user_id=user_id,
                connection=self.connection or "",
                tenant=account.tenant,
                cause=self.cause,
                reference=self.reference,
            )
            await tx.append_audit(event)


async def _was_heard(tx: Transaction, signal: Signal | None) -> bool:
    return signal is not None and await tx.is_taken(signal.receipt.once.purpose, signal.receipt.once.key)


async def _claim(tx: Transaction, signal: Signal | None) -> None:
    if signal is not None:
        once = signal.receipt.once
        await tx.claim_once(once.purpose, once.key, once.until)


async def deprovision(
    house: House, tx: Transaction, user_id: str, *, connection: str, reference: str
) -> Account | None:
    """Close the account because the provider says that the person has left; ``None`` when it is closed already."""
    account = await tx.find_account(user_id)
    if account is None:
        return None
    return await move(
        tx,
        account,
        Trigger.DEPROVISION,
        settings=house.settings.provisioning,
        actor=f"signal:{connection}",
        at=house.clock.now(),
        event_id=house.audit.new_id(),
        reference=reference,
    )


async def _tell_store(house: House, done: Revoked) -> None:
    """Shut the doors of the app's own store too. Access has ended here whether it can be reached or not."""
    if house.users is None:
        return
    for account in done.moved:
        try:
            await tell_moved(house.users, account, Trigger.DEPROVISION, settings=house.settings.provisioning)
        except (AdapterError, NotProvisioned) as error:
            log.error(
                "user=%s is deprovisioned, but the app's own store was not told: %s", account.user_id, error.reason
            )


def _address(house: House, selector: Selector | None, connection: str | None) -> str | None:
    """The e-mail address by which somebody is meant, ``None`` without one. Raises ``_Missed``."""
    if not isinstance(selector, Person) or not isinstance(selector.subject, EmailSubject):
        return None
    email = plain_email(selector.subject.email)
    domains = next((each.verified_domains for each in house.settings.connections if each.name == connection), ())
    if email is None or domain_of(email) not in domains:
        raise _Missed("subject_foreign")
    return email


async def _candidates(house: House, email: str | None, measure: Measure) -> Sequence[str]:
    """The ids of the users who have the e-mail address that is meant.

    Sessions end of whoever bears it. An account is closed only where somebody vouches that the address is theirs: it
    may have been given to somebody else since, or never have been.
    """
    if email is None:
        return ()

    async def find(tx: Transaction) -> Sequence[User]:
        return [] if tx.users is None else await tx.users.find(email=email)

    outside = house.users
    found = await house.ledger.transaction(find) if outside is None else await outside.find(email=email)
    return [user.id for user in found if user.email_verified or measure is not Measure.CLOSE_ACCOUNT]


def _issuer(house: House, name: str | None, subject: IdentitySubject) -> str:
    """The issuer under which this person would be linked. Raises ``_Missed``.

    A transmitter that is not the OpenID issuer itself, but speaks for it, may call people its own.
    """
    connection = next((each for each in house.settings.connections if each.name == name), None)
    home = None
    if connection is not None:
        home = connection.issuer if isinstance(connection, OIDCConnection) else connection.idp_entity_id
        if subject.issuer is not None and subject.issuer != connection.signals.issuer:
            return subject.issuer
    found = home or subject.issuer
    if found is None:
        raise _Missed("subject_unresolvable")
    return found
