"""What every user store must do, as a test class: give it a ``store`` and pytest proves your adapter.

::

    class TestMyStore(UserStoreContract):
        @pytest.fixture
        def store(self):
            yield MyUserStore(an_empty_database())

Sync and async stores pass the same suite. A store that does not keep everything says so with the class attributes; a
store tied to an event loop of its own overrides :meth:`UserStoreContract.run`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

from jit_middleware.model import ProfileChanges, Status, User
from jit_middleware.ports import AsyncUserStore, UserStore
from jit_middleware.testing.calls import Calls, is_conflict, is_sync, profile, refusal

T = TypeVar("T")

# What looks or folds alike: written down by code point, because that is the point.
LOOKALIKES = (
    ("kelvin@example.org", "\u212aelvin@example.org"),  # KELVIN SIGN, lower() makes it k
    ("mike@example.org", "m\u0131ke@example.org"),  # DOTLESS I, upper() makes it I
    ("MIKE@example.org", "m\u0130ke@example.org"),  # I WITH DOT ABOVE
    ("sam@example.org", "\u017fam@example.org"),  # LONG S, casefold() makes it s
    ("strasse@example.org", "stra\u00dfe@example.org"),  # SHARP S, casefold() makes it ss
    ("alice@example.org", "alic\u00e9@example.org"),  # an accent a collation ignores
    ("alice@example.org", "\uff41lice@example.org"),  # FULLWIDTH A, NFKC makes it a
    ("alice@example.org", "alice\u200b@example.org"),  # ZERO WIDTH SPACE
    ("caf\u00e9@example.org", "cafe\u0301@example.org"),  # composed and decomposed
    ("caf\u00e9@example.org", "CAF\u00c9@example.org"),  # non-ASCII case is not folded
)


class UserStoreContract:
    """Inherit, name the class ``Test…`` and provide a ``store`` fixture with no users in it."""

    keeps_attributes: ClassVar[bool] = True
    keeps_display_name: ClassVar[bool] = True
    keeps_roles: ClassVar[bool] = True
    simultaneous: ClassVar[int] = 40
    #: A password to give to a user (:meth:`give_password`), for a store that has passwords.
    password: ClassVar[str | None] = None

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run one scenario. Called once per test for an async store, never for a sync one."""
        return asyncio.run(coroutine)

    def give_password(self, store: UserStore | AsyncUserStore, user: User, password: str) -> None:
        """Give the user this password, as the app does; for a test class that names a ``password``."""
        raise NotImplementedError("a test class with a password says how a user gets one")

    # --- get --------------------------------------------------------------------------------------------------------

    def test_an_unknown_id_is_none(self, store: UserStore | AsyncUserStore) -> None:
        """``get`` answers ``None`` for what is no user, whatever it looks like."""

        async def scenario(calls: Calls) -> None:
            user = await calls.create(profile())
            for unknown in ("", "0", "-1", "no such user", user.id + "0", user.id + " ", "\u0661", "9" * 400):
                assert await calls.get(unknown) is None, f"get({unknown!r}) must be None"

        self._play(store, scenario)

    def test_a_created_user_is_there_afterwards(self, store: UserStore | AsyncUserStore) -> None:
        """``create`` returns the user that ``get`` returns later, with a text id."""

        async def scenario(calls: Calls) -> None:
            wanted = profile(email="Ann@Example.org", display_name="Ann Example", attributes={"team": ["a", {"b": 1}]})
            made = await calls.create(wanted)
            assert isinstance(made.id, str), "User.id must be text"
            assert made.id, "User.id must not be empty"
            assert made.username == wanted.username
            assert made.email == wanted.email, "the e-mail address is kept as it was given"
            assert made.status is Status.ACTIVE
            if self.keeps_display_name:
                assert made.display_name == wanted.display_name
            if self.keeps_attributes:
                assert dict(made.attributes) == dict(wanted.attributes)
            assert await calls.get(made.id) == made, "get must return what create returned"

        self._play(store, scenario)

    def test_users_without_an_email_address_are_different_users(self, store: UserStore | AsyncUserStore) -> None:
        """A missing e-mail address is no value that two users could share."""

        async def scenario(calls: Calls) -> None:
            one = await calls.create(profile("ann", email=None))
            two = await calls.create(profile("bob", email=None))
            assert one.id != two.id
            assert one.email is None
            assert list(await calls.find(email="")) == [], "an empty address finds nobody"

        self._play(store, scenario)

    # --- create -----------------------------------------------------------------------------------------------------

    def test_create_is_idempotent_on_the_provisioning_key(self, store: UserStore | AsyncUserStore) -> None:
        """The same key again returns the same user, even when the claims have changed meanwhile."""

        async def scenario(calls: Calls) -> None:
            first = await calls.create(profile("ann", key="key-1"))
            again = await calls.create(profile("ann", key="key-1"))
            renamed = await calls.create(profile("ann2", key="key-1", email="other@example.org"))
            assert first.id == again.id == renamed.id, "one provisioning key must never make two users"
            other = await calls.create(profile("bob", key="KEY-1"))
            assert other.id != first.id, "provisioning keys are compared byte for byte"

        self._play(store, scenario)

    def test_a_taken_username_is_a_conflict(self, store: UserStore | AsyncUserStore) -> None:
        """Another identity never gets, and never changes, the user whose name it asks for."""

        async def scenario(calls: Calls) -> None:
            first = await calls.create(profile("ann", key="key-1", email="ann@example.org"))
            problem = await refusal(calls.create(profile("ann", key="key-2", email="evil@example.org")))
            assert is_conflict(problem), f"a taken username must raise Conflict, not {problem!r}"
            assert await calls.get(first.id) == first, "the refused create must change nothing"
            assert list(await calls.find(email="evil@example.org")) == []

        self._play(store, scenario)

    def test_simultaneous_creates_for_one_key_make_one_user(self, store: UserStore | AsyncUserStore) -> None:
        """Forty first logins of one person at the same time: one user, and nobody fails."""
        wanted = profile("ann", key="key-1")
        if is_sync(store):
            with ThreadPoolExecutor(self.simultaneous) as pool:
                futures = [pool.submit(store.create, wanted) for _ in range(self.simultaneous)]
                ids = {future.result().id for future in futures}
        else:

            async def race() -> set[str]:
                calls = Calls(store)
                made = await asyncio.gather(*(calls.create(wanted) for _ in range(self.simultaneous)))
                return {user.id for user in made}

            ids = self.run(race())
        assert len(ids) == 1, f"one person became {len(ids)} users"

        async def scenario(calls: Calls) -> None:
            assert [user.id for user in await calls.find(username="ann")] == list(ids)

        self._play(store, scenario)

    # --- find -------------------------------------------------------------------------------------------------------

    def test_find_ignores_ascii_case_and_nothing_else(self, store: UserStore | AsyncUserStore) -> None:
        """An e-mail address is found in any ASCII case; spaces, wildcards and parts of it find nobody."""

        async def scenario(calls: Calls) -> None:
            ann = await calls.create(profile("Ann", email="Ann.Example@Example.ORG"))
            await calls.create(profile("bob", email="bob@example.org"))
            for spelling in ("ann.example@example.org", "ANN.EXAMPLE@EXAMPLE.ORG", "Ann.Example@Example.ORG"):
                assert [user.id for user in await calls.find(email=spelling)] == [ann.id], spelling
            for spelling in ("ann", "ANN", "Ann"):
                assert [user.id for user in await calls.find(username=spelling)] == [ann.id], spelling
            for other in (
                "ann.example@example.org ",
                " ann.example@example.org",
                "ann%",
                "%",
                "_nn.example@example.org",
            ):
                assert list(await calls.find(email=other)) == [], f"find(email={other!r}) must find nobody"
            for other in ("ann ", " ann", "a%", "%", "_nn", "an", "annn", ""):
                assert list(await calls.find(username=other)) == [], f"find(username={other!r}) must find nobody"
            assert list(await calls.find()) == [], "find() without a value finds nobody"

        self._play(store, scenario)

    def test_non_ascii_lookalikes_never_match(self, store: UserStore | AsyncUserStore) -> None:
        """``K`` (Kelvin), ``ı``, ``ſ``, ``ß``, accents, full-width and invisible letters are other addresses."""

        async def scenario(calls: Calls) -> None:
            for number, (address, lookalike) in enumerate(LOOKALIKES):
                user = await calls.create(profile(f"user{number}", email=address))
                assert user.id in {found.id for found in await calls.find(email=address)}
                assert user.id not in {found.id for found in await calls.find(email=lookalike)}, ascii(lookalike)
                backwards = await calls.create(profile(f"other{number}", email=lookalike))
                assert backwards.id in {found.id for found in await calls.find(email=lookalike)}, ascii(lookalike)
                assert backwards.id not in {found.id for found in await calls.find(email=address)}, ascii(lookalike)

        self._play(store, scenario)

    def test_a_username_lookalike_is_not_found(self, store: UserStore | AsyncUserStore) -> None:
        """A name that only folds or renders alike does not find the user."""

        async def scenario(calls: Calls) -> None:
            for name, lookalike in (
                ("kim", "\u212aim"),
                ("mike", "m\u0131ke"),
                ("alice", "\uff41lice"),
                ("sam", "\u017fam"),
            ):
                await calls.create(profile(name))
                assert list(await calls.find(username=lookalike)) == [], ascii(lookalike)

        self._play(store, scenario)

    def test_find_returns_everybody_with_the_address(self, store: UserStore | AsyncUserStore) -> None:
        """Two users with one address are both candidates: choosing among them is not the store's business."""

        async def scenario(calls: Calls) -> None:
            one = await calls.create(profile("ann", email="shared@example.org"))
            problem = await refusal(calls.create(profile("bob", email="Shared@example.org")))
            found = {user.id for user in await calls.find(email="shared@EXAMPLE.org")}
            if problem is None:
                assert len(found) == 2, "find must return every user with the address"
            else:
                assert is_conflict(problem), f"a store with unique addresses must raise Conflict, not {problem!r}"
                assert found == {one.id}

        self._play(store, scenario)

    # --- update -----------------------------------------------------------------------------------------------------

    def test_update_leaves_alone_what_is_not_set(self, store: UserStore | AsyncUserStore) -> None:
        """``UNSET`` fields keep their values; the id never changes."""

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", email="ann@example.org", display_name="Ann"))
            changed = await calls.update(made.id, ProfileChanges(email="ann@other.org"))
            assert (changed.id, changed.username, changed.display_name) == (made.id, made.username, made.display_name)
            assert changed.email == "ann@other.org"
            assert await calls.get(made.id) == changed, "update must return the user as it is then"
            assert list(await calls.find(email="ann@example.org")) == [], "the old address finds nobody any more"
            assert await calls.update(made.id, ProfileChanges()) == changed, "an empty change changes nothing"

        self._play(store, scenario)

    def test_update_with_none_clears(self, store: UserStore | AsyncUserStore) -> None:
        """``None`` takes the value away, which is not the same as leaving it."""

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", email="ann@example.org", display_name="Ann"))
            changed = await calls.update(made.id, ProfileChanges(email=None, display_name=None))
            assert changed.email is None
            assert not changed.display_name
            assert await calls.get(made.id) == changed
            assert list(await calls.find(email="ann@example.org")) == []

        self._play(store, scenario)

    def test_update_to_a_taken_username_is_a_conflict(self, store: UserStore | AsyncUserStore) -> None:
        """A rename never takes another user's name, and leaves both as they were."""

        async def scenario(calls: Calls) -> None:
            ann = await calls.create(profile("ann"))
            bob = await calls.create(profile("bob"))
            problem = await refusal(calls.update(bob.id, ProfileChanges(username="ann", display_name="Ann")))
            assert is_conflict(problem), f"a taken username must raise Conflict, not {problem!r}"
            assert await calls.get(ann.id) == ann
            assert await calls.get(bob.id) == bob, "the refused update must change nothing"
            renamed = await calls.update(bob.id, ProfileChanges(username="robert"))
            assert (renamed.id, renamed.username) == (bob.id, "robert")

        self._play(store, scenario)

    def test_update_of_an_unknown_user_fails(self, store: UserStore | AsyncUserStore) -> None:
        """An update never makes a user."""

        async def scenario(calls: Calls) -> None:
            problem = await refusal(calls.update("no-such-user", ProfileChanges(email="ann@example.org")))
            assert problem is not None, "update of an unknown user must raise"
            assert list(await calls.find(email="ann@example.org")) == []

        self._play(store, scenario)

    # --- set_active, set_roles --------------------------------------------------------------------------------------

    def test_set_active_twice_is_no_error(self, store: UserStore | AsyncUserStore) -> None:
        """Kept out, a user is still there but not ``ACTIVE``; let in again, ``ACTIVE``."""

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann"))
            for _ in range(2):
                await calls.set_active(made.id, False)
                out = await calls.get(made.id)
                assert out is not None, "an inactive user is still found by id"
                assert out.status is not Status.ACTIVE
                assert out.id in {user.id for user in await calls.find(username="ann")}, "and by name"
            for _ in range(2):
                await calls.set_active(made.id, True)
                assert await calls.get(made.id) == made

        self._play(store, scenario)

    def test_set_roles_replaces_all_roles(self, store: UserStore | AsyncUserStore) -> None:
        """Roles come back sorted and once each; only for stores that keep roles."""
        if not self.keeps_roles:
            return

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", roles=("b", "a", "b")))
            assert made.roles == ("a", "b")
            await calls.set_roles(made.id, ("c", "a", "c"))
            changed = await calls.get(made.id)
            assert changed is not None
            assert changed.roles == ("a", "c")
            await calls.set_roles(made.id, ())
            emptied = await calls.get(made.id)
            assert emptied is not None
            assert emptied.roles == ()

        self._play(store, scenario)

    # --- the optional verbs -----------------------------------------------------------------------------------------

    def test_only_the_password_of_the_user_is_accepted(self, store: UserStore | AsyncUserStore) -> None:
        """``has_password`` and ``check_password``, for a test class that names a ``password``."""
        if self.password is None:
            assert not hasattr(store, "check_password"), "name a password in the test class, and give_password"
            return
        password = self.password

        async def scenario(calls: Calls) -> None:
            made, other = await calls.create(profile("ann")), await calls.create(profile("bob"))
            assert await calls.optional("has_password", made.id) is False, "a new user has no password"
            assert await calls.optional("check_password", made.id, "") is False
            self.give_password(store, made, password)
            assert await calls.optional("has_password", made.id) is True
            assert await calls.optional("check_password", made.id, password) is True
            for wrong in ("", password + " ", password.swapcase(), password[:-1], "\x00", "\u0301", password * 50):
                assert await calls.optional("check_password", made.id, wrong) is False, f"{wrong!r} was accepted"
            assert await calls.optional("check_password", other.id, password) is False, "that is another user's"
            assert await calls.optional("check_password", "no such user", password) is False

        self._play(store, scenario)

    def test_credentials_can_be_revoked_again_and_again(self, store: UserStore | AsyncUserStore) -> None:
        """``revoke_credentials`` leaves the user there, and is no error for one without credentials."""
        if not hasattr(store, "revoke_credentials"):
            return

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", email="ann@example.org"))
            if self.password is not None:
                self.give_password(store, made, self.password)
            for _ in range(2):
                await calls.optional("revoke_credentials", made.id)
                assert await calls.get(made.id) == made

        self._play(store, scenario)

    def test_a_deleted_user_is_not_found_by_name_or_address(self, store: UserStore | AsyncUserStore) -> None:
        """``delete`` forgets the person, whatever becomes of the row; deleting somebody who is gone is no error."""
        if not hasattr(store, "delete"):
            return

        async def scenario(calls: Calls) -> None:
            made = await calls.create(profile("ann", email="ann@example.org"))
            for _ in range(2):
                await calls.optional("delete", made.id)
                assert list(await calls.find(email="ann@example.org")) == []
                assert list(await calls.find(username="ann")) == []
            again = await calls.create(profile("ann", key="another key"))
            assert again.id != made.id, "an id is never given to somebody else"

        self._play(store, scenario)

    def test_everybody_is_listed_once_page_by_page(self, store: UserStore | AsyncUserStore) -> None:
        """``list_users`` goes on after the last id of a page, and ends with an empty one."""
        if not hasattr(store, "list_users"):
            return

        async def scenario(calls: Calls) -> None:
            made = {(await calls.create(profile(f"user{number}"))).id for number in range(12)}
            seen: list[str] = []
            while page := await calls.list_users(after=seen[-1] if seen else None, limit=5):
                assert len(page) <= 5
                seen += [user.id for user in page]
            assert len(seen) == len(made)
            assert set(seen) == made

        self._play(store, scenario)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _play(
        self, store: UserStore | AsyncUserStore, scenario: Callable[[Calls], Coroutine[object, object, None]]
    ) -> None:
        running = scenario(Calls(store))
        if not is_sync(store):
            self.run(running)
            return
        try:
            running.send(None)
        except StopIteration:
            return
        running.close()
        raise AssertionError("a sync store must answer at once")
