"""Whom a message names: which of somebody's identifiers can be resolved, and are its connection's to name.

Whoever speaks for a connection names people of that connection's provider, and by an e-mail address only within the
domains that the connection is believed about. Of several identifiers for one subject (RFC 9493 §3.2.8) those count that
are of use here.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.selectors import KnownSession, Measure, Person, Selector
from jit_middleware.model import User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.signals import EmailSubject, IdentitySubject, Subject


class Missed(Exception):
    """Nobody is meant; ends the unit of work."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def resolvable(house: House, selector: Selector | None, connection: str | None, measure: Measure) -> Selector | None:
    """The selector, a person with those of their identifiers that are of use. Raises ``Missed`` when none is, and for a
    session where it is the person who has to be known."""
    if isinstance(selector, KnownSession) and measure is not Measure.END_SESSIONS:
        raise Missed("subject_unresolvable")
    if not isinstance(selector, Person):
        return selector
    kept: list[Subject] = []
    missed: Missed | None = None
    for subject in selector.subjects:
        try:
            if isinstance(subject, EmailSubject):
                _address(house, connection, subject)
            else:
                issuer_of(house, connection, subject)
        except Missed as reason:
            missed = missed or reason
        else:
            kept.append(subject)
    if missed is not None and not kept:
        raise missed
    return Person(kept[0], tuple(kept[1:]))


def addresses_in(house: House, selector: Selector | None, connection: str | None) -> tuple[str, ...]:
    """The e-mail addresses by which somebody is meant. Raises ``Missed`` as :func:`resolvable` does."""
    subjects = selector.subjects if isinstance(selector, Person) else ()
    found = [_address(house, connection, each) for each in subjects if isinstance(each, EmailSubject)]
    return tuple(dict.fromkeys(found))


async def bearers(house: House, addresses: Sequence[str], measure: Measure) -> Sequence[str]:
    """The ids of the users who have one of the e-mail addresses that are meant.

    Sessions end of whoever bears it. An account is closed only where somebody vouches that the address is theirs: it
    may have been given to somebody else since, or never have been.
    """
    found: list[User] = []
    for email in addresses:
        found += await _find(house, email)
    meant = [user.id for user in found if user.email_verified or measure is not Measure.CLOSE_ACCOUNT]
    return tuple(dict.fromkeys(meant))


async def _find(house: House, email: str) -> Sequence[User]:
    async def find(tx: Transaction) -> Sequence[User]:
        return [] if tx.users is None else await tx.users.find(email=email)

    outside = house.users
    return await house.ledger.transaction(find) if outside is None else await outside.find(email=email)


def issuer_of(house: House, name: str | None, subject: IdentitySubject) -> str:
    """The issuer under which this person would be linked. Raises ``Missed``.

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
        raise Missed("subject_unresolvable")
    return found


def _address(house: House, name: str | None, subject: EmailSubject) -> str:
    email = plain_email(subject.email)
    domains = next((each.verified_domains for each in house.settings.connections if each.name == name), ())
    if email is None or domain_of(email) not in domains:
        raise Missed("subject_foreign")
    return email
