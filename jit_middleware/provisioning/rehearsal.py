"""A login played through without consequences: the real steps, and then the curtain falls instead of the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from jit_middleware.errors import Conflict
from jit_middleware.model import UNSET, Profile, ProfileChanges, User
from jit_middleware.ports import Transaction, Users
from jit_middleware.provisioning.arrival import Arrival


class CurtainFallen(Exception):
    """Ends a transaction that is only rehearsed: whatever it wrote is rolled back."""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__("rehearsed")
        self.arrival = arrival


async def curtain(_tx: Transaction, arrival: Arrival) -> NoReturn:
    """The ``finish`` of a rehearsal. Raises ``CurtainFallen``."""
    raise CurtainFallen(arrival)


def on_paper(profile: Profile) -> User:
    """The user that a store would make of this."""
    return User(
        id="(new)",
        username=profile.username,
        email=profile.email,
        display_name=profile.display_name,
        roles=profile.roles,
        attributes=profile.attributes,
        tenant=profile.tenant,
        status=profile.status,
        email_verified=profile.email_verified,
    )


async def check_name_is_free(users: Users, user: User) -> None:
    """Raises ``Conflict("username")`` where creating this user would."""
    if any(other.tenant == user.tenant for other in await users.find(username=user.username)):
        raise Conflict("username")


class OnPaper:
    """A user store that is read and not written; what would be written is answered."""

    def __init__(self, users: Users) -> None:
        self._users = users

    @property
    def checks_passwords(self) -> bool:
        return self._users.checks_passwords

    @property
    def lists_users(self) -> bool:
        return self._users.lists_users

    async def get(self, user_id: str) -> User | None:
        return await self._users.get(user_id)

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        return await self._users.find(email=email, username=username)

    async def create(self, profile: Profile) -> User:
        return on_paper(profile)

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        user = await self._users.get(user_id)
        if user is None:
            raise Conflict("user_unknown")
        return changed(user, changes)

    async def set_active(self, user_id: str, active: bool) -> None:
        """Nothing."""

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Nothing."""

    async def has_password(self, user_id: str) -> bool:
        return await self._users.has_password(user_id)

    async def check_password(self, user_id: str, password: str) -> bool:
        return await self._users.check_password(user_id, password)

    async def revoke_credentials(self, user_id: str) -> None:
        """Nothing."""

    async def delete(self, user_id: str) -> None:
        """Nothing."""

    async def list_users(self, *, after: str | None = None, limit: int = 1000) -> Sequence[User]:
        return await self._users.list_users(after=after, limit=limit)


def changed(user: User, changes: ProfileChanges) -> User:
    """The user with these changes."""
    return replace(
        user,
        username=user.username if changes.username is UNSET else changes.username,
        email=user.email if changes.email is UNSET else changes.email,
        email_verified=user.email_verified if changes.email_verified is UNSET else changes.email_verified,
        display_name=user.display_name if changes.display_name is UNSET else changes.display_name,
        attributes=user.attributes if changes.attributes is UNSET else changes.attributes,
    )
