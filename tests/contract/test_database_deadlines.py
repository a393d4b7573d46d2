"""A database that stops answering: whoever asks is refused by name, and what hangs holds up nobody else for long."""

from __future__ import annotations

import asyncio
import gc
import socket
import tempfile
import threading
import time
import tomllib
import weakref
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from packaging.requirements import Requirement
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import AuditEvent
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy import PATIENT, PROMPT, SQLAlchemyLedger, Waits, migrate
from jit_middleware_sqlalchemy.deadlines import connect_arguments, session_statement
from jit_middleware_sqlalchemy.engine import parse_url, step
from jit_middleware_sqlalchemy.failures import translate
from jit_middleware_sqlalchemy.pools import LoopPool
from tests.architecture.sources import ROOT
from tests.contract.conftest import FakeClock, Rig, close_rig, open_rig, tokens
from tests.contract.test_ledger_contract import AT
from tests.scenarios.conftest import SYNC_DRIVERS

pytestmark = pytest.mark.real

SHORT = Waits(answer=4, use=4, idle=1)
_LONG_ENOUGH = 40.0


class Wire:
    """Between a driver and the server's socket: what runs over it can fall silent, and is never told why.

    A silent connection is closed in the end, so that who waits for ever fails a test and does not hang it.
    """

    def __init__(self, path: Path, server: Path) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(32)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[int] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """Let nothing through any more, either way, on what is connected now."""
        self._silent = set(range(len(self._pairs)))
        hung_up = threading.Timer(_LONG_ENOUGH, self._hang_up)
        hung_up.daemon = True
        hung_up.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for end in (end for pair in self._pairs for end in pair):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._server))
                number = len(self._pairs)
                self._pairs.append((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(number, one, other), daemon=True).start()

    def _carry(self, number: int, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if number not in self._silent:
                    other.sendall(data)
            if number not in self._silent:
                other.shutdown(socket.SHUT_WR)


def _over_wire(url: str, place: Path) -> tuple[str, Wire]:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        server = Path(str(parsed.query["host"])) / ".s.PGSQL.5432"
        wire = Wire(place / ".s.PGSQL.5432", server)
        return str(parsed.update_query_dict({"host": str(place)})), wire
    wire = Wire(place / "wire", Path(str(parsed.query["unix_socket"])))
    return str(parsed.update_query_dict({"unix_socket": str(place / "wire")})), wire


def _rig(url: str, waits: Waits) -> Rig:
    ledger = SQLAlchemyLedger(url, clock=FakeClock(), tokens=tokens, waits=waits)
    return Rig(ledger, FakeClock(), url, asyncio.Runner() if ledger.answers == "later" else None)


@pytest.fixture
def place() -> Generator[Path]:
    """A directory whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def _pause(connection: Connection) -> None:
    sleep = "pg_sleep" if connection.dialect.name == "postgresql" else "sleep"
    connection.exec_driver_sql(f"SELECT {sleep}(0.3)").close()


def test_a_database_that_falls_silent_is_given_up_and_asked_anew(rig: Rig, place: Path) -> None:
    """Neither an answer nor an end, on every connection there is: one refusal, and then all are made anew."""
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    url, wire = _over_wire(rig.url, place)
    other = _rig(url, SHORT)
    other.together([lambda: other.ledger.database.use(_pause)] * 3)
    wire.fall_silent()
    with pytest.raises(StoreUnavailable) as refused:
        other.run(other.ledger.read_feed(0))
    assert refused.value.reason == "no_answer"
    assert other.run(other.ledger.read_feed(0)).complete
    assert other.run(other.ledger.read_feed(0)).complete
    close_rig(other)
    wire.close()


def test_a_commit_that_is_not_answered_is_refused_and_not_repeated(rig: Rig, place: Path) -> None:
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    url, wire = _over_wire(rig.url, place)
    other = _rig(url, SHORT)
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.append_audit(AuditEvent("e", "t", AT))
        await tx.list_sessions()
        wire.fall_silent()

    with pytest.raises(StoreUnavailable) as refused:
        other.run(other.ledger.transaction(work))
    assert (refused.value.reason, tries) == ("no_answer", 1)
    close_rig(other)
    wire.close()


def test_what_takes_its_time_is_not_cut_where_that_is_allowed(rig: Rig) -> None:
    """A command's statement may take longer than a request's."""
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    hasty, patient = _rig(rig.url, Waits(answer=0.2, use=0.2, idle=1)), _rig(rig.url, PATIENT)
    with pytest.raises((StoreUnavailable, DBAPIError)):
        hasty.run(hasty.ledger.database.use(_pause))
    hasty.run(hasty.ledger.database.use_patiently(_pause))
    patient.run(patient.ledger.database.use(_pause))
    for each in (hasty, patient):
        close_rig(each)


def _long_pause(connection: Connection) -> None:
    sleep = "pg_sleep" if connection.dialect.name == "postgresql" else "sleep"
    connection.exec_driver_sql(f"SELECT {sleep}(40)").close()


def _is_running(rig: Rig) -> bool:
    """Whether the server is at that still."""
    question = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(40)'"
        if rig.kind == "postgresql"
        else "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(40)'"
    )
    running = rig.run(
        rig.ledger.database.use(lambda connection: connection.exec_driver_sql(question.replace("%", "%%")).scalar())
    )
    return bool(running)


def test_the_server_ends_what_nobody_waits_for_any_more(rig: Rig) -> None:
    """A request that gave up is made again, and each would leave one more statement behind."""
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    hasty = _rig(rig.url, Waits(answer=0.5, use=0.5, idle=1))
    with pytest.raises((StoreUnavailable, DBAPIError)):
        hasty.run(hasty.ledger.database.use(_long_pause))
    for _ in range(100):
        if not _is_running(rig):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the server goes on with it")
    close_rig(hasty)


def test_a_statement_that_the_server_ends_in_time_is_no_answer(rig: Rig) -> None:
    """As when we had given up ourselves; the connection is as good as before."""
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    shorter = "SET statement_timeout = 200" if rig.kind == "postgresql" else "SET max_statement_time = 0.2"
    other = _rig(rig.url, PROMPT)

    def pause(connection: Connection) -> None:
        connection.exec_driver_sql(shorter)
        # Not MariaDB's sleep(), which ends early and says nothing of it.
        endless = "SELECT count(*) FROM " + ", ".join(f"{_MANY[rig.kind]} AS t{number}" for number in range(9))
        connection.exec_driver_sql(endless).close()

    with pytest.raises(DBAPIError) as ended:
        other.run(other.ledger.database.use(pause))
    failure = translate(ended.value, nothing_sent=True)
    assert isinstance(failure, StoreUnavailable)
    assert failure.reason == "no_answer"
    assert other.ledger.database.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    assert other.run(other.ledger.read_feed(0)).complete
    close_rig(other)


_MANY = {"postgresql": "generate_series(1, 100)", "mariadb": "information_schema.collations"}


def test_a_shorter_limit_that_the_operator_has_set_at_the_server_stays(rig: Rig) -> None:
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    show, expected = {
        "postgresql": ("SHOW statement_timeout", ("11s", "16s", "3s", "0")),
        "mariadb": ("SELECT @@max_statement_time", (11.0, 16.0, 3.0, 0.0)),
    }[rig.kind]
    ours = expected[1 if rig.ledger.database.is_async else 0]

    def shown(waits: Waits) -> object:
        other = _rig(rig.url, waits)
        try:
            return other.run(other.ledger.database.use(lambda one: one.exec_driver_sql(show).scalar()))
        finally:
            close_rig(other)

    def limit(seconds: int) -> None:
        name = rig.ledger.database.url.database
        statement = (
            f"ALTER DATABASE {name} SET statement_timeout = '{seconds}s'"
            if rig.kind == "postgresql"
            else f"SET GLOBAL max_statement_time = {seconds}"
        )
        rig.run(rig.ledger.database.use(lambda connection: connection.exec_driver_sql(statement).close()))

    assert (shown(PROMPT), shown(PATIENT)) == (ours, expected[3])
    try:
        limit(3)
        assert (shown(PROMPT), shown(PATIENT)) == (expected[2], expected[2])
        limit(60)
        assert shown(PROMPT) == ours
    finally:
        limit(0)


def test_a_worker_that_freezes_before_its_commit_holds_up_revocations_for_seconds_only(rig: Rig) -> None:
    """It has the head of the feed, and says nothing more: the server lets go of it."""
    if rig.kind == "sqlite":
        assert rig.run(rig.ledger.read_feed(0)).complete
        return
    frozen = _rig(rig.url, SHORT)
    driver = rig.url.partition(":")[0]
    others = SQLAlchemyLedger(
        rig.url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1), clock=rig.clock, tokens=tokens
    )

    def freeze(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("UPDATE jit_feed_head SET position = position + 1")
        step(others.transaction(lambda tx: tx.append_feed("session", "s")))
        connection.exec_driver_sql("COMMIT")

    with pytest.raises(DBAPIError):
        frozen.run(frozen.ledger.database.use(freeze))
    assert [(entry.position, entry.key) for entry in rig.run(rig.ledger.read_feed(0)).entries] == [(1, "s")]
    step(others.close())
    close_rig(frozen)


def test_a_transaction_that_was_left_open_reaches_nobody_else(rig: Rig) -> None:
    """Whoever gets the connection next would commit it with their own work, or fail in it."""

    def leave(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("UPDATE jit_feed_head SET position = 7")
        raise LookupError

    with pytest.raises(LookupError):
        rig.run(rig.ledger.database.use(leave))
    rig.run(rig.ledger.transaction(lambda tx: tx.append_feed("session", "s")))
    assert rig.run(rig.ledger.read_feed(0)).position == 1


def test_a_wait_for_the_schema_that_is_cut_short_leaves_a_usable_connection(empty_url: str) -> None:
    """Another process makes the schema, and the operator's ``statement_timeout`` ends our wait for it."""
    parsed = parse_url(empty_url)
    if parsed.get_backend_name() != "postgresql":
        assert migrate(empty_url)
        return
    import psycopg

    rig = _rig(empty_url, PATIENT)

    def ask(question: str) -> object:
        return rig.run(rig.ledger.database.use(lambda connection: connection.exec_driver_sql(question).scalar()))

    backend = ask("SELECT pg_backend_pid()")
    ask("SELECT set_config('statement_timeout', '300ms', false)")
    where = {"host": str(parsed.query["host"]), "user": "postgres", "dbname": parsed.database}
    with psycopg.connect(**where) as maker:  # type: ignore[arg-type]
        maker.execute("SELECT pg_advisory_xact_lock(%s)", [0x6A69745F])
        with pytest.raises(StoreUnavailable):
            rig.run(rig.ledger.prepare())
        maker.rollback()
        rig.run(rig.ledger.prepare())
    assert rig.run(rig.ledger.read_feed(0)).complete
    assert ask("SELECT pg_backend_pid()") == backend
    assert (
        ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'") == 0
    )
    close_rig(rig)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d?tcp_user_timeout=5&keepalives=0", {"connect_timeout": 5, "keepalives_idle": 30}),
        ("mariadb://h/d?read_timeout=90", {"write_timeout": 10, "connect_timeout": 5}),
        ("mariadb://h/d?connect_timeout=9", {"write_timeout": 10, "read_timeout": 10}),
    ],
)
def test_what_the_url_says_of_deadlines_is_left_alone(url: str, expected: dict[str, object]) -> None:
    parsed = parse_url(url)
    arguments = connect_arguments(parsed, PROMPT)
    assert expected.items() <= arguments.items()
    assert not set(parsed.query) & set(arguments)
    assert "read_timeout" not in connect_arguments(parsed, PATIENT)


