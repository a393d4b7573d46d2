"""What people see when something outside fails in the middle: a page that says so, nothing half-written, and back by
itself.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing as closed_after
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware.transport import AsyncTransport, SyncTransport
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.client import Client, Edge
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer, Outgoing

TABLES = ("jit_users", "jit_identity_links", "jit_sessions", "jit_audit", "jit_once_keys", "jit_grants")
_numbers = count(1)


def is_a_503_page(answer: Answer, code: str) -> bool:
    """The page of an outage: its code, no traceback, and when to come back."""
    assert "Traceback" not in answer.text
    return answer.status == 503 and code in answer.text and answer.header("retry-after") is not None


# --- SQLite: full, locked, gone -------------------------------------------------------------------------------------


@dataclass
class Disk:
    """A stage on a SQLite file, with a hand on the connections of its middleware."""

    stage: Stage
    ledger: SQLAlchemyLedger
    file: Path

    def counts(self) -> dict[str, int]:
        with closed_after(sqlite3.connect(self.file)) as db:
            return {table: int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in TABLES}

    @contextmanager
    def every_connection(self, pragma: str) -> Iterator[None]:
        """For a while, the middleware's connections are under this pragma."""

        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute(pragma).fetchone()

        engine = self.ledger.database.engine
        event.listen(engine, "connect", limit)
        engine.dispose()
        try:
            yield
        finally:
            event.remove(engine, "connect", limit)
            engine.dispose()


@pytest.fixture
def on_disk(build: StageBuilder, tmp_path: Path) -> Callable[..., Disk]:
    def make(**env: str) -> Disk:
        file = tmp_path / "place" / "jit.db"
        file.parent.mkdir()
        url = f"sqlite:///{file}"
        ledger = SQLAlchemyLedger(url, clock=SystemClock(), tokens=SystemTokens(), keep_users=True)
        return Disk(build(database_url=url, ports={"ledger": ledger}, **env), ledger, file)

    return make


def nothing_but_the_refusal(disk: Disk, before: dict[str, int]) -> bool:
    """Whether the tables are as before, but for the audit event of the refusal, if that still fits."""
    now = disk.counts()
    assert now["jit_audit"] - before["jit_audit"] == len(disk.stage.events("login.refused")) <= 1
    return {**now, "jit_audit": 0} == {**before, "jit_audit": 0}


def test_a_full_disk_at_a_first_login_leaves_nothing_half_written(on_disk: Callable[..., Disk]) -> None:
    disk = on_disk(JIT_OIDC_SCOPES="openid email profile groups", JIT_PUBLIC_PATHS="/assets/*")
    stage = disk.stage
    bob = stage.client.another()
    stage.sign_in(stage.person("bob"), client=bob)
    # So much that it cannot fit into the pages there are.
    alice = stage.person("alice", groups=[f"group number {number:06} of many" for number in range(1000)])
    before = disk.counts()
    with disk.every_connection("PRAGMA max_page_count = 1"):
        refused = stage.sign_in(alice)
        assert is_a_503_page(refused, "store_unavailable")
        assert nothing_but_the_refusal(disk, before)
        assert stage.client.get("/").status == 302
        assert bob.get("/page").status == 200, "who is in stays in"
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["username"] == alice
    assert [record.type for record in stage.events("user.created", "user.first_login")] == [
        "user.created",
        "user.first_login",
    ] * 2


def test_a_full_disk_at_a_returning_login_keeps_the_user_as_they_were(on_disk: Callable[..., Disk]) -> None:
    disk = on_disk(JIT_OIDC_SCOPES="openid email profile groups")
    stage = disk.stage
    alice = stage.person("alice", groups=[])
    stage.sign_in(alice)
    stage.provider.add_user(
        alice,
        {"preferred_username": alice, "name": "New Name", "email": "n@example.org", "groups": ["g" * 30] * 1000},
    )
    before = disk.counts()
    with disk.every_connection("PRAGMA max_page_count = 1"):
        assert is_a_503_page(stage.sign_in(alice, client=stage.client.another()), "store_unavailable")
    assert nothing_but_the_refusal(disk, before)
    (account,) = stage.accounts()
    assert account.user is not None
    assert account.user.display_name == "Alice"


