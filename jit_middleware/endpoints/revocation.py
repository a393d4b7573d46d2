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
from typing import Final, assert_never

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.marking import ENDING, leave_marks, marks_meant, marks_of_users
from jit_middleware.endpoints.naming import Missed, addresses_in, bearers, issuer_of, resolvable
from jit_middleware.endpoints.selectors import (
    Everywhere,
    KnownSession,
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
from jit_middleware.model import Account, IdentityLink, ProfileChanges, SessionChoice, SessionRecord
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.lifecycle import Trigger, move
from jit_middleware.provisioning.store import tell_moved
from jit_middleware.records import dataclass
from jit_middleware.sso.signals import EmailSubject, Subject

log = logging.getLogger("jit_middleware.signals")

_NO_LONGER_VOUCHED: Final = ProfileChanges(email_verified=False)


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
        selector = resolvable(house, selector, connection, measure)
        addresses = addresses_in(house, selector, connection)
        overtakes = measure in ENDING and not isinstance(selector, OneSession)
        if selector is not None and overtakes:
            await leave_marks(house, lambda tx: work.marks(tx, selector, addresses, signal))
        candidates = await bearers(house, addresses, measure)
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
    except Missed as missed:
        nobody = Revoked(missed=missed.reason)
        # Its use is taken too, if its sender takes that for done: whoever signs in later is not whom it meant.
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
        self, tx: Transaction, selector: Selector, addresses: Sequence[str], signal: Signal | None
    ) -> Sequence[str]:
        """The marks of those who are meant; none for a message that was acted on, which says nothing about logins
        since. Raises ``Missed``."""
        if await _was_heard(tx, signal):
            return ()
        believed = addresses if self.measure is Measure.END_SESSIONS else ()
        return await marks_meant(
            tx, selector, self.connection or "", believed, lambda who: issuer_of(self.house, self.connection, who)
        )

    async def marks_of(self, tx: Transaction, candidates: Sequence[str], signal: Signal | None) -> Sequence[str]:
        """The marks of these users at this connection, in the same way."""
        return () if await _was_heard(tx, signal) else await marks_of_users(tx, candidates, self.connection)

    async def unheard(
        self, tx: Transaction, selector: Selector | None, candidates: Sequence[str], signal: Signal | None
    ) -> Sequence[str] | None:
        """The users that are meant by a message that is new; ``None`` when it was acted on. Raises ``Missed``."""
        return None if await _was_heard(tx, signal) else await self.people(tx, selector, candidates)

    async def miss(self, tx: Transaction, signal: Signal | None, done: Revoked) -> Revoked:
        """Nobody is meant, and the message is used up all the same, unless its sender hears of that."""
        if signal is not None and not signal.is_answered:
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
        """The users that are meant, by their ids. Raises ``Missed``."""
        if not isinstance(selector, Person):
            return ()
        links = await self._identities(tx, selector, candidates)
        return tuple(dict.fromkeys(link.user_id for link in links if link.user_id is not None))

    async def _identities(self, tx: Transaction, person: Person, candidates: Sequence[str]) -> Sequence[IdentityLink]:
        """The links of this connection that are meant, at least one. Raises ``Missed``."""
        found = [link for subject in person.subjects for link in await self._called(tx, subject, candidates)]
        if not found:
            raise Missed("subject_unknown")
        return tuple(dict.fromkeys(found))

    async def _called(self, tx: Transaction, subject: Subject, candidates: Sequence[str]) -> Sequence[IdentityLink]:
        if isinstance(subject, EmailSubject):
            held = [link for user_id in candidates for link in await tx.list_links(user_id)]
            return [link for link in held if link.connection == self.connection]
        issuer = issuer_of(self.house, self.connection, subject)
        linked = await tx.find_link(self.connection or "", issuer, subject.subject)
        return [] if linked is None or linked[0].user_id is None else [linked[0]]

    # --- what ---------------------------------------------------------------------------------------------------

    async def _end(self, tx: Transaction, selector: Selector, candidates: Sequence[str]) -> Sequence[SessionRecord]:
        now, connection = self.house.clock.now(), self.connection or ""
        match selector:
            case OneSession(session_id):
                return await tx.end_sessions(now, session_id=session_id)
            case Everywhere(user_id):
                return await tx.end_sessions(now, user_id=user_id)
            case ProviderSessions():
                return await self._end_named(tx, selector)
            case NamedSessions(prefix):
                return await tx.end_sessions(now, connection=connection, idp_session_prefix=prefix)
            case KnownSession(name):
                known = () if name is None else await tx.end_sessions(now, connection=connection, idp_session=name)
                if not known:
                    raise Missed("subject_unknown")
                return known
            case Person():
                return await self._end_of(tx, selector, candidates)
            case _:
                assert_never(selector)

    async def _end_named(self, tx: Transaction, named: ProviderSessions) -> Sequence[SessionRecord]:
        """End the sessions of these names, and the person's that have none. Raises ``Missed``."""
        now, subject, ended = self.house.clock.now(), named.subject, list[SessionRecord]()
        links = () if subject is None else await self._called(tx, subject, ())
        owner = links[0].user_id if links else None
        for name in named.idp_sessions:
            ended += await tx.end_sessions(now, connection=self.connection or "", idp_session=name, user_id=owner)
        if subject is not None and links:
            ended += await self._end_of(tx, Person(subject), (), nameless=True)
        elif subject is not None and not ended:
            raise Missed("subject_unknown")
        return ended

    async def _end_of(
        self, tx: Transaction, person: Person, candidates: Sequence[str], *, nameless: bool = False
    ) -> Sequence[SessionRecord]:
        """End the person's sessions at this connection, or only those that the provider has given no name. Raises
        ``Missed``."""
        now, ended = self.house.clock.now(), list[SessionRecord]()
        for link in await self._identities(tx, person, candidates):
            # By the user as well: there is an index of them.
            which = SessionChoice(
                connection=link.connection,
                user_id=link.user_id,
                issuer=link.issuer,
                subject=link.subject,
                nameless=nameless,
            )
            ended += await tx.end_sessions(now, **which)
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
