"""The ledger on any database SQLAlchemy speaks to, sync or async driver, with the default users beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar

from sqlalchemy import Connection, Executable, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jit_middleware.errors import AdapterError, Conflict, StoreUnavailable
from jit_middleware.model import Account, AuditEvent, FeedEntry, FeedPage, SessionView, Status
from jit_middleware.ports import Clock, Neighbours, TokenSource, Transaction
from jit_middleware_sqlalchemy import queries
from jit_middleware_sqlalchemy.deadlines import PROMPT, Waits
from jit_middleware_sqlalchemy.engine import Database, step
from jit_middleware_sqlalchemy.failures import Again, translate
from jit_middleware_sqlalchemy.lean import Fixed
from jit_middleware_sqlalchemy.marks import latest
from jit_middleware_sqlalchemy.rows import is_plain, number, read_account, read_event, read_session
from jit_middleware_sqlalchemy.schema import (
    CONNECTION,
    IDP_SESSION,
    SESSION_ID,
    audit,
    grants,
    users,
)
from jit_middleware_sqlalchemy.sweeping import LONGEST, FeedWalk, walks
from jit_middleware_sqlalchemy.trail import has_event, read_trail
from jit_middleware_sqlalchemy.transaction import Tx
from jit_middleware_sqlalchemy.unit import Unit
from jit_middleware_sqlalchemy.upgrade import is_current, prepare_schema
from jit_middleware_sqlalchemy.writes import Statements

T = TypeVar("T")

_TRIES = 3
_AT_ONCE = 500
_SESSION_COLUMNS = len(queries.SESSION)


class SQLAlchemyLedger:
    """The middleware's records in a database.

    ``url`` is any SQLAlchemy URL for PostgreSQL, MariaDB or SQLite; without a driver the sync one is taken
    (psycopg, PyMySQL, sqlite3). ``keep_users`` says whether the default user store lives here too. ``pool_size``
    connections are kept per process, twice as many may be open. ``neighbours`` hear of what is committed here; they
    are closed with the ledger. ``waits``: how long the database may take, which is less for requests than for commands.

    ::

        ledger = SQLAlchemyLedger("sqlite:///jit.db", clock=clock, tokens=tokens)
        await ledger.prepare()

    Raises ``ConfigurationError`` for a URL that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        tokens: TokenSource,
        keep_users: bool = True,
        pool_size: int = 5,
        neighbours: Neighbours | None = None,
        waits: Waits = PROMPT,
    ) -> None:
        self._database = Database(url, pool_size=pool_size, waits=waits)
        self._statements = Statements(self._database.kind, self._database.engine)
        self._clock = clock
        self._tokens = tokens
        self._keeps_users = keep_users
        self._neighbours = neighbours

    @property
    def answers(self) -> Literal["at once", "later"]:
        """Whether its coroutines finish in one step."""
        return "later" if self._database.is_async else "at once"

    @property
    def keeps_users(self) -> bool:
        """Whether the default user store lives here."""
        return self._keeps_users

    @property
    def database(self) -> Database:
        """The engine below, for instrumentation and the command line."""
        return self._database

    async def prepare(self) -> None:
        """Make a missing schema; raises ``ConfigurationError`` for one of another version, ``StoreUnavailable``."""
        if not await self._read(is_current):
            # Waits for another process that makes it; both are safe to repeat.
            await self._read(prepare_schema, patiently=True)

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]], *, rehearsal: bool = False) -> T:
        """Run ``work`` in one transaction, at most three times; see ``ports.Ledger``."""
        return await self._again(lambda unit: step(work(self._tx(unit))), is_hopeful=not rehearsal)

    async def reading(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``work`` that only reads: no transaction is opened, so no write lock is taken. Writes are dropped."""
        return await self._read(
            lambda connection: step(work(self._tx(Unit(connection, self._statements, self._clock))))
        )

    async def find_session(self, session_id: str) -> SessionView | None:
        """The session with its account; ``None`` also when the account is lost, which never grants access."""
        if not is_plain(session_id, SESSION_ID):
            return None
        rows = await self._fixed(queries.FIND_SESSION, {"session": session_id})
        account = read_account(rows, _SESSION_COLUMNS) if rows else None
        if account is None:
            return None
        return SessionView(read_session(rows[0]), account, latest(rows[0][-queries.MARKED :], self._clock.now()))

    async def live_among(self, session_ids: Sequence[str]) -> Sequence[str]:
        """Those of these sessions that nobody has ended; see ``ports.Ledger``."""
        asked = [each for each in session_ids if is_plain(each, SESSION_ID)]
        live: list[str] = []
        for start in range(0, len(asked), _AT_ONCE):
            rows = await self._rows(queries.LIVE_AMONG, {"ids": asked[start : start + _AT_ONCE]})
            live += [str(row[0]) for row in rows]
        return live

    async def has_provider_session(self, connection: str, idp_session: str) -> bool:
        """Whether a session goes by this name at the provider; see ``ports.Ledger``."""
        if not (is_plain(connection, CONNECTION) and is_plain(idp_session, IDP_SESSION)):
            return False
        asked = {"connection": connection, "name": idp_session, "now": self._clock.now()}
        return bool(await self._fixed(queries.PROVIDER_SESSION, asked))

    async def touch_session(self, session_id: str, at: int) -> None:
        """Record coarse activity; never revives, and moves back only from an hour ahead, where no clock was right."""
        if is_plain(session_id, SESSION_ID):
            values = {"session": session_id, "at": at}
            await self._read(lambda connection: connection.execute(queries.TOUCH_SESSION, values))

    async def claim_probe(self, session_id: str, *, due: int, lease: int) -> bool:
        """Whether this caller is the one that asks the provider now; see ``ports.Ledger``."""
        values = {"session": session_id, "due": due, "lease": lease}
        return await self._read(lambda connection: connection.execute(queries.CLAIM_PROBE, values).rowcount) == 1

    async def settle_probe(
        self, session_id: str, *, lease: int, probe_at: int, failing_since: int | None, refresh_token: str
    ) -> bool:
        """Keep what came of it; see ``ports.Ledger``."""
        values = {
            "session": session_id,
            "lease": lease,
            "next": probe_at,
            "failing": failing_since,
            "token": refresh_token,
        }
        return await self._read(lambda connection: connection.execute(queries.SETTLE_PROBE, values).rowcount) == 1

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        """What changed after that position, and where to read on."""
        if self._neighbours is not None:
            self._neighbours.attend()
        if after is None:
            position = await self._read(lambda connection: connection.execute(queries.FEED_POSITION).scalar_one())
            return FeedPage(position, ())
        parameters = {"after": after, "limit": limit}
        rows = await self._fixed(queries.READ_FEED, parameters)
        head, pruned = number(rows[0][0]), number(rows[0][1])
        entries = tuple(FeedEntry(number(row[2]), str(row[3]), str(row[4])) for row in rows if row[2] is not None)
        # A full page ends at its last entry: the rest is read next time. A reader ahead of the head has seen another
        # history (a restored database), so what it knows is worth nothing.
        position = entries[-1].position if len(entries) == limit else head
        return FeedPage(position, entries, complete=pruned <= after <= head)

    async def list_audit(
        self,
        *,
        after: str | None = None,
        type: str | None = None,
        user_id: str | None = None,
        reference: str | None = None,
        limit: int = 1000,
    ) -> Sequence[AuditEvent]:
        """Events in the order they were recorded, from the one after ``after``; see ``ports.Ledger``.

        Whoever goes on after the last one misses none, but for what :mod:`jit_middleware_sqlalchemy.trail` says of
        MariaDB. So this waits for transactions that are writing events: 5 seconds, in a command 30. Raises
        ``StoreUnavailable("contention")`` when that was not enough.
        """
        statement = select(*queries.AUDIT).order_by(audit.c.seq).limit(limit)
        if after is not None and not is_plain(after, 255):
            raise LookupError("no such event")
        if not all(is_plain(text, 255) for text in (type, user_id, reference) if text is not None):
            return []
        if after is not None:
            statement = statement.where(audit.c.seq > select(audit.c.seq).where(audit.c.id == after).scalar_subquery())
        if type is not None:
            statement = statement.where(audit.c.type == type)
        if user_id is not None:
            statement = statement.where(audit.c.user_id == user_id)
        if reference is not None:
            statement = statement.where(audit.c.reference == reference)
        seconds = self._database.waits.writers
        rows = await self._read(lambda connection: read_trail(connection, statement, seconds=seconds))
        if not rows and after is not None and not await self._read(lambda connection: has_event(connection, after)):
            raise LookupError("no such event")
        return [read_event(row) for row in rows]

    async def list_users(
        self, *, limit: int = 1000, after: str | None = None, status: Status | None = None
    ) -> Sequence[Account]:
        """Accounts by id, from the one after ``after``; with ``status``, only those that have it."""
        page = select(users.c.id).order_by(users.c.id).limit(limit)
        if status is not None:
            page = page.where(users.c.status == status.value)
        if after is not None:
            if not is_plain(after, 255):
                return []
            page = page.where(users.c.id > after)
        chosen = page.subquery("chosen")
        source = chosen.join(users, users.c.id == chosen.c.id).outerjoin(grants, grants.c.user_id == users.c.id)
        statement = select(*queries.ACCOUNT, *queries.GRANT).select_from(source).order_by(users.c.id)
        by_user: dict[object, list[Sequence[object]]] = {}
        for row in await self._rows(statement, {}):
            by_user.setdefault(row[0], []).append(row)
        accounts = (read_account(rows, 0) for rows in by_user.values())
        return [account for account in accounts if account is not None]

    async def prune(self, before: int) -> int:
        """Forget what nobody can need after that time, some hundred rows at a time; how many rows went.

        Each step is committed by itself. What is left after two seconds is for the next time.
        """
        gone, end = 0, self._clock.monotonic() + LONGEST
        entries = FeedWalk(before)
        while not entries.is_at_its_end and self._clock.monotonic() < end:
            gone += await self._again(entries.step)
        for walk in walks(before):
            while not walk.is_at_its_end and self._clock.monotonic() < end:
                gone += await self._read(walk.step)
        return gone

    async def close(self) -> None:
        """Close the pool, and the wire to the neighbours."""
        if self._neighbours is not None:
            self._neighbours.close()
        await self._database.close()

    # --- one try ----------------------------------------------------------------------------------------------------

    async def _again(self, work: Callable[[Unit], T], *, is_hopeful: bool = False) -> T:
        failure: AdapterError = StoreUnavailable("contention")
        for _ in range(_TRIES):
            try:
                return await self._use(partial(self._unit, work, is_hopeful=is_hopeful))
            except Conflict as conflict:
                # Taken is taken: running it again would only find the same key.
                if conflict.reason == "once_key":
                    raise
                failure, is_hopeful = conflict, False
            except Again as again:
                # Perhaps behind the lock of a row whose key it wants, which a question would not wait for.
                failure, is_hopeful = again.failure, False
        raise failure

    def _tx(self, unit: Unit) -> Tx:
        return Tx(
            unit,
            clock=self._clock,
            tokens=self._tokens,
            keeps_users=self._keeps_users,
            neighbours=self._neighbours,
        )

    def _unit(self, work: Callable[[Unit], T], connection: Connection, *, is_hopeful: bool) -> T:
        unit = Unit(connection, self._statements, self._clock, is_hopeful=is_hopeful)
        try:
            if self._database.kind == "sqlite":
                unit.begin()
            result = work(unit)
            unit.commit()
        except DBAPIError as error:
            unit.abandon(error)
            raise translate(error, nothing_sent=not unit.may_be_committed) from None
        except BaseException as error:
            unit.abandon(error)
            raise
        if self._neighbours is not None:
            self._neighbours.tell(access_changed=unit.access_changed, used=unit.used)
        return result

    async def _read(self, body: Callable[[Connection], T], *, patiently: bool = False) -> T:
        """What is safe to repeat; a dead pooled connection or a short lock costs one more try."""
        failure: AdapterError = StoreUnavailable("contention")
        for _ in range(2):
            try:
                return await self._use(body, patiently=patiently)
            except Again as again:
                failure = again.failure
        raise failure

    async def _fixed(self, statement: Fixed, parameters: Mapping[str, object]) -> Sequence[Sequence[object]]:
        lean = self._statements.lean
        return await self._read(lambda connection: lean.read(connection, statement, parameters))

    async def _rows(self, statement: Executable, parameters: Mapping[str, object]) -> Sequence[Sequence[object]]:
        return await self._read(lambda connection: connection.execute(statement, parameters).all())

    async def _use(self, body: Callable[[Connection], T], *, patiently: bool = False) -> T:
        """Run ``body`` on a connection. The database's own text never gets out: it quotes the values."""
        connected = False

        def run(connection: Connection) -> T:
            nonlocal connected
            connected = True
            return body(connection)

        try:
            return await (self._database.use_patiently(run) if patiently else self._database.use(run))
        except SQLAlchemyError as error:
            raise translate(error, nothing_sent=True) from None
        except self._database.connect_errors as error:
            if connected:
                raise
            raise translate(error, nothing_sent=True) from None