def test_a_locked_file_stops_logins_and_nobody_who_is_in(on_disk: Callable[..., Disk]) -> None:
    disk = on_disk()
    stage = disk.stage
    stage.sign_in(stage.person("bob"))
    alice = stage.person("alice")
    newcomer = stage.client.another()
    departure = stage.depart(newcomer, stage.agent(alice))
    before = disk.counts()
    with (
        disk.every_connection("PRAGMA busy_timeout = 50"),
        closed_after(sqlite3.connect(disk.file, isolation_level=None)) as hog,
    ):
        hog.execute("BEGIN IMMEDIATE")
        stage.clock.advance(2)
        assert stage.client.get("/page").status == 200
        assert is_a_503_page(stage.come_back(newcomer, departure), "store_unavailable")
        hog.execute("ROLLBACK")
    assert disk.counts() == before
    assert stage.sign_in(alice, client=newcomer).status == 200


def test_a_file_that_is_gone_is_bridged_by_the_grace_period_and_then_a_503(on_disk: Callable[..., Disk]) -> None:
    disk = on_disk(JIT_PUBLIC_PATHS="/assets/*")
    stage = disk.stage
    stage.sign_in(stage.person("bob"))
    away = disk.file.parent.with_name("away")
    disk.ledger.database.engine.dispose()
    disk.file.parent.rename(away)
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 200
    stage.clock.advance(25)
    assert stage.client.get("/page").status == 200
    stage.clock.advance(5)
    assert is_a_503_page(stage.client.get("/page"), "store_unavailable")
    assert stage.client.get("/assets/site.css").status == 200
    assert stage.client.get("/_jit/health").status == 200
    assert stage.client.get("/_jit/ready").status == 503
    away.rename(disk.file.parent)
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 200
    assert stage.client.get("/_jit/ready").status == 200


# --- the provider fails in the middle ---------------------------------------------------------------------------------


@dataclass
class Wires:
    """The real way out, where some addresses are down, and where an answer may be given twice."""

    edge: Edge
    down: set[str] = field(default_factory=set)
    repeat: str | None = None
    _kept: dict[bytes | None, Fetched] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _both: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=20))
    _plain: Any = field(init=False)

    def __post_init__(self) -> None:
        self._plain = self._new()

    def _new(self) -> Any:
        kind = SyncTransport if self.edge == "wsgi" else AsyncTransport
        return kind(SystemClock(), insecure_hosts=["127.0.0.1"], private_hosts=["127.0.0.1"])

    def twin(self) -> Wires:
        """For another worker: wires of its own, that remember the same answers."""
        other = Wires(self.edge, self.down, self.repeat)
        other._kept, other._turn, other._both = self._kept, self._turn, self._both
        return other

    async def fetch(self, request: Fetch) -> Fetched:
        if any(part in request.url for part in self.down):
            raise ProviderUnavailable("unreachable", "connection refused")
        if self.repeat is None or self.repeat not in request.url:
            answer: Fetched = await self._plain.fetch(request)
            return answer
        # Each worker has a thread of its own: one asks, then both go on at the same moment with the same answer.
        with self._turn:
            if request.body not in self._kept:
                self._kept[request.body] = await self._plain.fetch(request)
        self._both.wait()
        return self._kept[request.body]

    async def close(self) -> None:
        await self._plain.close()


def nobody_got_in(stage: Stage) -> bool:
    return not stage.accounts() and not stage.events("login.succeeded") and stage.client.get("/").status == 302


