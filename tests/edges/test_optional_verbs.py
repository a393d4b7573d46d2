"""The optional verbs of a user store, reached or made up for, in each cell of world and store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jit_middleware.bridge import World, users_face
from jit_middleware.errors import ConfigurationError, StoreUnavailable
from jit_middleware.model import User
from tests.edges.test_faces import AsyncStore, SyncStore, run_in

ANN = User("7", "ann")


class Full(SyncStore):
    """A sync store that offers everything."""

    def has_password(self, user_id: str) -> bool:
        self._note("has_password", user_id)
        return False

    def check_password(self, user_id: str, password: str) -> bool:
        self._note("check_password", user_id, password)
        return True

    def revoke_credentials(self, user_id: str) -> None:
        self._note("revoke_credentials", user_id)

    def delete(self, user_id: str) -> None:
        self._note("delete", user_id)

    def list_users(self, *, after: str | None = None, limit: int = 1000) -> list[User]:
        self._note("list_users", after, limit)
        return [ANN]


class AsyncFull(AsyncStore):
    """The same, async."""

    async def has_password(self, user_id: str) -> bool:
        await asyncio.sleep(0)
        return Full.has_password(self, user_id)  # type: ignore[arg-type]

    async def check_password(self, user_id: str, password: str) -> bool:
        await asyncio.sleep(0)
        return Full.check_password(self, user_id, password)  # type: ignore[arg-type]

    async def revoke_credentials(self, user_id: str) -> None:
        Full.revoke_credentials(self, user_id)  # type: ignore[arg-type]

    async def delete(self, user_id: str) -> None:
        Full.delete(self, user_id)  # type: ignore[arg-type]

    async def list_users(self, *, after: str | None = None, limit: int = 1000) -> list[User]:
        return Full.list_users(self, after=after, limit=limit)  # type: ignore[arg-type]


CELLS: list[tuple[World, type[SyncStore]]] = [("wsgi", Full), ("asgi", Full), ("asgi", AsyncFull)]
PLAIN: list[tuple[World, type[SyncStore]]] = [("wsgi", SyncStore), ("asgi", SyncStore), ("asgi", AsyncStore)]


@pytest.mark.parametrize(("world", "kind"), CELLS)
def test_optional_verbs_reach_the_store(world: World, kind: type[SyncStore]) -> None:
    store = kind()
    face = users_face(store, world)

    async def work() -> list[Any]:
        return [
            await face.has_password("7"),
            await face.check_password("7", "pw"),
            await face.revoke_credentials("7"),
            await face.delete("7"),
            await face.list_users(after="6", limit=2),
        ]

    assert (face.checks_passwords, face.lists_users) == (True, True)
    assert run_in(world, work) == [False, True, None, None, [ANN]]
    assert store.calls == [
        ("has_password", "7"),
        ("check_password", "7", "pw"),
        ("revoke_credentials", "7"),
        ("delete", "7"),
        ("list_users", "6", 2),
    ]


@pytest.mark.parametrize(("world", "kind"), PLAIN)
def test_a_store_without_them_has_no_passwords_and_lists_nobody(world: World, kind: type[SyncStore]) -> None:
    store = kind()
    face = users_face(store, world)

    async def work() -> list[Any]:
        return [
            await face.has_password("7"),
            await face.check_password("7", ""),
            await face.revoke_credentials("7"),
            await face.delete("7"),
            await face.list_users(),
        ]

    assert (face.checks_passwords, face.lists_users) == (False, False)
    assert run_in(world, work) == [False, False, None, None, ()]
    assert store.calls == []


def test_a_store_that_checks_passwords_and_does_not_say_who_has_one_has_them_all() -> None:
    class Checking(SyncStore):
        def check_password(self, user_id: str, password: str) -> bool:
            return False

    assert run_in("wsgi", lambda: users_face(Checking(), "wsgi").has_password("7")) is True


@pytest.mark.parametrize("answer", [None, 0, 1, "no", []])
def test_only_a_plain_no_is_no_password_and_only_a_plain_yes_the_right_one(answer: object) -> None:
    class Odd(SyncStore):
        def has_password(self, user_id: str) -> object:
            return answer

        def check_password(self, user_id: str, password: str) -> object:
            return answer

    face = users_face(Odd(), "wsgi")
    assert run_in("wsgi", lambda: face.has_password("7")) is True
    assert run_in("wsgi", lambda: face.check_password("7", "pw")) is False


@pytest.mark.parametrize("world", ["wsgi", "asgi"])
def test_what_an_optional_verb_raises_is_ours_and_holds_nothing_of_it(world: World) -> None:
    class Down(SyncStore):
        def check_password(self, user_id: str, password: str) -> bool:
            raise OSError(password)

    face = users_face(Down(), world)
    with pytest.raises(StoreUnavailable) as down:
        run_in(world, lambda: face.check_password("7", "secret words"))
    assert "secret words" not in str(down.value)


def test_an_optional_verb_of_the_other_kind_is_a_mix() -> None:
    class Mixed(SyncStore):
        async def revoke_credentials(self, user_id: str) -> None:
            """Async in a sync store."""

    with pytest.raises(ConfigurationError, match=r"mixes async verbs \(revoke_credentials\) with sync ones"):
        users_face(Mixed(), "asgi")
