"""What the core asks of a transaction about the lifecycle of accounts and the seats they hold."""

from __future__ import annotations

from typing import Protocol

from jit_middleware.model import Account, IdentityLink, Status


class SeatingVerbs(Protocol):
    """A part of :class:`~jit_middleware.ports.Transaction`."""

    async def set_lifecycle(self, user_id: str, status: Status, *, seat: bool, held_from: Status | None) -> None:
        """Move the account: its status, whether it holds a seat, and what it goes back to.

        Raises ``Conflict``, also from the commit, when its status or what it goes back to is not what was read.
        """
        ...

    async def has_moved(self, account: Account) -> bool:
        """Whether somebody else has moved this account since it was read here. What this unit has read or written of it
        stays as it is."""
        ...

    async def set_seat(self, user_id: str, seat: bool) -> None:
        """Give or take the seat of an account without moving it."""
        ...

    async def erase_account(self, user_id: str) -> None:
        """Forget the profile, the identities, the prelinks and the grants of an account; its id and status stay, and
        its username is free."""
        ...

    async def hold_tenant(self, tenant: str) -> None:
        """Let nobody else hold this tenant until this unit of work is over, so that what is counted stays true."""
        ...

    async def count_seats(self, tenant: str, *, since: int, besides: IdentityLink | None = None) -> int:
        """How many accounts of the tenant hold a seat, this unit's own included, together with the users that are being
        made in an outside store since then (open intents other than ``besides``)."""
        ...

    async def count_created(self, tenant: str, *, since: int, besides: IdentityLink | None = None) -> int:
        """How many users of the tenant were made since then, this unit's own and those being made included (open
        intents other than ``besides``)."""
        ...
