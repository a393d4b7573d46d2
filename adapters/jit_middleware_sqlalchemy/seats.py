"""Counting under a lock: how many accounts of a tenant hold a seat, how many were made lately."""

from __future__ import annotations

from typing import Final

from jit_middleware.model import Account, IdentityLink
from jit_middleware_sqlalchemy import queries
from jit_middleware_sqlalchemy.rows import digest, number, read_account, storable
from jit_middleware_sqlalchemy.schema import TENANT, identity_links, tenant_locks, users
from jit_middleware_sqlalchemy.unit import Unit
from jit_middleware_sqlalchemy.writes import Shape, Write

_TABLES: Final = frozenset({users, identity_links})
_LOCK: Final = Shape("insert_new", tenant_locks.name)


class SeatVerbs:
    """The verbs of a transaction that count; :class:`~jit_middleware_sqlalchemy.transaction.Tx` has them.

    At read committed a count sees what others have committed when it runs, so one that must stay true until the commit
    runs after the lock of the tenant was taken, which everybody takes who counts in order to write.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._held: set[str] = set()

    async def hold_tenant(self, tenant: str) -> None:
        """Take the tenant's lock, before anything held back is sent; on SQLite the unit has the one write lock."""
        if tenant in self._held:
            return
        self.unit.begin()
        wanted = {"tenant": storable("tenant", tenant, TENANT)}
        if not self.unit.read(queries.HOLD_TENANT, wanted, frozenset()):
            self.unit.write_alone(Write(_LOCK, ({"tenant_id": tenant},)))
            self.unit.read(queries.HOLD_TENANT, wanted, frozenset())
        self._held.add(tenant)

    async def has_moved(self, account: Account) -> bool:
        """Whether its row says something else than was read; nothing held back is sent for this."""
        rows = self.unit.read(queries.FIND_ACCOUNT, {"user": account.user_id}, frozenset())
        now = read_account(rows, 0) if rows else None
        return now is not None and (now.status, now.held_from) != (account.status, account.held_from)

    async def count_seats(self, tenant: str, *, since: int, besides: IdentityLink | None = None) -> int:
        """Seats held, and users being made; what this unit holds back is sent before."""
        other = "" if besides is None else digest(besides.connection, besides.issuer, besides.subject)
        wanted = {"tenant": tenant, "since": since, "besides": other}
        return number(self.unit.read(queries.COUNT_SEATS, wanted, _TABLES)[0][0])

    async def count_created(self, tenant: str, *, since: int, besides: IdentityLink | None = None) -> int:
        """Users made, and being made; what this unit holds back is sent before."""
        other = "" if besides is None else digest(besides.connection, besides.issuer, besides.subject)
        wanted = {"tenant": tenant, "since": since, "besides": other}
        return number(self.unit.read(queries.COUNT_CREATED, wanted, _TABLES)[0][0])
