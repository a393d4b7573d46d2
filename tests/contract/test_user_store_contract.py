"""The public contract, run on the default store on every database."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import pytest

from jit_middleware.errors import ConfigurationError, Conflict, NotProvisioned
from jit_middleware.model import Profile, ProfileChanges, User
from jit_middleware.ports import AsyncUserStore, UserStore
from jit_middleware.testing.calls import Calls, profile
from jit_middleware.testing.contract import UserStoreContract
from jit_middleware_sqlalchemy import AsyncSQLAlchemyUserStore, SQLAlchemyUserStore
from tests.contract.conftest import Rig

pytestmark = pytest.mark.real
T = TypeVar("T")


class TestDefaultStore(UserStoreContract):
    """Sync drivers through the sync face, async drivers through the async one."""

    @pytest.fixture
    def store(self, rig: Rig) -> UserStore | AsyncUserStore:
        self.rig = rig
        if rig.runner is None:
            return SQLAlchemyUserStore(rig.ledger)
        return AsyncSQLAlchemyUserStore(rig.ledger)

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        return self.rig.run(coroutine)

    def test_usernames_that_fold_alike_are_one_name(self, store: UserStore | AsyncUserStore) -> None:
        """Full-width, Kelvin sign, capitals, invisible letters and outer spaces make no second user of a name."""

        async def scenario(calls: Calls) -> None:
            await calls.create(profile("kim alice"))
            for number, same in enumerate(
                ("KIM ALICE", "\u212aim alice", "\uff4bim alice", "kim alice ", "kim\u200b alice", "\u202ekim alice")
            ):
                with pytest.raises(Conflict, match="username"):
                    await calls.create(profile(same, key=f"other-{number}"))

        self._play(store, scenario)

    def test_one_name_in_two_tenants_is_two_users(self, store: UserStore | AsyncUserStore) -> None:
        async def scenario(calls: Calls) -> None:
            one = await calls.create(Profile("k1", "ann", tenant="a"))
            two = await calls.create(Profile("k2", "ann", tenant="b"))
            assert {user.id: user.tenant for user in await calls.find(username="ANN")} == {one.id: "a", two.id: "b"}

        self._play(store, scenario)

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            (Profile("k", "a" * 256), "username_too_long"),
            (Profile("k", "\ufdfa" * 100), "username_too_long"),  # one character that NFKC makes eighteen
            (Profile("k", " \u200b "), "username_blank"),
            (Profile("k", ""), "username_blank"),
            (Profile("k", "a\x00b"), "username_not_storable"),
            (Profile("k", "a\ud800b"), "username_not_storable"),
            (Profile("k", "a", email="a" * 321), "email_too_long"),
            (Profile("k", "a", email="a\x00@b"), "email_not_storable"),
            (Profile("k", "a", display_name="a" * 513), "display_name_too_long"),
            (Profile("k" * 256, "a"), "provisioning_key_too_long"),
            (Profile("k", "a", tenant="t" * 65), "tenant_too_long"),
            (Profile("k", "a", attributes={"x": float("nan")}), "attributes_not_storable"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_name(
        self, store: UserStore | AsyncUserStore, wanted: Profile, reason: str
    ) -> None:
        """Nothing is cut to fit: a shorter name may be somebody else's."""

        async def scenario(calls: Calls) -> None:
            with pytest.raises(NotProvisioned) as refused:
                await calls.create(wanted)
            assert refused.value.reason == reason
            assert list(await calls.find(username="a")) == []

        self._play(store, scenario)

    def test_the_longest_values_come_back_whole(self, store: UserStore | AsyncUserStore) -> None:
        async def scenario(calls: Calls) -> None:
            wanted = Profile(
                "k" * 255,
                "\U0001f600" * 255,
                "e" * 308 + "@example.org",
                True,
                "\U0001f600" * 512,
                {"a": "x" * 100_000},
            )
            made = await calls.create(wanted)
            found = await calls.get(made.id)
            assert found == made
            assert found is not None
            assert (found.username, found.email, found.display_name) == (
                wanted.username,
                wanted.email,
                wanted.display_name,
            )
            assert found.attributes == wanted.attributes

        self._play(store, scenario)

    def test_an_update_that_does_not_fit_changes_nothing(self, store: UserStore | AsyncUserStore) -> None:
        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", email="ann@example.org"))
            with pytest.raises(NotProvisioned, match="email_too_long"):
                await calls.update(made.id, ProfileChanges(display_name="Ann", email="a" * 321))
            assert await calls.get(made.id) == made

        self._play(store, scenario)


def test_forty_people_at_once_are_forty_users(rig: Rig) -> None:
    """The locks of the race on one name must not stand in the way of others."""
    store = AsyncSQLAlchemyUserStore(rig.ledger)
    made = rig.together([lambda number=number: store.create(profile(f"user{number}")) for number in range(40)])  # type: ignore[misc]
    assert all(isinstance(user, User) for user in made), [one for one in made if not isinstance(one, User)]
    assert len({user.id for user in made if isinstance(user, User)}) == 40


def test_forty_identities_that_want_one_name_make_one_user(rig: Rig) -> None:
    """One of them gets the name, the others a conflict; nobody gets another's user."""
    store = AsyncSQLAlchemyUserStore(rig.ledger)
    made = rig.together(
        [lambda number=number: store.create(profile("ann", key=f"key{number}")) for number in range(40)]
    )  # type: ignore[misc]
    assert len([one for one in made if isinstance(one, User)]) == 1
    assert {one.reason for one in made if isinstance(one, Conflict)} == {"username"}
    assert not [one for one in made if not isinstance(one, User | Conflict)]


def test_the_sync_face_refuses_an_async_driver(rig: Rig) -> None:
    if rig.runner is None:
        assert SQLAlchemyUserStore(rig.ledger).get("nobody") is None
        return
    with pytest.raises(ConfigurationError, match="JIT_DATABASE_URL"):
        SQLAlchemyUserStore(rig.ledger)


def test_a_reader_of_users_takes_no_write_lock(rig: Rig) -> None:
    """``get`` and ``find`` answer while another transaction holds its locks."""
    store = AsyncSQLAlchemyUserStore(rig.ledger)
    user = rig.run(store.create(profile("ann", email="ann@example.org")))
    begin = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN", "mariadb": "START TRANSACTION"}[rig.kind]

    async def read_beside_a_writer() -> tuple[User | None, list[User]]:
        held, go = rig.ledger.database, rig.ledger.database.use
        await go(lambda connection: connection.exec_driver_sql("SELECT 1").close())
        writer = held.engine.connect() if not held.is_async else None
        if writer is None:
            return await store.get(user.id), list(await store.find(email="ANN@example.org"))
        with writer:
            writer.exec_driver_sql(begin)
            writer.exec_driver_sql("UPDATE jit_users SET display_name = 'held'")
            found = await store.get(user.id), list(await store.find(email="ANN@example.org"))
            writer.exec_driver_sql("ROLLBACK")
            return found

    assert rig.run(read_beside_a_writer()) == (user, [user])
