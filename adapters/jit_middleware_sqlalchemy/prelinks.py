"""Whom an operator has tied to an account before the first login, and the untying of a link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, cast

from sqlalchemy import bindparam, delete, insert, or_, select, update

from jit_middleware.model import IdentityLink, Prelink
from jit_middleware_sqlalchemy.lean import Fixed
from jit_middleware_sqlalchemy.rows import digest, is_plain, number, storable
from jit_middleware_sqlalchemy.schema import (
    CONNECTION,
    NAME,
    TENANT,
    USER_ID,
    audit,
    identity_links,
    once_keys,
    prelinks,
)
from jit_middleware_sqlalchemy.unit import Unit

_TABLES: Final = frozenset({prelinks})
_COLUMNS: Final = (
    prelinks.c.prelink_key,
    prelinks.c.kind,
    prelinks.c.connection,
    prelinks.c.user_id,
    prelinks.c.batch,
    prelinks.c.created_at,
    prelinks.c.until,
    prelinks.c.tenant_id,
    prelinks.c.used_at,
)
_FIND: Final = select(*_COLUMNS).where(prelinks.c.prelink_key.in_(bindparam("keys", expanding=True)))
# As many as one identity can be found by: asked at every first login.
_FEW: Final[tuple[str, ...]] = ("a", "b", "c")
_FIND_FEW: Final = Fixed(select(*_COLUMNS).where(or_(*(prelinks.c.prelink_key == bindparam(name) for name in _FEW))))
_USE: Final = (
    update(prelinks)
    .where(
        prelinks.c.prelink_key == bindparam("wanted"), prelinks.c.used_at.is_(None), prelinks.c.until > bindparam("at")
    )
    .values(used_at=bindparam("at"))
)
_AUDIT: Final = frozenset({audit})
_HAS_EVENT: Final = select(audit.c.seq).where(audit.c.once == bindparam("once"))
_IS_TAKEN: Final = select(once_keys.c.once_key).where(once_keys.c.once_key == bindparam("key"))
#: Keys in one statement, and rows in one insert: far below every database's limit of parameters.
_AT_ONCE: Final = 50


class PrelinkVerbs:
    """The verbs of a transaction that know prelinks; :class:`~jit_middleware_sqlalchemy.transaction.Tx` has them."""

    unit: Unit
    #: Whether there is any prelink; false only where this unit of work has seen that there is none.
    has_prelinks = True

    async def find_prelinks(self, keys: Sequence[str]) -> Sequence[Prelink]:
        """The prelinks with these keys, used or not, in the order of the keys; one read for up to fifty, and none where
        nobody is prelinked."""
        if not self.has_prelinks:
            return []
        found: dict[str, Prelink] = {}
        for part in _parts([key for key in dict.fromkeys(keys) if is_plain(key, 64)]):
            if len(part) <= len(_FEW):
                few = [*part, *[part[-1]] * len(_FEW)]
                rows = self.unit.read(_FIND_FEW, dict(zip(_FEW, few, strict=False)), _TABLES)
            else:
                rows = self.unit.read(_FIND, {"keys": part}, _TABLES)
            found.update((prelink.key, prelink) for prelink in map(_read, rows))
        return [found[key] for key in dict.fromkeys(keys) if key in found]

    async def list_prelinks(
        self, *, batch: str | None = None, user_id: str | None = None, limit: int = 100_000
    ) -> Sequence[Prelink]:
        """Prelinks, used or not, oldest first; of one batch or of one user if that is given."""
        statement = select(*_COLUMNS).order_by(prelinks.c.created_at, prelinks.c.prelink_key).limit(limit)
        if batch is not None:
            if not is_plain(batch, 64):
                return []
            statement = statement.where(prelinks.c.batch == batch)
        if user_id is not None:
            if not is_plain(user_id, USER_ID):
                return []
            statement = statement.where(prelinks.c.user_id == user_id)
        return [_read(row) for row in self.unit.read(statement, {}, _TABLES)]

    async def add_prelinks(self, wanted: Sequence[Prelink]) -> None:
        """Raises ``Conflict("prelink")`` when a key is there already."""
        self.has_prelinks = True
        for start in range(0, len(wanted), _AT_ONCE):
            rows = [
                {
                    "prelink_key": storable("prelink_key", prelink.key, 64),
                    "tenant_id": storable("tenant", prelink.tenant, TENANT),
                    "connection": storable("connection", prelink.connection, CONNECTION),
                    "kind": prelink.kind,
                    "user_id": storable("user_id", prelink.user_id, USER_ID),
                    "batch": storable("batch", prelink.batch, 64),
                    "created_at": prelink.created_at,
                    "until": prelink.until,
                    "used_at": prelink.used_at,
                }
                for prelink in wanted[start : start + _AT_ONCE]
            ]
            self.unit.write_now(insert(prelinks).values(rows), {})

    async def use_prelink(self, key: str, at: int) -> bool:
        """Take it; true for the one caller that did, while it lasts."""
        return is_plain(key, 64) and self.unit.write_now(_USE, {"wanted": key, "at": at}) == 1

    async def drop_prelinks(self, keys: Sequence[str]) -> int:
        """Forget these; how many there were."""
        return sum(
            self.unit.write_now(delete(prelinks).where(prelinks.c.prelink_key.in_(part)), {}) for part in _parts(keys)
        )

    async def has_event(self, once: str) -> bool:
        """Whether an event with this ``once`` key is in the trail."""
        return is_plain(once, NAME) and bool(self.unit.read(_HAS_EVENT, {"once": once}, _AUDIT))

    async def is_taken(self, purpose: str, key: str) -> bool:
        """Whether this one-use key was taken by a unit of work that is committed, or by this one."""
        once_key = digest(purpose, key)
        if any(row["once_key"] == once_key for row in self.unit.queue.once):
            return True
        return bool(self.unit.read(_IS_TAKEN, {"key": once_key}, frozenset()))

    async def drop_link(self, link: IdentityLink) -> bool:
        """Untie this identity from its user; false when it was not tied."""
        key = digest(link.connection, link.issuer, link.subject)
        return self.unit.write_now(delete(identity_links).where(identity_links.c.identity_key == key), {}) == 1


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))


def _read(row: Sequence[object]) -> Prelink:
    return Prelink(
        key=str(row[0]),
        kind=cast("Literal['subject', 'email', 'invitation']", str(row[1])),
        connection=str(row[2]),
        user_id=str(row[3]),
        batch=str(row[4]),
        created_at=number(row[5]),
        until=number(row[6]),
        tenant=str(row[7]),
        used_at=None if row[8] is None else number(row[8]),
    )