@pytest.mark.parametrize(
    ("url", "absent", "present"),
    [
        ("postgresql://h/d?options=-c lock_timeout=9s", "lock_timeout", "idle_in_transaction_session_timeout"),
        (
            "postgresql://h/d?options=-c idle_in_transaction_session_timeout=0",
            "idle_in_transaction_session_timeout",
            "lock_timeout",
        ),
        ("postgresql://h/d?options=-c statement_timeout=60s", "statement_timeout", "lock_timeout"),
        (
            "mariadb://h/d?init_command=SET idle_transaction_timeout=0",
            "idle_transaction_timeout",
            "innodb_lock_wait_timeout",
        ),
        ("mariadb://h/d?init_command=SET max_statement_time=60", "max_statement_time", "idle_transaction_timeout"),
        ("mariadb://h/d?read_timeout=90", "max_statement_time", "idle_transaction_timeout"),
    ],
)
def test_what_the_url_sets_for_a_session_is_not_set_again(url: str, absent: str, present: str) -> None:
    statement = session_statement(parse_url(url), PROMPT) or ""
    assert present in statement
    assert absent not in statement


def test_psycopg_is_one_that_wakes_us_while_nothing_arrives() -> None:
    """Until 3.2.10 its C extension does not, so that our deadline for a statement is never looked at."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *declared["project"]["optional-dependencies"]["postgresql"],
        *(each for each in declared["dependency-groups"]["test"] if isinstance(each, str)),
    ]
    floors = [one.specifier for one in map(Requirement, wanted) if one.name == "psycopg"]
    assert [floor.contains("3.2.10") for floor in floors] == [False, False]
    assert [floor.contains("3.2.11") for floor in floors] == [True, True]


# --- event loops --------------------------------------------------------------------------------------------------


def test_event_loops_that_take_turns_keep_their_connections(driver: str, empty_url: str) -> None:
    """Each living loop has a pool of its own; that of a loop that was closed goes."""
    if not parse_url(empty_url).get_dialect().is_async:
        return
    rig = open_rig(driver, empty_url)
    made = 0

    @event.listens_for(rig.ledger.database.engine, "connect")
    def count(*_: object) -> None:
        nonlocal made
        made += 1

    second = asyncio.Runner()

    def read(runner: asyncio.Runner | None) -> None:
        assert runner is not None

        async def main() -> None:
            await rig.ledger.read_feed(0)

        runner.run(main())

    for _ in range(5):
        read(rig.runner)
        read(second)
    assert made == 1, "the first loop had a connection already"

    async def close() -> None:
        await rig.ledger.close()

    second.run(close())
    second.close()
    read(rig.runner)
    assert made == 1, "the first loop has its own pool still"
    close_rig(rig)


# Nobody can close a connection of a loop that is gone: the drivers complain of that when it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_closed_event_loop_had_is_dropped(driver: str, empty_url: str) -> None:
    if not parse_url(empty_url).get_dialect().is_async:
        return
    rig = open_rig(driver, empty_url)

    async def read() -> weakref.ref[QueuePool]:
        await rig.ledger.read_feed(0)
        return weakref.ref(cast("LoopPool", rig.ledger.database.engine.pool).here())

    with asyncio.Runner() as gone:
        pool = gone.run(read())
    assert pool() is not None
    rig.run(rig.ledger.close())
    rig.run(rig.ledger.read_feed(0))
    gc.collect()
    assert pool() is None
    close_rig(rig)
