"""The bridge: the faces that make a port of either world awaitable in both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, cast

import pytest

from jit_middleware.bridge import World, ledger_face, step, users_face
from jit_middleware.errors import AdapterError, ConfigurationError, Conflict, StoreUnavailable
from jit_middleware.model import Profile, ProfileChanges, Status, User
from jit_middleware.ports import Ledger, Users

ALICE = User(id="7", username="alice")
PROFILE = Profile(provisioning_key="k", username="alice")
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="none")


# --- user stores --------------------------------------------------------------------------------------------------


class SyncStore:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.threads: set[int] = set()
        self.contexts: set[str] = set()
        self.error: Exception | None = None

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self.threads.add(threading.get_ident())
        self.contexts.add(REQUEST_ID.get())
        if self.error is not None:
            raise self.error

    def get(self, user_id: str) -> User | None:
        self._note("get", user_id)
        return ALICE

    def find(self, *, email: str | None = None, username: str | None = None) -> list[User]:
        self._note("find", email, username)
        return [ALICE]

    def create(self, profile: Profile) -> User:
        self._note("create", profile)
        return ALICE

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        self._note("update", user_id, changes)
        return ALICE

    def set_active(self, user_id: str, active: bool) -> None:
        self._note("set_active", user_id, active)


class SyncStoreWithRoles(SyncStore):
    def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        self._note("set_roles", user_id, roles)


class AsyncStore(SyncStore):
    async def get(self, user_id: str) -> User | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return SyncStore.get(self, user_id)

    async def find(self, *, email: str | None = None, username: str | None = None) -> list[User]:  # type: ignore[override]
        await asyncio.sleep(0)
        return SyncStore.find(self, email=email, username=username)

    async def create(self, profile: Profile) -> User:  # type: ignore[override]
        await asyncio.sleep(0)
        return SyncStore.create(self, profile)

    async def update(self, user_id: str, changes: ProfileChanges) -> User:  # type: ignore[override]
        await asyncio.sleep(0)
        return SyncStore.update(self, user_id, changes)

    async def set_active(self, user_id: str, active: bool) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        SyncStore.set_active(self, user_id, active)


class AsyncStoreWithRoles(AsyncStore):
    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        await asyncio.sleep(0)
        self._note("set_roles", user_id, roles)


CELLS: list[tuple[World, type[SyncStore]]] = [
    ("wsgi", SyncStore), ("wsgi", SyncStoreWithRoles), ("asgi", SyncStore), ("asgi", SyncStoreWithRoles),
    ("asgi", AsyncStore), ("asgi", AsyncStoreWithRoles),
]  # fmt: skip


def run_in(world: World, work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work()

    return step(main()) if world == "wsgi" else asyncio.run(main())


@pytest.mark.parametrize(("world", "kind"), CELLS)
def test_every_verb_reaches_the_store_in_each_cell(world: World, kind: type[SyncStore]) -> None:
    store = kind()
    face = users_face(store, world)
    changes = ProfileChanges(email="a@example.com")

    async def work() -> list[Any]:
        REQUEST_ID.set("r-1")
        answers: list[Any] = [
            await face.get("7"), await face.find(email="e"), await face.find(username="u"),
            await face.create(PROFILE), await face.update("7", changes),
        ]  # fmt: skip
        await face.set_active("7", False)
        await face.set_roles("7", ("a",))
        return answers

    assert run_in(world, work) == [ALICE, [ALICE], [ALICE], ALICE, ALICE]
    expected = [
        ("get", "7"), ("find", "e", None), ("find", None, "u"), ("create", PROFILE), ("update", "7", changes),
        ("set_active", "7", False),
    ]  # fmt: skip
    if hasattr(store, "set_roles"):
        expected.append(("set_roles", "7", ("a",)))
    assert store.calls == expected
    assert store.contexts == {"r-1"}, "context variables are kept across the hop"


def test_a_sync_store_stays_on_the_thread_under_wsgi_and_leaves_the_loop_under_asgi() -> None:
    under_wsgi, under_asgi, async_store = SyncStore(), SyncStore(), AsyncStore()
    run_in("wsgi", lambda: users_face(under_wsgi, "wsgi").get("7"))
    run_in("asgi", lambda: users_face(under_asgi, "asgi").get("7"))
    run_in("asgi", lambda: users_face(async_store, "asgi").get("7"))
    here = threading.get_ident()
    assert under_wsgi.threads == {here}
    assert here not in under_asgi.threads
    assert async_store.threads == {here}


def test_sync_calls_of_two_requests_run_side_by_side_under_asgi() -> None:
    meeting = threading.Barrier(2)

    class Meeting(SyncStore):
        def get(self, user_id: str) -> User | None:
            meeting.wait(5)
            return ALICE

    face = users_face(Meeting(), "asgi")

    async def work() -> list[User | None]:
        return list(await asyncio.gather(face.get("1"), face.get("2")))

    assert run_in("asgi", work) == [ALICE, ALICE]


class ForeignConflict(Exception):
    """A store of its own may define this; the class that counts is named ``Conflict``."""


class DuplicateName(ForeignConflict):
    pass


ForeignConflict.__name__ = "Conflict"


@pytest.mark.parametrize(("world", "kind"), CELLS)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("alice@example.com"), StoreUnavailable),
        (TimeoutError("slow"), StoreUnavailable),
        (StopIteration(), StoreUnavailable),
        (ForeignConflict("alice@example.com is taken"), Conflict),
        (DuplicateName("alice@example.com is taken"), Conflict),
    ],
)
def test_a_stores_exceptions_become_ours(
    world: World, kind: type[SyncStore], error: Exception, expected: type[Exception]
) -> None:
    store = kind()
    store.error = error
    face = users_face(store, world)
    with pytest.raises(expected) as caught:
        run_in(world, lambda: face.create(PROFILE))
    assert type(caught.value) is expected
    if not isinstance(error, StopIteration):  # a coroutine turns it into a RuntimeError of its own
        assert caught.value.__cause__ is error
    assert "alice@example.com" not in str(caught.value)


@pytest.mark.parametrize(("world", "kind"), CELLS)
@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (Conflict("whatever the store calls it"), Conflict("username", "Conflict")),
        (
            StoreUnavailable("x", "Key (email)=(alice@secret.example)"),
            StoreUnavailable("user_store", "StoreUnavailable"),
        ),
    ],
    ids=["conflict", "unavailable"],
)
def test_our_own_exceptions_from_a_store_are_not_believed_to_be_harmless(
    world: World, kind: type[SyncStore], raised: AdapterError, seen: AdapterError
) -> None:
    store = kind()
    store.error = raised
    face = users_face(store, world)
    with pytest.raises(type(seen)) as caught:
        run_in(world, lambda: face.create(PROFILE))
    assert str(caught.value) == str(seen)
    assert caught.value.__cause__ is None


def test_a_cancelled_async_store_call_is_cancelled_not_unavailable() -> None:
    class Slow(AsyncStore):
        async def get(self, user_id: str) -> User | None:  # type: ignore[override]
            await asyncio.sleep(60)
            return None

    async def work() -> None:
        task = asyncio.ensure_future(users_face(Slow(), "asgi").get("7"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_in("asgi", work)


def test_an_async_store_under_wsgi_is_refused_with_both_ways_out() -> None:
    with pytest.raises(ConfigurationError) as caught:
        users_face(AsyncStore(), "wsgi")
    (fault,) = caught.value.faults
    assert fault.setting == "JIT_USER_STORE"
    assert "AsyncStore is async" in fault.problem
    assert "ASGI" in fault.fix
    assert "sync verbs" in fault.fix


@pytest.mark.parametrize("world", ["wsgi", "asgi"])
def test_a_store_with_missing_or_mixed_verbs_is_refused(world: World) -> None:
    class Half:
        def get(self, user_id: str) -> None: ...

        find = None

    class Mixed(SyncStore):
        async def set_active(self, user_id: str, active: bool) -> None: ...  # type: ignore[override]

    with pytest.raises(ConfigurationError, match="Half lacks find, create, update, set_active"):
        users_face(cast("Users", Half()), world)
    with pytest.raises(ConfigurationError, match=r"Mixed mixes async verbs \(set_active\) with sync ones"):
        users_face(Mixed(), world)


# --- ledgers ------------------------------------------------------------------------------------------------------


class FakeLedger:
    """Answers every verb with its name and arguments, and remembers where it ran."""

    keeps_users = True

    def __init__(self, answers: str) -> None:
        self.answers = answers
        self.threads: list[int] = []
        self.contexts: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        async def answer(*args: Any, **kwargs: Any) -> Any:
            self.threads.append(threading.get_ident())
            self.contexts.append(REQUEST_ID.get())
            if self.answers == "later":
                await asyncio.sleep(0)
            return (verb, args, kwargs)

        return answer

    async def transaction(self, work: Callable[[Any], Awaitable[Any]], **_kwargs: Any) -> Any:
        self.threads.append(threading.get_ident())
        return await work(self)


def ledger(answers: str) -> tuple[FakeLedger, Ledger]:
    fake = FakeLedger(answers)
    return fake, cast("Ledger", fake)


def test_a_ledger_that_fits_its_world_is_used_as_it_is() -> None:
    _, at_once = ledger("at once")
    _, later = ledger("later")
    assert ledger_face(at_once, "wsgi") is at_once
    assert ledger_face(later, "asgi") is later


def test_an_async_driver_under_wsgi_is_refused_with_the_sync_drivers_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ledger_face(ledger("later")[1], "wsgi")
    (fault,) = caught.value.faults
    assert fault.setting == "JIT_DATABASE_URL"
    for driver in ("sqlite://", "postgresql+psycopg://", "mysql+pymysql://", "ASGI"):
        assert driver in fault.fix


def test_a_sync_ledger_under_asgi_hops_once_for_each_call() -> None:
    fake, sync_ledger = ledger("at once")
    face = ledger_face(sync_ledger, "asgi")
    assert (face.answers, face.keeps_users) == ("later", True)

    async def work() -> list[Any]:
        REQUEST_ID.set("r-2")
        return [
            await face.find_session("s"),
            await face.live_among(["s", "t"]),
            await face.has_provider_session("c", "s"),
            await face.claim_probe("s", due=1, lease=2),
            await face.settle_probe("s", lease=2, probe_at=3, failing_since=None, refresh_token="t"),
            await face.read_feed(4, 5),
            await face.list_audit(after="a", type="t", user_id="u", reference="r", limit=3),
            await face.list_users(limit=2, after="u", status=Status.PENDING),
            await face.prune(9),
        ]

    assert asyncio.run(work()) == [
        ("find_session", ("s",), {}),
        ("live_among", (["s", "t"],), {}),
        ("has_provider_session", ("c", "s"), {}),
        ("claim_probe", ("s",), {"due": 1, "lease": 2}),
        ("settle_probe", ("s",), {"lease": 2, "probe_at": 3, "failing_since": None, "refresh_token": "t"}),
        ("read_feed", (4, 5), {}),
        ("list_audit", (), {"after": "a", "type": "t", "user_id": "u", "reference": "r", "limit": 3}),
        ("list_users", (), {"limit": 2, "after": "u", "status": Status.PENDING}),
        ("prune", (9,), {}),
    ]
    assert len(fake.threads) == 9
    assert threading.get_ident() not in fake.threads
    assert set(fake.contexts) == {"r-2"}


@pytest.mark.parametrize(
    "ask", [lambda face: face.prepare(), lambda face: face.touch_session("s", 1), lambda face: face.close()]
)
def test_calls_without_an_answer_hop_too(ask: Callable[[Ledger], Awaitable[None]]) -> None:
    fake, sync_ledger = ledger("at once")
    assert run_in("asgi", lambda: ask(ledger_face(sync_ledger, "asgi"))) is None
    assert len(fake.threads) == 1
    assert threading.get_ident() not in fake.threads


def test_a_whole_transaction_is_one_hop_whatever_it_asks() -> None:
    fake, sync_ledger = ledger("at once")
    store = SyncStore()
    users = users_face(store, "asgi")

    async def work(tx: Any) -> list[Any]:
        return [await tx.find_account("u"), await tx.list_links("u"), await users.get("7")]

    answer = run_in("asgi", lambda: ledger_face(sync_ledger, "asgi").transaction(work))
    assert answer == [("find_account", ("u",), {}), ("list_links", ("u",), {}), ALICE]
    assert len(set(fake.threads)) == 1
    assert store.threads == set(fake.threads), "a sync store inside the transaction stays on its thread"


def test_an_exception_of_a_transaction_comes_through_the_hop() -> None:
    error = Conflict("identity")

    async def work(tx: Any) -> None:
        raise error

    with pytest.raises(Conflict) as caught:
        run_in("asgi", lambda: ledger_face(ledger("at once")[1], "asgi").transaction(work))
    assert caught.value is error
