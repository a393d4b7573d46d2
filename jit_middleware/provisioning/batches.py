"""Batches of prelinks: an operator's list of who is who, judged row by row and taken whole or not at all.

Nothing here asks an app's own user store: the users that a list names are looked up before, outside the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jit_middleware.audit import session_ended
from jit_middleware.model import AuditEvent, IdentityLink, Prelink, Status, User
from jit_middleware.ports import Transaction, Users
from jit_middleware.provisioning.prelinks import email_key, subject_key
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.records import dataclass

_OPEN: Final = frozenset({Status.ACTIVE, Status.INVITED})
_LONGEST_SUBJECT: Final = 255


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list: a user by id, username or address, and the subject or the address at the provider."""

    line: int
    user: str
    subject: str | None = None
    email: str | None = None
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the prelinks of a batch count, until when, and how the batch is called. Times are seconds."""

    connection: str
    tenant: str
    issuer: str | None
    verified_domains: tuple[str, ...]
    batch: str
    at: int
    until: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A row with the prelink that it makes, or the ``reason`` why it makes none."""

    row: Row
    prelink: Prelink | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Undone:
    """What there was of a batch: prelinks that nobody had used, and the users of the others, with their links."""

    unused: tuple[Prelink, ...]
    used: tuple[Prelink, ...]
    links: tuple[IdentityLink, ...]


async def look_up(users: Users, names: Sequence[str]) -> Mapping[str, tuple[User, ...]]:
    """The users that each name may mean: the one with that id, else all with that username or address."""
    found: dict[str, tuple[User, ...]] = {}
    for name in dict.fromkeys(names):
        by_id = await users.get(name)
        if by_id is not None:
            found[name] = (by_id,)
            continue
        named = [*await users.find(username=name), *await users.find(email=name)]
        found[name] = tuple({user.id: user for user in named}.values())
    return found


async def judge_rows(
    tx: Transaction, rows: Sequence[Row], users: Mapping[str, tuple[User, ...]], place: Place
) -> list[Judged]:
    """Every row with its prelink or the reason why not, in order."""
    judged: list[Judged] = []
    taken: set[str] = set()
    for row in rows:
        user = _the_user(users.get(row.user, ()), place)
        key = _key_of(row, place)
        if isinstance(user, str):
            judged.append(Judged(row, None, user))
        elif isinstance(key, _No):
            judged.append(Judged(row, None, key.reason))
        elif user.id in taken or key in taken:
            judged.append(Judged(row, None, "repeated_user" if user.id in taken else "repeated_identity"))
        else:
            taken |= {user.id, key}
            reason = await _known_otherwise(tx, row, user, key, place)
            made = None if reason else _prelink(row, user, key, place)
            judged.append(Judged(row, made, reason))
    return judged


async def add_batch(
    tx: Transaction, judged: Sequence[Judged], place: Place, *, actor: str, event_id: str
) -> Sequence[Prelink]:
    """Write the batch, with its event. The caller has seen that no row was refused."""
    made = [each.prelink for each in judged if each.prelink is not None]
    await tx.drop_prelinks([prelink.key for prelink in made])  # what is still there is over: judge_rows has looked
    await tx.add_prelinks(made)
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type="adoption.prelinked",
            at=place.at,
            tenant=place.tenant,
            connection=place.connection,
            data={"actor": actor, "batch": place.batch, "prelinks": len(made), "until": place.until},
        )
    )
    return made


async def find_batch(tx: Transaction, batch: str) -> Undone | None:
    """What there is of a batch; ``None`` when there is none of that name."""
    prelinks = await tx.list_prelinks(batch=batch)
    if not prelinks:
        return None
    used = tuple(prelink for prelink in prelinks if prelink.used_at is not None)
    links: list[IdentityLink] = []
    for prelink in used:
        # An account has at most one identity of a connection.
        links += [link for link in await tx.list_links(prelink.user_id) if link.connection == prelink.connection]
    return Undone(tuple(prelink for prelink in prelinks if prelink.used_at is None), used, tuple(links))


