"""The whole ledger contract once more with neighbours, well and away, and what only they bring."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event as engine_event

from jit_middleware.errors import Conflict
from jit_middleware.ports import Transaction
from jit_middleware_redis import RedisNeighbours
from tests.contract import test_ledger_contract as contract
from tests.contract.conftest import DRIVERS, FakeClock, Rig, close_rig, new_url, open_rig, ready_url
from tests.peers.valkey import Valkey

pytestmark = pytest.mark.real

AT = contract.AT
AWAY = "unix:///no/such/socket"
PATIENCE = 30.0
_channels = itertools.count()

# Every test of the contract, with the rig of this module.
globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})


class SameClock:
    """The clock of a rig that is made after its neighbours."""

    shown = FakeClock()

    def now(self) -> int:
        return self.shown.now()

    def monotonic(self) -> float:
        return self.shown.monotonic()


@pytest.fixture(params=["sqlite", "sqlite+aiosqlite"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_database(driver: str, request: pytest.FixtureRequest, tmp_path: Path, valkey_server: Valkey) -> Generator[Rig]:
    """A rig for each test: what one test has used would be known in the next. Neighbours are well with one driver, and
    away with the other: they know nothing of drivers."""
    url, clock = AWAY if driver == "sqlite" else valkey_server.url, SameClock()
    neighbours = RedisNeighbours(url, channel=f"contract {next(_channels)}", clock=clock)
    neighbours.listen(int)
    rig = open_rig(driver, ready_url(driver, request, tmp_path), neighbours=neighbours)
    clock.shown = rig.clock
    yield rig
    close_rig(rig)


# --- two workers over one database ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Heard:
    """A ``Neighbours`` that notes what it was told, and knows what it was taught."""

    told: list[tuple[bool, tuple[str, ...]]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    attended: int = 0
    closed: int = 0

    def listen(self, hurry: Callable[[], None]) -> None:
        raise AssertionError("the ledger listens to nobody")

    def attend(self) -> None:
        self.attended += 1

    def tell(self, *, access_changed: bool, used: Sequence[tuple[str, int]]) -> None:
        if access_changed or used:
            self.told.append((access_changed, tuple(key for key, _ in used)))

    def have_used(self, once_key: str) -> bool:
        return once_key in self.used

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(params=DRIVERS)
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[tuple[Rig, Heard]]:
    neighbours = Heard()
    rig = open_rig(request.param, new_url(request.param, request, tmp_path), neighbours=neighbours)
    yield rig, neighbours
    close_rig(rig)
    assert neighbours.closed == 1


def do(rig: Rig, work: Callable[[Transaction], Awaitable[object]]) -> object:
    return rig.run(rig.ledger.transaction(work))


def claim(key: str = "k") -> Callable[[Transaction], Awaitable[None]]:
    return lambda tx: tx.claim_once("state", key, AT + 60)


def test_what_is_committed_is_told_after_the_commit(heard: tuple[Rig, Heard]) -> None:
    rig, neighbours = heard
    user = contract.signed_in(rig)
    neighbours.told.clear()
    do(rig, lambda tx: tx.end_sessions(AT, user_id=user.id))
    assert neighbours.told == [(True, ())]
    do(rig, claim())
    assert [(changed, len(used)) for changed, used in neighbours.told] == [(True, 0), (False, 1)]


def test_what_changes_nobodys_access_is_not_told(heard: tuple[Rig, Heard]) -> None:
    rig, neighbours = heard
    do(rig, lambda tx: tx.list_sessions())
    do(rig, lambda tx: tx.end_sessions(AT, user_id="nobody"))
    do(rig, lambda tx: tx.append_audit(contract.event("e")))
    rig.run(rig.ledger.prune(AT))
    assert neighbours.told == []


def test_what_is_rolled_back_is_never_told(heard: tuple[Rig, Heard]) -> None:
    rig, neighbours = heard
    user = contract.signed_in(rig)
    neighbours.told.clear()

    async def work(tx: Transaction) -> None:
        await tx.end_sessions(AT, user_id=user.id)
        await tx.claim_once("state", "k", AT + 60)
        raise contract.Stop

    with pytest.raises(contract.Stop):
        do(rig, work)
    do(rig, claim("taken"))
    neighbours.told.clear()

    async def taken(tx: Transaction) -> None:
        await tx.append_feed("session", "s")
        await tx.claim_once("state", "k2", AT + 60)
        await tx.claim_once("state", "taken", AT + 60)

    with pytest.raises(Conflict, match="once_key"):
        do(rig, taken)
    assert neighbours.told == []
    do(rig, claim("k"))
    do(rig, claim("k2"))


def test_each_read_of_the_feed_sees_to_it_that_this_process_listens(heard: tuple[Rig, Heard]) -> None:
    rig, neighbours = heard
    rig.run(rig.ledger.read_feed(None))
    rig.run(rig.ledger.read_feed(0))
    assert neighbours.attended == 2


def test_a_key_known_to_be_used_is_refused_without_a_word_to_the_database(heard: tuple[Rig, Heard]) -> None:
    """On SQLite every unit of work begins with its lock."""
    rig, neighbours = heard
    do(rig, claim())
    ((_, (key,)),) = neighbours.told
    said: list[str] = []
    engine = rig.ledger.database.engine

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    engine_event.listen(engine, "before_cursor_execute", note)
    try:
        neighbours.used.add(key)
        with pytest.raises(Conflict, match="once_key"):
            do(rig, claim())
        assert [each for each in said if each not in {"BEGIN IMMEDIATE", "ROLLBACK"}] == []
    finally:
        engine_event.remove(engine, "before_cursor_execute", note)
    neighbours.used.clear()
    with pytest.raises(Conflict, match="once_key"):
        do(rig, claim())
    neighbours.told.clear()
    do(rig, claim("another"))
    assert neighbours.told != []


def test_a_key_is_taken_once_by_many_workers_whatever_each_has_heard(
    driver: str, request: pytest.FixtureRequest, tmp_path: Path, own_valkey: Valkey
) -> None:
    """Some hear, some cannot, and the server is emptied, killed and started meanwhile: the ledger alone decides."""
    url = new_url(driver, request, tmp_path)
    with ExitStack() as closing:
        rigs: list[Rig] = []
        for number in range(6):
            address = AWAY if number % 3 == 2 else own_valkey.url
            neighbours = RedisNeighbours(address, channel="c", clock=FakeClock())
            neighbours.listen(int)
            neighbours.attend()
            rigs.append(open_rig(driver, url, neighbours=neighbours))
            closing.callback(close_rig, rigs[-1])
        harm = itertools.cycle(
            [partial(own_valkey.say, "FLUSHALL"), own_valkey.kill, own_valkey.start, own_valkey.freeze, own_valkey.thaw]
        )
        for turn in range(40):
            next(harm)()
            results: list[object] = []
            for rig in rigs[turn % 6 :] + rigs[: turn % 6]:
                results += rig.together([partial(rig.ledger.transaction, claim(f"k{turn}"))] * 2)
            assert results.count(None) == 1, "accepted exactly once"
            assert all(isinstance(each, Conflict) and each.reason == "once_key" for each in results if each is not None)
        if own_valkey.is_running:
            own_valkey.thaw()


def test_a_key_used_at_one_worker_is_refused_by_another_from_memory(
    request: pytest.FixtureRequest, tmp_path: Path, valkey_server: Valkey
) -> None:
    url, channel = new_url("sqlite", request, tmp_path), f"contract {next(_channels)}"
    with ExitStack() as closing:
        rigs: list[Rig] = []
        known: list[RedisNeighbours] = []
        for _ in range(2):
            known.append(RedisNeighbours(valkey_server.url, channel=channel, clock=FakeClock()))
            known[-1].listen(int)
            rigs.append(open_rig("sqlite", url, neighbours=known[-1]))
            closing.callback(close_rig, rigs[-1])
            rigs[-1].run(rigs[-1].ledger.read_feed(None))
        wait(lambda: valkey_server.listeners(channel) == 2)
        heard = Heard()
        spy = open_rig("sqlite", new_url("sqlite", request, tmp_path), neighbours=heard)
        closing.callback(close_rig, spy)
        do(spy, claim())
        ((_, (key,)),) = heard.told
        do(rigs[0], claim())
        wait(lambda: known[1].have_used(key))
        with pytest.raises(Conflict, match="once_key"):
            do(rigs[1], claim())


def wait(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "never came to pass"
        time.sleep(0.005)
