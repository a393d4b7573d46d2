"""A database that goes away and returns: who is served meanwhile, what `ready` says, and what the audit trail tells."""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import AuditEvent
from tests.client import Edge
from tests.peers.databases import DatabaseServer, mariadb, postgresql
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.test_outside_failures import is_a_503_page

WORLDS: tuple[tuple[Edge, str], ...] = (
    ("wsgi", "postgresql+psycopg"),
    ("asgi", "postgresql+psycopg"),
    ("asgi", "postgresql+asyncpg"),
    ("wsgi", "mariadb+pymysql"),
    ("asgi", "mariadb+pymysql"),
    ("asgi", "mariadb+aiomysql"),
)
UNCHECKED = "JIT_INSECURE_SERVE_WITHOUT_REVOCATION"
_numbers = count(1)

# The drivers leave a failed connection's socket to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(scope="module")
def postgresql_away(real_part: None) -> Generator[DatabaseServer]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_away(real_part: None) -> Generator[DatabaseServer]:
    with mariadb(keeps_commits=True) as server:
        yield server


Made = Callable[..., tuple[Stage, DatabaseServer]]


@pytest.fixture(params=WORLDS, ids="-".join)
def outage(
    request: pytest.FixtureRequest,
    provider: Provider, tmp_path: Path, closing: ExitStack,
) -> Generator[Made]:  # fmt: skip
    edge, driver = request.param
    kind = driver.partition("+")[0]
    server: DatabaseServer = request.getfixturevalue(f"{kind}_away")
    build = StageBuilder((edge, driver), provider, request, tmp_path, closing)

    def make(**env: str) -> tuple[Stage, DatabaseServer]:
        name = f"outage{next(_numbers)}"
        server.new_database(name)
        place = f"postgres@/{name}?host=" if kind == "postgresql" else f"root@localhost/{name}?unix_socket="
        return build(database_url=f"{driver}://{place}{server.socket}", **env), server

    yield make
    server.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    server.start()


def interruptions(stage: Stage, wanted: int = 1) -> list[AuditEvent]:
    """The events of interruptions; written beside the requests, so that they may come a moment later."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        stage.client.get("/_jit/health")  # under ASGI what is going on beside the requests goes on with one
        found = list(stage.events("feed.interrupted"))
        if len(found) >= wanted:
            return found
        time.sleep(0.05)
    return list(stage.events("feed.interrupted"))


def readiness(stage: Stage) -> tuple[int, str, str]:
    answer = stage.client.get("/_jit/ready")
    told = answer.json()
    return answer.status, told["status"], told["revocation"]


def test_an_outage_goes_from_grace_to_refusal_and_is_told_of_once(outage: Made) -> None:
    stage, server = outage(JIT_REVOCATION_GRACE="30s", JIT_PUBLIC_PATHS="/assets/*")
    alice = stage.person("alice")
    session = stage.sign_in(alice).json()["session"]["id"]
    assert readiness(stage) == (200, "ready", "fresh")
    newcomer = stage.client.another()
    departure = stage.depart(newcomer, stage.agent(alice))
    server.stop()
    for _ in range(9):
        stage.clock.advance(3)
        assert stage.client.get("/page").json()["session"]["id"] == session
    assert readiness(stage) == (200, "degraded", "within_grace")
    assert is_a_503_page(stage.come_back(newcomer, departure), "store_unavailable")
    stage.clock.advance(15)
    assert is_a_503_page(stage.client.get("/page"), "store_unavailable")
    refused = stage.client.xhr("/page")
    assert (refused.status, refused.json()["error"]) == (503, "store_unavailable")
    assert readiness(stage) == (503, "unavailable", "refused")
    assert stage.client.get("/assets/a.css").status == 200
    assert newcomer.get("/").status == 302, "the way to the provider needs no database"
    server.start()
    stage.clock.advance(2)
    assert stage.client.get("/page").json()["session"]["id"] == session
    assert readiness(stage) == (200, "ready", "fresh")
    (told,) = interruptions(stage)
    assert (told.outcome, told.reason in {"unreachable", "connection_lost"}) == ("failure", True), told
    assert told.data["refused"] is True
    assert isinstance(told.data["seconds"], int)
    assert 41 <= told.data["seconds"] < 41 + 60, "since the first look that failed"
    for _ in range(3):
        stage.clock.advance(2)
        assert stage.client.get("/page").status == 200
    assert len(interruptions(stage)) == 1
    assert stage.sign_in(alice, client=newcomer).status == 200
    assert len(stage.events("login.succeeded")) == 2


def test_without_a_grace_period_the_first_stale_request_is_refused(outage: Made) -> None:
    stage, server = outage(JIT_REVOCATION_GRACE="0s")
    stage.sign_in(stage.person("alice"))
    server.stop()
    stage.clock.advance(2)
    assert is_a_503_page(stage.client.get("/page"), "store_unavailable")
    server.start()
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 200


def test_a_short_outage_refuses_nobody_and_is_told_of_all_the_same(outage: Made) -> None:
    stage, server = outage()
    stage.sign_in(stage.person("alice"))
    server.stop()
    stage.clock.advance(5)
    assert stage.client.get("/page").status == 200
    server.start()
    stage.clock.advance(5)
    assert stage.client.get("/page").status == 200
    (told,) = interruptions(stage)
    assert told.data["refused"] is False


def test_who_is_signed_in_is_served_for_as_long_as_it_takes_where_the_operator_says_so(
    outage: Made, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "jit_middleware"):
        stage, server = outage(**{UNCHECKED: "true"}, JIT_SESSION_IDLE="1h", JIT_SESSION_ABSOLUTE="3h")
    assert f"{UNCHECKED} is on." in caplog.text
    session = stage.sign_in(stage.person("alice")).json()["session"]["id"]
    server.stop()
    for _ in range(4):
        stage.clock.advance(20 * 60)
        assert stage.client.get("/page").status == 200, "also when its record was due to be read again"
    assert readiness(stage) == (200, "degraded", "unchecked")
    stage.clock.advance(59 * 60)
    assert stage.client.get("/page").status == 503, "the idle limit goes on"
    server.start()
    step(stage.ledger.transaction(lambda tx: tx.end_sessions(stage.clock.now(), session_id=session)))
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 302
    (told,) = interruptions(stage)
    assert told.data["refused"] is False


def test_the_absolute_limit_goes_on_during_an_outage(outage: Made) -> None:
    stage, server = outage(**{UNCHECKED: "true"}, JIT_SESSION_IDLE="10m", JIT_SESSION_ABSOLUTE="20m")
    stage.sign_in(stage.person("alice"))
    server.stop()
    for _ in range(3):
        stage.clock.advance(6 * 60)
        assert stage.client.get("/page").status == 200
    stage.clock.advance(3 * 60)
    assert stage.client.get("/page").status in {302, 503}
