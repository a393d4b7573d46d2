"""A database that goes away and returns: who is served meanwhile, what `ready` says, and what the audit trail tells."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
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
from tests.peers import databases
from tests.peers.databases import DatabaseServer
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.test_outside_failures import Restartable, is_a_503_page

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


class RestartableMariaDB:
    """A MariaDB of these tests' own, stopped and started at will."""

    def __init__(self, server: DatabaseServer) -> None:
        self._server = server
        self._root = server.socket.parent
        self._own: subprocess.Popen[bytes] | None = None

    def new_url(self, driver: str) -> str:
        name = f"outage{next(_numbers)}"
        self._server.new_database(name)
        return f"{driver}://root@localhost/{name}?unix_socket={self._server.socket}"

    def stop(self) -> None:
        pid = self._root / "pid"
        if not pid.exists():
            return
        number = int(pid.read_text())
        os.kill(number, signal.SIGTERM)
        end = time.monotonic() + 20
        while pid.exists() or self._server.socket.exists():
            if time.monotonic() > end:  # it waits for connections that nobody uses any more
                os.kill(number, signal.SIGKILL)
                pid.unlink(missing_ok=True)
                self._server.socket.unlink(missing_ok=True)
            time.sleep(0.02)
        if self._own is not None:
            self._own.wait(30)
            self._own = None

    def start(self) -> None:
        _, flags = databases._unprivileged("mysql", self._root)
        command = [str(databases._program("mariadbd")), "--no-defaults", f"--datadir={self._root / 'data'}", *flags]
        command += [f"--socket={self._server.socket}", f"--pid-file={self._root / 'pid'}", "--skip-networking"]
        self._own = databases._start(command, self._root, dict(os.environ), {})
        databases._wait(self._own, self._root, lambda: databases._knock(self._server.socket))


@pytest.fixture(scope="module")
def postgresql_away(real_part: None) -> Generator[Restartable]:
    with databases.postgresql() as server:
        own = Restartable(server)
        yield own
        own.stop()


@pytest.fixture(scope="module")
def mariadb_away(real_part: None) -> Generator[RestartableMariaDB]:
    with databases.mariadb() as server:
        own = RestartableMariaDB(server)
        yield own
        own.stop()


Made = Callable[..., tuple[Stage, "Restartable | RestartableMariaDB"]]


@pytest.fixture(params=WORLDS, ids="-".join)
def outage(
    request: pytest.FixtureRequest,
    provider: Provider, tmp_path: Path, closing: ExitStack,
) -> Generator[Made]:  # fmt: skip
    edge, driver = request.param
    server: Restartable | RestartableMariaDB = request.getfixturevalue(f"{driver.partition('+')[0]}_away")
    build = StageBuilder((edge, driver), provider, request, tmp_path, closing)

    def make(**env: str) -> tuple[Stage, Restartable | RestartableMariaDB]:
        return build(database_url=server.new_url(driver), **env), server

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
    stage.sign_in(stage.person("alice"))
    assert readiness(stage) == (200, "ready", "fresh")
    server.stop()
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 200
    assert readiness(stage) == (200, "degraded", "within_grace")
    stage.clock.advance(40)
    assert is_a_503_page(stage.client.get("/page"), "store_unavailable")
    assert readiness(stage) == (503, "unavailable", "refused")
    assert stage.client.get("/assets/a.css").status == 200
    server.start()
    stage.clock.advance(2)
    assert stage.client.get("/page").status == 200
    assert readiness(stage) == (200, "ready", "fresh")
    (told,) = interruptions(stage)
    assert (told.outcome, told.reason in {"unreachable", "connection_lost"}) == ("failure", True), told
    assert told.data["refused"] is True
    assert isinstance(told.data["seconds"], int)
    assert 42 <= told.data["seconds"] < 42 + 60
    for _ in range(3):
        stage.clock.advance(2)
        assert stage.client.get("/page").status == 200
    assert len(interruptions(stage)) == 1


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
