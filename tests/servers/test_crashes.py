"""Workers and the database are killed in the middle of everything: every word that was given holds afterwards."""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.peers.databases import DatabaseServer, mariadb, postgresql
from tests.servers.aftermath import (
    Records,
    judge_feed,
    judge_people,
    judge_roles,
    judge_sessions,
    judge_workers,
    sign_all_in,
)
from tests.servers.conftest import Server
from tests.servers.crowd import SERVERS, Crowd, a_line_to_each, crowded
from tests.servers.turmoil import BOUND, RECOVERY, Turmoil

pytestmark = [
    pytest.mark.real,
    # PyMySQL leaves the socket of a connection that was refused to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS = 15.0
SECONDS_WITH_A_STORE = 10.0
SEED = 20_270_115


@pytest.fixture
def own_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DatabaseServer | None, str]]:
    """A database server that nobody else uses, if it has one, and the URL of an empty database."""
    if request.param == "sqlite":
        yield None, f"sqlite:///{tmp_path / 'crashes.db'}"
    elif request.param == "postgresql":
        with postgresql() as server:
            server.new_database("crashes")
            yield server, f"postgresql+psycopg://postgres@/crashes?host={server.socket}"
    else:
        with mariadb(keeps_commits=True) as server:
            server.new_database("crashes")
            yield server, f"mariadb+pymysql://root@localhost/crashes?unix_socket={server.socket}"


@contextmanager
def records_of(server: Server) -> Iterator[Records]:
    ledger = open_ledger(Settings.load(server.env))
    assert isinstance(ledger, SQLAlchemyLedger)
    with ExitStack() as stack:
        stack.callback(lambda: step(ledger.close()))
        yield Records(ledger)


def raised_in(server: Server) -> list[str]:
    """What each traceback in the server's log ends with. A process that gets no processor for a tenth of a second between
    the head of an answer and its body sends no body for a session that has ended meanwhile, and uvicorn says so."""
    _, *tracebacks = server.log.read_text(errors="replace").split("Traceback (most recent call last):\n")
    lines = (next(line for line in each.splitlines() if line and line[0] != " ") for each in tracebacks)
    return [line.partition(":")[0] for line in lines]


def settings_of(url: str, **changes: str) -> dict[str, str]:
    return {"JIT_DATABASE_URL": url, "JIT_REVOCATION_MAX_STALENESS": f"{BOUND:g}s", **changes}


def rage(
    server: Server,
    crowd: Crowd,
    database: DatabaseServer | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float,
    bridged: bool,
) -> Turmoil:
    """The turmoil, and what is judged of the answers themselves."""
    for setting, value in server.env.items():
        if setting.startswith("JIT_"):
            monkeypatch.setenv(setting, value)
    turmoil = Turmoil(server, crowd, database, SEED, seconds, bridged)
    turmoil.run()
    gc.collect()
    time.sleep(RECOVERY)
    assert turmoil.judge_failures() == [], server.said()
    assert turmoil.late == []
    assert turmoil.lost == []
    assert turmoil.odd == []
    raised = raised_in(server)
    assert raised == ["jit_middleware.errors.SessionEnded"] * min(len(raised), 2), server.said()
    # 403: a login that was overtaken by the end of all sessions of the same person.
    assert {status for status in turmoil.statuses if status < 500} <= {200, 302, 303, 403}, turmoil.statuses
    return turmoil


@pytest.mark.parametrize(
    ("name", "own_database", "grace"),
    [("gunicorn", "postgresql", "0s"), ("uvicorn", "mariadb", "30s"), ("gunicorn", "sqlite", "0s")],
    indirect=["own_database"],
    ids=["gunicorn-postgresql", "uvicorn-mariadb", "gunicorn-sqlite"],
)
def test_what_was_promised_holds_though_workers_and_the_database_are_killed(
    name: str,
    own_database: tuple[DatabaseServer | None, str],
    grace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    database, url = own_database
    with crowded(SERVERS[name], tmp_path, **settings_of(url, JIT_REVOCATION_GRACE=grace)) as (server, crowd):
        turmoil = rage(server, crowd, database, monkeypatch, seconds=SECONDS, bridged=grace != "0s")
        tell(capsys, record_property, name, turmoil)
        with records_of(server) as records, a_line_to_each(server) as lines:
            assert records.open_intents == []
            judge_people(records)
            judge_workers(list(lines.values()), turmoil.signed, turmoil)
            sign_all_in(list(lines.values()), turmoil)
            judge_people(records)
            judge_sessions(records, turmoil)
            judge_roles(records, turmoil)
            judge_feed(records)


@pytest.mark.parametrize("own_database", ["postgresql"], indirect=True)
def test_a_crash_between_the_apps_own_store_and_the_ledger_makes_no_second_user(
    own_database: tuple[DatabaseServer | None, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    database, url = own_database
    shop, notes = tmp_path / "shop.db", tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("SHOP_DATABASE", str(shop))
    monkeypatch.setenv("FRAIL_USERS", str(notes))
    store = {
        "JIT_USER_STORE": "tests.servers.frail_users:FrailUsers",
        "SHOP_DATABASE": str(shop),
        "FRAIL_USERS": str(notes),
    }
    with crowded(SERVERS["gunicorn"], tmp_path, **settings_of(url, JIT_REVOCATION_GRACE="0s", **store)) as (
        server,
        crowd,
    ):
        turmoil = rage(server, crowd, database, monkeypatch, seconds=SECONDS_WITH_A_STORE, bridged=False)
        died = len(list(notes.iterdir()))
        (notes / "calm").touch()
        tell(capsys, record_property, f"own store, {died} workers died in it", turmoil)
        assert died > 3
        with records_of(server) as records, a_line_to_each(server) as lines:
            judge_sessions(records, turmoil)
            judge_roles(records, turmoil)
            sign_all_in(list(lines.values()), turmoil)
            assert records.open_intents == []
            judge_people(records)
            judge_sessions(records, turmoil)
            judge_feed(records)
            judge_workers(list(lines.values()), turmoil.signed, turmoil)
        with closing(sqlite3.connect(shop)) as connection:
            names = [name for (name,) in connection.execute("SELECT login FROM shop_users ORDER BY login")]
        assert names == sorted(turmoil.subjects), "one row for each person"


def tell(
    capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None], name: str, turmoil: Turmoil
) -> None:
    """What has happened, in the report."""
    counted = {**dict(sorted(turmoil.done.items())), "answers": dict(sorted(turmoil.statuses.items()))}
    told = ", ".join(f"{what}: {number}" for what, number in counted.items())
    record_property(name, told)
    with capsys.disabled():
        print(f"\n{name}, seed {turmoil.seed}: {told}")