def test_a_provider_that_stops_between_question_and_answer_is_a_503_page(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    departure = stage.depart(stage.client, stage.agent(alice), "/deep?x=1")
    stage.provider.stop()
    try:
        answer = stage.come_back(stage.client, departure)
        assert is_a_503_page(answer, "provider_unavailable")
        assert "/_jit/login" in answer.text, "there is a way to try again"
        assert nobody_got_in(stage)
    finally:
        stage.provider.start()
    stage.clock.advance(120)
    assert stage.sign_in(alice, "/deep?x=1").json()["query"] == "x=1"


@pytest.mark.parametrize("endpoint", ["/token", "/jwks"])
def test_one_endpoint_that_is_down_is_a_503_page_and_heals(build: StageBuilder, endpoint: str) -> None:
    wires = Wires(build.edge)
    stage = build(ports={"transport": wires})
    alice = stage.person("alice")
    wires.down.add(endpoint)
    answer = stage.sign_in(alice)
    assert is_a_503_page(answer, "provider_unavailable")
    assert nobody_got_in(stage)
    wires.down.clear()
    stage.clock.advance(120)
    assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_keys_that_are_known_need_no_key_endpoint(build: StageBuilder) -> None:
    wires = Wires(build.edge)
    stage = build(ports={"transport": wires})
    alice = stage.person("alice")
    stage.sign_in(alice)
    wires.down.add("/jwks")
    assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_a_new_key_while_the_key_endpoint_is_down_is_no_login_and_heals(build: StageBuilder) -> None:
    wires = Wires(build.edge)
    stage = build(ports={"transport": wires})
    alice = stage.person("alice")
    stage.sign_in(alice)
    wires.down.add("/jwks")
    stage.provider.rotate_keys()
    refused = stage.sign_in(alice, client=stage.client.another())
    assert is_a_503_page(refused, "provider_unavailable")
    assert len(stage.events("login.succeeded")) == 1
    wires.down.clear()
    stage.clock.advance(120)
    assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_a_provider_that_restarted_has_forgotten_the_code_and_the_next_login_works(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    newcomer = stage.client.another()
    departure = stage.depart(newcomer, stage.agent(alice))
    stage.provider.stop()
    stage.provider.start()
    refused = stage.come_back(newcomer, departure)
    assert refused.status == 403
    assert "Traceback" not in refused.text
    (record,) = stage.events("login.refused")
    assert record.reference is not None
    assert record.reference in refused.text
    assert newcomer.get("/").status == 302
    assert stage.sign_in(alice, client=newcomer).status == 200
    assert stage.client.get("/page").status == 200, "who was in is still in"
    left = stage.client.post("/_jit/logout")
    assert left.status == 303
    assert agent.visit(left.location).url.startswith("http://localhost:8000/_jit/signed-out")


# --- one answer, two workers ------------------------------------------------------------------------------------------


def at_once(*carried: tuple[Client, Outgoing]) -> list[Answer]:
    """The same request at several workers at the same time, each in a thread (and event loop) of its own."""
    with ThreadPoolExecutor(len(carried)) as threads:
        return list(threads.map(lambda one: one[0].world.exchange(one[1]), carried))


@pytest.mark.parametrize(
    "code_twice", [False, True], ids=["the provider honours a code once", "a code is honoured twice"]
)
def test_one_answer_carried_to_two_workers_at_once_is_one_session(build: StageBuilder, code_twice: bool) -> None:
    wires = Wires(build.edge)
    stage = build(ports={"transport": wires}, JIT_OIDC_USERINFO="never")
    alice = stage.person("alice")
    stage.sign_in(alice)
    if code_twice:
        wires.repeat = "/token"
    stage.ports = {"transport": wires.twin()}
    other = stage.worker()
    for turn in range(1, 6):
        browser = stage.client.another()
        request = stage.callback_request(browser, stage.depart(browser, stage.agent(alice)))
        # Where both get the provider's good answer, only the ledger's once-key is left to tell them apart.
        answers = at_once((browser, request), (other, request))
        statuses = sorted(answer.status for answer in answers)
        assert statuses[0] == 303, statuses
        assert statuses[1] in {400, 403}, statuses
        assert len(stage.events("login.succeeded")) == 1 + turn
        winner = next(answer for answer in answers if answer.status == 303)
        loser = next(answer for answer in answers if answer.status != 303)
        assert not any(line.startswith("jit=") and "Max-Age=0" not in line for line in loser.all("set-cookie"))
        assert any(line.startswith("jit=") for line in winner.all("set-cookie"))
    reasons = {record.reason for record in stage.events("login.refused")}
    if code_twice:
        assert reasons == {"state_replayed"}
    assert len(stage.accounts()) == 1
    assert len({record.session for record in stage.events("login.succeeded")}) == 6


def test_a_database_that_cannot_be_opened_at_start_is_named_with_the_setting_and_the_fix(
    build: StageBuilder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "jit_middleware"):
        stage = build(database_url=f"sqlite:///{tmp_path}/nowhere/jit.db")
        assert stage.client.get("/_jit/ready").status == 503
    lines = [record.getMessage() for record in caplog.records if "not started yet" in record.getMessage()]
    assert lines
    assert all(f"JIT_DATABASE_URL: {tmp_path}/nowhere/jit.db cannot be opened" in line for line in lines)
    assert all("Fix: create it, or correct the path." in line for line in lines)
