"""A user store, sync or async, as the core awaits it: every verb is there, whatever the store itself offers.

How a verb is called (here, in a thread, or awaited) and what becomes of an exception is the bridge's matter: it hands
in ``ask``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, cast

from jit_middleware.model import Profile, ProfileChanges, User
from jit_middleware.ports import AsyncUserStore, UserStore

#: Calls a verb of the store and awaits what it answers.
Ask: TypeAlias = Callable[[Callable[[], object]], Awaitable[object]]
_Verb: TypeAlias = Callable[..., object]

VERBS: Final = ("get", "find", "create", "update", "set_active")
OPTIONAL_VERBS: Final = (
    "set_roles", "has_password", "check_password", "revoke_credentials", "delete", "list_users",
)  # fmt: skip


def offered_verbs(store: UserStore | AsyncUserStore) -> list[str]:
    """The verbs that this store has."""
    return [verb for verb in (*VERBS, *OPTIONAL_VERBS) if callable(getattr(store, verb, None))]


class StoreUsers:
    """:class:`~jit_middleware.ports.Users` over a store of the app."""

    def __init__(self, store: UserStore | AsyncUserStore, ask: Ask) -> None:
        self._store = store
        self._ask = ask
        self._offered = frozenset(offered_verbs(store))

    @property
    def checks_passwords(self) -> bool:
        """Whether the store has ``check_password``."""
        return "check_password" in self._offered

    @property
    def lists_users(self) -> bool:
        """Whether the store has ``list_users``."""
        return "list_users" in self._offered

    async def get(self, user_id: str) -> User | None:
        return cast("User | None", await self._ask(lambda: self._store.get(user_id)))

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        return cast("Sequence[User]", await self._ask(lambda: self._store.find(email=email, username=username)))

    async def create(self, profile: Profile) -> User:
        return cast("User", await self._ask(lambda: self._store.create(profile)))

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        return cast("User", await self._ask(lambda: self._store.update(user_id, changes)))

    async def set_active(self, user_id: str, active: bool) -> None:
        await self._ask(lambda: self._store.set_active(user_id, active))

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        if "set_roles" in self._offered:
            await self._call("set_roles", user_id, roles)

    async def has_password(self, user_id: str) -> bool:
        if "has_password" in self._offered:
            # Whatever is not a plain no is taken for a password: it keeps an account from being linked unasked.
            return await self._call("has_password", user_id) is not False
        return self.checks_passwords

    async def check_password(self, user_id: str, password: str) -> bool:
        return self.checks_passwords and await self._call("check_password", user_id, password) is True

    async def revoke_credentials(self, user_id: str) -> None:
        if "revoke_credentials" in self._offered:
            await self._call("revoke_credentials", user_id)

    async def delete(self, user_id: str) -> None:
        if "delete" in self._offered:
            await self._call("delete", user_id)

    async def list_users(self, *, after: str | None = None, limit: int = 1000) -> Sequence[User]:
        if not self.lists_users:
            return ()
        verb = cast("_Verb", getattr(self._store, "list_users"))  # noqa: B009 - optional, so not in the Protocol
        return cast("Sequence[User]", await self._ask(lambda: verb(after=after, limit=limit)))

    async def _call(self, name: str, *arguments: object) -> object:
        verb = cast("_Verb", getattr(self._store, name))
        return await self._ask(lambda: verb(*arguments))
