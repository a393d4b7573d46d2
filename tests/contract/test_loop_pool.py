"""The pool of an async engine, which has one for each event loop: what it tells of itself, and what is closed by whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar, cast

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.util import greenlet_spawn

from jit_middleware_sqlalchemy.engine import parse_url
from jit_middleware_sqlalchemy.pools import LoopPool
from tests.contract.conftest import DRIVERS, Rig, close_rig, open_rig

pytestmark = pytest.mark.real

T = TypeVar("T")


@pytest.fixture(scope="module", params=[name for name in DRIVERS if parse_url(f"{name}://").get_dialect().is_async])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh(driver: str, empty_url: str) -> Generator[Rig]:
    rig = open_rig(driver, empty_url)
    yield rig
    close_rig(rig)


def pool_of(rig: Rig) -> LoopPool:
    return cast("LoopPool", rig.ledger.database.engine.pool)


def told(rig: Rig) -> tuple[int, int, int, int]:
    pool = pool_of(rig)
    return pool.size(), pool.checkedin(), pool.checkedout(), pool.overflow()


def run(runner: asyncio.Runner | None, work: Callable[[], Awaitable[T]]) -> T:
    assert runner is not None

    async def main() -> T:
        return await work()

    return runner.run(main())


@contextmanager
def second_loop(rig: Rig) -> Generator[asyncio.Runner]:
    """Another event loop, which has a connection of its own."""
    with asyncio.Runner() as runner:
        run(runner, lambda: rig.ledger.read_feed(0))
        yield runner
        run(runner, rig.ledger.close)


@contextmanager
def made(rig: Rig) -> Generator[list[None]]:
    """One entry for each connection that is made while inside."""
    connections: list[None] = []

    def note(*_: object) -> None:
        connections.append(None)

    event.listen(rig.ledger.database.engine, "connect", note)
    yield connections


def test_it_tells_of_all_living_loops_from_wherever_it_is_asked(fresh: Rig) -> None:
    assert told(fresh) == (5, 1, 0, -4), "asked where no loop runs"
    assert "Connections in pool: 1" in pool_of(fresh).status()
    inside = fresh.run(fresh.ledger.database.use(lambda _: told(fresh)))
    assert inside == (5, 0, 1, -4)
    with second_loop(fresh) as second:
        assert told(fresh) == (10, 2, 0, -8)

        async def both() -> tuple[int, int, int, int]:
            return await fresh.ledger.database.use(lambda _: told(fresh))

        assert run(second, both) == (10, 1, 1, -8)
        assert "Current Checked out connections: 0" in pool_of(fresh).status()
    assert told(fresh) == (5, 1, 0, -4), "that loop was closed"


def test_nobody_is_disposed_of_where_no_loop_runs(fresh: Rig) -> None:
    """A connection can be closed in its own loop only."""
    with second_loop(fresh) as second, made(fresh) as connections:
        fresh.ledger.database.engine.dispose()
        assert told(fresh) == (10, 2, 0, -8)
        fresh.run(fresh.ledger.read_feed(0))
        run(second, lambda: fresh.ledger.read_feed(0))
        assert not connections


def test_whoever_disposes_of_the_engine_takes_nothing_from_the_other_loops(fresh: Rig) -> None:
    with second_loop(fresh) as second, made(fresh) as connections:
        fresh.run(greenlet_spawn(fresh.ledger.database.engine.dispose))
        assert told(fresh) == (5, 1, 0, -4), "the other's"
        run(second, lambda: fresh.ledger.read_feed(0))
        assert not connections
        fresh.run(fresh.ledger.read_feed(0))
        assert len(connections) == 1, "this one begins anew"


def test_a_forked_process_takes_nothing_along(fresh: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    assert pool_of(fresh).recreate().checkedin() == 1
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: pid + 1)
        assert pool_of(fresh).recreate().checkedin() == 0


def test_a_lost_connection_casts_doubt_on_those_beside_it_only(fresh: Rig) -> None:
    """It was lent before the loop began anew: what was made since is as good as it was."""
    pool = pool_of(fresh)

    async def lose() -> None:
        await fresh.ledger.database.use(_lose_one_after_a_new_beginning)

    def _lose_one_after_a_new_beginning(connection: Connection) -> None:
        lender, wrapper = pool.here(), connection.connection
        pool.dispose()
        anew = pool.here()
        pool._invalidate(wrapper, _checkin=False)
        assert anew is not lender
        assert (anew._invalidate_time, lender._invalidate_time > 0) == (0, True)

    fresh.run(lose())
    assert fresh.run(fresh.ledger.read_feed(0)).complete


def test_a_connection_that_a_listener_rejects_is_made_anew(fresh: Rig) -> None:
    """SQLAlchemy then distrusts the pool that lent it, which is that of the loop."""
    from sqlalchemy.exc import InvalidatePoolError

    engine = fresh.ledger.database.engine
    rejected: list[object] = []

    def reject(connection: object, *_: object) -> None:
        if not rejected:
            rejected.append(connection)
            raise InvalidatePoolError

    event.listen(engine, "checkout", reject)
    with made(fresh) as connections:
        assert fresh.run(fresh.ledger.read_feed(0)).complete
    event.remove(engine, "checkout", reject)
    assert len(connections) == 1
    assert told(fresh) == (5, 1, 0, -4)
