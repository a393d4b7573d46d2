"""How long a database may keep us waiting, and we it. The rule: whoever asks is answered or refused, not left hanging.

A connection that is lost without a word (a partition, a frozen host, a firewall that forgets) looks like a slow answer,
so each driver is given a deadline on our side::

    psycopg              each statement, by :mod:`jit_middleware_sqlalchemy.prompt`; TCP's own, for what is not read
    PyMySQL              each read and write of the socket
    every async driver   a whole use of a connection

The server goes on with a statement that nobody waits for any more, so it is told to end that a second later. Not
earlier: PostgreSQL then calls a commit done that still waits for its standby.

The other way round, the server ends a transaction that says nothing: a worker that froze while it held the head of the
feed would else hold up every revocation of all the others. SQLite has no server, and waits for locks only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import URL

LOCK_SECONDS: Final = 5
CONNECT_SECONDS: Final = 5
#: How much longer than we the server goes on with a statement.
_AFTER_US: Final = 1


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds; ``None`` is as long as it takes.

    ``answer``: to one statement, with a sync driver. ``use``: of a connection from begin to end, with an async one.
    ``idle``: what the server allows between two statements of one transaction. ``writers``: for those who write events,
    before the trail is read, which is a part of a ``use``.
    """

    answer: float | None
    use: float | None
    idle: int
    writers: float = LOCK_SECONDS


#: For requests, and for what comes on the heels of one: the hourly sweep.
PROMPT: Final = Waits(answer=10, use=15, idle=10)
#: For commands: an export or a new index takes what it takes.
PATIENT: Final = Waits(answer=None, use=None, idle=60, writers=30)

_CONNECT: Final[dict[str, dict[str, object]]] = {
    "psycopg": {
        "connect_timeout": CONNECT_SECONDS,
        # A peer that is gone is noticed even by those who only wait; an idle connection stays known to firewalls.
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    },
    "asyncpg": {"timeout": CONNECT_SECONDS},
    "pymysql": {"connect_timeout": CONNECT_SECONDS},
    "aiomysql": {"connect_timeout": CONNECT_SECONDS},
}
# A shorter one, which the operator has given to the role or the database, stays.
_POSTGRESQL_STATEMENT: Final = (
    "CASE WHEN current_setting('statement_timeout')::interval BETWEEN '1 ms' AND '{milliseconds} ms' THEN ''"
    " ELSE set_config('statement_timeout', '{milliseconds}ms', false) END"
)
_MARIADB_STATEMENT: Final = (
    "max_statement_time = IF(@@max_statement_time BETWEEN 0.001 AND {seconds}, @@max_statement_time, {seconds})"
)


def connect_arguments(url: URL, waits: Waits) -> dict[str, object]:
    """What the driver is told when it connects; what stands in the URL stays as it is there."""
    driver = url.drivername.partition("+")[2]
    arguments = dict(_CONNECT.get(driver, {}))
    if driver == "pymysql" and waits.answer is not None:
        arguments |= {"read_timeout": waits.answer, "write_timeout": waits.answer}
    return {name: value for name, value in arguments.items() if name not in url.query}


def session_statement(url: URL, waits: Waits) -> str | None:
    """The one statement that sets a new connection up, for PostgreSQL and MariaDB; ``None`` when there is nothing left.

    What the URL sets (PostgreSQL's ``options``, ``init_command`` of MariaDB's drivers) is not set again.
    """
    given = str(dict(url.query))
    ours = waits.use if url.get_dialect().is_async else waits.answer
    statement = None if ours is None or "read_timeout" in url.query else ours + _AFTER_US
    if url.get_backend_name() == "postgresql":
        # One function call for each: a second statement would be a second round trip.
        wanted = {
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{waits.idle}s",
        }
        calls = [f"set_config('{name}', '{value}', false)" for name, value in wanted.items() if name not in given]
        if statement is not None and "statement_timeout" not in given:
            calls.append(_POSTGRESQL_STATEMENT.format(milliseconds=round(statement * 1000)))
        return f"SELECT {', '.join(calls)}" if calls else None
    # Strict: too long is an error, never a shorter name that is somebody else's.
    fixed = "sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION', tx_isolation = 'READ-COMMITTED'"
    numbers = {"innodb_lock_wait_timeout": LOCK_SECONDS, "idle_transaction_timeout": waits.idle}
    settings = [f"{name} = {value}" for name, value in numbers.items() if name not in given]
    if statement is not None and "max_statement_time" not in given:
        settings.append(_MARIADB_STATEMENT.format(seconds=statement))
    return f"SET SESSION {', '.join([fixed, *settings])}"