async def undo_batch(
    tx: Transaction, batch: str, found: Undone, *, unlink: bool, actor: str, at: int, event_id: str
) -> None:
    """Forget the prelinks that nobody has used; with ``unlink`` also the links that the others made, whose sessions end
    at once."""
    gone = [*found.unused, *(found.used if unlink else ())]
    await tx.drop_prelinks([prelink.key for prelink in gone])
    for number, link in enumerate(found.links if unlink else ()):
        await _unlink(tx, link, actor=actor, at=at, event_id=f"{event_id}-{number}")
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type="adoption.undone",
            at=at,
            tenant=(*found.unused, *found.used)[0].tenant,
            connection=(*found.unused, *found.used)[0].connection,
            data={
                "actor": actor,
                "batch": batch,
                "prelinks_dropped": len(gone),
                "identities_unlinked": len(found.links) if unlink else 0,
            },
        )
    )


async def _unlink(tx: Transaction, link: IdentityLink, *, actor: str, at: int, event_id: str) -> None:
    await tx.drop_link(link)
    ended = await tx.end_sessions(at, user_id=link.user_id, connection=link.connection)
    for number, session in enumerate(ended):
        await tx.append_audit(session_ended(session, id=f"{event_id}-{number}", at=at, cause="unlinked", by=actor))
    await tx.append_audit(
        AuditEvent(
            id=event_id,
            type="identity.unlinked",
            at=at,
            tenant=link.tenant,
            user_id=link.user_id,
            connection=link.connection,
            data={"actor": actor, "sessions_ended": len(ended)},
        )
    )


# --- one row ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _No:
    """Why a row names no identity."""

    reason: str


def _the_user(found: tuple[User, ...], place: Place) -> User | str:
    if len(found) != 1:
        return "user_ambiguous" if found else "user_unknown"
    (user,) = found
    if user.tenant != place.tenant:
        return "other_tenant"
    return user if user.status in _OPEN else f"account_{user.status.value}"


def _key_of(row: Row, place: Place) -> str | _No:
    if (row.subject is None) == (row.email is None):
        return _No("subject_or_email")
    if row.subject is not None:
        if not _is_subject(row.subject):
            return _No("subject_unusable")
        return subject_key(place.tenant, place.connection, row.issuer or place.issuer, row.subject)
    address = plain_email(row.email or "")
    if address is None:
        return _No("email_unusable")
    if domain_of(address) not in place.verified_domains:
        return _No("foreign_domain")
    return email_key(place.tenant, place.connection, address)


def _is_subject(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_SUBJECT and bool(text.strip()) and text.isprintable()


async def _known_otherwise(tx: Transaction, row: Row, user: User, key: str, place: Place) -> str:
    """What the ledger has against it; empty when nothing."""
    account = await tx.find_account(user.id)
    if account is not None and account.status not in _OPEN:
        return f"account_{account.status.value}"
    if any(link.connection == place.connection for link in await tx.list_links(user.id)):
        return "already_linked"
    issuer = row.issuer or place.issuer
    if row.subject is not None and issuer is not None:
        if await tx.find_link(place.connection, issuer, row.subject) is not None:
            return "identity_linked"
        if await tx.is_tombstoned(place.connection, issuer, row.subject):
            return "identity_tombstoned"
    prepared = [
        *await tx.find_prelinks((key,)),
        *(each for each in await tx.list_prelinks(user_id=user.id) if each.connection == place.connection),
    ]
    waiting = any(each.used_at is None and each.until > place.at for each in prepared)
    return "prelink_exists" if waiting else ""


def _prelink(row: Row, user: User, key: str, place: Place) -> Prelink:
    return Prelink(
        key=key,
        kind="email" if row.subject is None else "subject",
        connection=place.connection,
        user_id=user.id,
        batch=place.batch,
        created_at=place.at,
        until=place.until,
        tenant=place.tenant,
    )
