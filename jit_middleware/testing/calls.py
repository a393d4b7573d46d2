"""Calling either kind of user store in one way, for the contract that proves it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from typing import TypeGuard, TypeVar, cast

from jit_middleware.model import NO_CLAIMS, Claims, Profile, ProfileChanges, User
from jit_middleware.ports import AsyncUserStore, UserStore

T = TypeVar("T")


class Calls:
    """The verbs of either kind of store, awaitable."""

    def __init__(self, store: UserStore | AsyncUserStore) -> None:
        self._store = store

    async def get(self, user_id: str) -> User | None:
        """See ``UserStore.get``."""
        return await _answer(self._store.get(user_id))

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """See ``UserStore.find``; with only the arguments that are given."""
        if email is None and username is None:
            return await _answer(self._store.find())
        if username is None:
            return await _answer(self._store.find(email=email))
        return await _answer(self._store.find(username=username))

    async def create(self, profile: Profile) -> User:
        """See ``UserStore.create``."""
        return await _answer(self._store.create(profile))

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        """See ``UserStore.update``."""
        return await _answer(self._store.update(user_id, changes))

    async def set_active(self, user_id: str, active: bool) -> None:
        """See ``UserStore.set_active``."""
        await _answer(self._store.set_active(user_id, active))

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """The optional verb; a store that keeps roles must have it."""
        verb: object = getattr(self._store, "set_roles", None)
        assert callable(verb), "a store that keeps roles needs set_roles (or keeps_roles = False in its test class)"
        answer: object = verb(user_id, roles)
        if inspect.isawaitable(answer):
            await answer

    async def optional(self, name: str, *arguments: object) -> object:
        """What an optional verb answers."""
        verb: object = getattr(self._store, name, None)
        assert callable(verb), f"this store lacks {name}"
        answer: object = verb(*arguments)
        return await answer if inspect.isawaitable(answer) else answer

    async def list_users(self, *, after: str | None, limit: int) -> Sequence[User]:
        """See ``Users.list_users``."""
        verb: object = getattr(self._store, "list_users", None)
        assert callable(verb), "this store lacks list_users"
        answer: object = verb(after=after, limit=limit)
        found: object = await answer if inspect.isawaitable(answer) else answer
        assert isinstance(found, Sequence), "list_users must answer with a list"
        return cast("Sequence[User]", found)


def profile(
    username: str = "ann",
    *,
    key: str | None = None,
    email: str | None = None,
    display_name: str | None = None,
    attributes: Claims = NO_CLAIMS,
    roles: tuple[str, ...] = (),
) -> Profile:
    """A profile to create; its provisioning key follows the name unless given."""
    return Profile(
        provisioning_key=key if key is not None else f"key of {username}",
        username=username,
        email=email,
        email_verified=email is not None,
        display_name=display_name,
        attributes=attributes,
        roles=roles,
    )


def is_conflict(problem: Exception | None) -> bool:
    """Whether this is a ``Conflict``: ours, or any exception class of that name (an adapter need not import us)."""
    return problem is not None and any(kind.__name__ == "Conflict" for kind in type(problem).__mro__)


async def refusal(call: Awaitable[object]) -> Exception | None:
    """What the call raises, or ``None``; an adapter may raise what it likes, so everything is looked at."""
    with _Catch() as caught:
        await call
    return caught.problem


def is_sync(store: UserStore | AsyncUserStore) -> TypeGuard[UserStore]:
    """Whether the verbs answer at once."""
    return not inspect.iscoroutinefunction(store.get)


class _Catch:
    """Holds whatever was raised inside."""

    def __init__(self) -> None:
        self.problem: Exception | None = None

    def __enter__(self) -> _Catch:
        return self

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> bool:
        if not isinstance(problem, Exception):
            return False
        self.problem = problem
        return True


async def _answer(value: T | Awaitable[T]) -> T:
    if inspect.isawaitable(value):
        found: T = await value
        return found
    return value
