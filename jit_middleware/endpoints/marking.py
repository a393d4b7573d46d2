"""The marks that a revocation leaves for those who are signing in just now, before it looks for sessions.

Whose word it is was judged before: a provider's message that verified, the person's own, or an operator's. A message
leaves its marks once. The exception is front-channel logout, which nobody signs: it comes here with the name of a
live session, which it ends, and marks that name alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, assert_never

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.selectors import (
    Everywhere,
    KnownSession,
    Measure,
    NamedSessions,
    OneSession,
    Person,
    ProviderSessions,
    Selector,
)
from jit_middleware.overtaking import (
    email_mark,
    identity_mark,
    own_session_mark,
    person_mark,
    remembered_until,
    session_mark,
)
from jit_middleware.ports import Transaction
from jit_middleware.sso.signals import EmailSubject, IdentitySubject

#: The measures that end sessions, whether they are there already or not.
ENDING: Final = frozenset({Measure.END_SESSIONS, Measure.CLOSE_ACCOUNT})


async def leave_marks(house: House, named: Callable[[Transaction], Awaitable[Sequence[str]]]) -> None:
    """Leave the marks that ``named`` answers with, and commit them."""

    async def leave(tx: Transaction) -> None:
        marks, now = await named(tx), house.clock.now()
        if marks:
            await tx.leave_marks(marks, at=now, until=remembered_until(now, idle=house.settings.session.idle))

    await house.ledger.transaction(leave)


async def marks_meant(
    tx: Transaction,
    selector: Selector,
    connection: str,
    addresses: Sequence[str],
    issuer_of: Callable[[IdentitySubject], str],
) -> Sequence[str]:
    """What those who are meant answer to; ``addresses`` are the e-mail addresses that are believed. Raises what
    ``issuer_of`` raises."""

    def who(subject: IdentitySubject) -> str:
        return identity_mark(connection, issuer_of(subject), subject.subject)

    match selector:
        case OneSession():
            return ()
        case Everywhere(user_id):
            return await marks_of_users(tx, [user_id], None)
        case ProviderSessions(names, subject):
            of_anybody = [session_mark(connection, name) for name in names]
            if subject is None:
                return of_anybody
            found = await tx.find_link(connection, issuer_of(subject), subject.subject)
            is_here = found is not None and found[0].user_id is not None
            own = [own_session_mark(who(subject), name) for name in (*names, None)]
            return own if is_here else [*own, *of_anybody]
        case NamedSessions(prefix):
            return [person_mark(connection, prefix)]
        case KnownSession(name):
            return [] if name is None else [session_mark(connection, name)]
        case Person():
            people = [who(each) for each in selector.subjects if not isinstance(each, EmailSubject)]
            return [*people, *(email_mark(connection, address) for address in addresses)]
        case _:
            assert_never(selector)


async def marks_of_users(tx: Transaction, users: Sequence[str], connection: str | None) -> Sequence[str]:
    """The marks of all identities that these users have, at this connection if one is given."""
    links = [link for user_id in users for link in await tx.list_links(user_id)]
    mine = [link for link in links if connection in {None, link.connection}]
    return [identity_mark(link.connection, link.issuer, link.subject) for link in mine]
