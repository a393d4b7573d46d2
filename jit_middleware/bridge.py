"""How one core, written as coroutines, runs in two worlds: stepped under WSGI, awaited under ASGI.

The core awaits nothing but ports. A port that answers at once lets a coroutine finish in its first step, so WSGI needs
no event loop and no thread (:func:`step`). A sync port under ASGI costs one thread hop per unit of work. An async port
under WSGI is refused when the middleware is built. This is the only room that knows asyncio, threads and asgiref, and
the one where a broad ``except`` turns a foreign exception into one of ours. A WSGI worker never loads an event loop.
"""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, TypeVar, cast

from jit_middleware.errors import AdapterError, ConfigurationError, Conflict, Fault, JITError, StoreUnavailable, whence
from jit_middleware.faces import VERBS, StoreUsers, offered_verbs
from jit_middleware.model import Account, AuditEvent, FeedPage, SessionView, Status
from jit_middleware.own_threads import NoThread, OwnThreads
from jit_middleware.ports import AsyncUserStore, Clock, Ledger, Transaction, Users, UserStore

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
World: TypeAlias = Literal["wsgi", "asgi"]

# What ASGI passes around is typed by its "type" key alone, so its values are anything.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
OnItsWay: TypeAlias = list[Any]  # a response, as `noticing` has it: nothing is made faster than a list
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_START_PAUSE: Final = 1.0
#: As many as the default ledger opens connections: more would wait for one.
STORE_THREADS: Final = 10


# --- what others make ---------------------------------------------------------------------------------------------


def made_elsewhere(setting: str, name: str, make: Callable[[], T]) -> T:
    """What ``make`` answers, which runs code of the application named ``name`` in ``setting``.

    Whatever that code raises becomes one fault with the kind of the error and its place. Its text may hold a password,
    and is not even in the traceback. Errors of ours pass as they are.
    """
    try:
        return make()
    except JITError:
        raise
    except Exception as error:  # noqa: BLE001 - told, whatever it is
        fix = "mend the cause at that place; what is named here is imported, and called without arguments."
        raise ConfigurationError([Fault(setting, f"{name!r} raised {whence(error)}.", fix)]) from None


# --- stepping -----------------------------------------------------------------------------------------------------


def step(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose ports all answer at once to its end, on this thread, and return its result.

    What the coroutine raises comes out as it is. One that wants to wait is closed, and a ``RuntimeError`` names the
    place: it awaited something that needs an event loop, which a port under WSGI must not do.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    culprit = _innermost(coroutine)
    coroutine.close()
    raise RuntimeError(f"{culprit} waits for an event loop, but here every port must answer at once")


def _innermost(coroutine: Coroutine[Any, Any, Any]) -> str:
    """The function at the end of the chain of awaits, with its file and line."""
    place: Any = coroutine
    while True:
        inner = getattr(place, "cr_await", None)
        if inner is None or getattr(inner, "cr_frame", None) is None:
            break
        place = inner
    frame = place.cr_frame
    return f"{place.__qualname__} ({frame.f_code.co_filename}:{frame.f_lineno})"


# --- locks --------------------------------------------------------------------------------------------------------


class ThreadLocks:
    """Locks between threads, as a :class:`~jit_middleware.ports.Locks`: entering one blocks the thread."""

    __slots__ = ()

    def __call__(self) -> AbstractAsyncContextManager[None]:
        return _ThreadLock()


class _ThreadLock(AbstractAsyncContextManager[None]):
    def __init__(self) -> None:
        # By process, since a lock that some thread held during a fork stays locked for ever in the child.
        self._locks: dict[int, threading.Lock] = {}
        self._taken: dict[int, threading.Lock] = {}  # by thread: what is taken is what is given back

    async def __aenter__(self) -> None:
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        lock.acquire()
        self._taken[threading.get_ident()] = lock

    async def __aexit__(self, *exc_info: object) -> None:
        self._taken.pop(threading.get_ident()).release()


class TaskLocks:
    """Locks between the tasks of one event loop, as a :class:`~jit_middleware.ports.Locks`.

    Each loop that uses a lock has its own: a gate that several loops share (test clients, one loop per thread) works,
    but holders on different loops do not exclude each other.
    """

    __slots__ = ()

    def __call__(self) -> AbstractAsyncContextManager[None]:
        return _TaskLock()


class _TaskLock(AbstractAsyncContextManager[None]):
    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._guard = threading.Lock()

    async def __aenter__(self) -> None:
        await self._of_this_loop().acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._of_this_loop().release()

    def _of_this_loop(self) -> asyncio.Lock:
        import asyncio

        loop = asyncio.get_running_loop()
        with self._guard:
            lock = self._by_loop.get(loop)
            if lock is None:
                for old in [old for old in self._by_loop if old.is_closed()]:
                    del self._by_loop[old]  # a lock that was waited for keeps its loop
                lock = self._by_loop[loop] = asyncio.Lock()
            return lock


# --- starting -----------------------------------------------------------------------------------------------------


class StartOnce:
    """Starts the gate once in each process, however many requests arrive first; fork-safe.

    A start that fails is tried again by a later request, at most once a second, so that a database that is down is
    not asked by every request in a queue; the others see the same failure and do not wait for the one that tries.
    """

    def __init__(self, start: Callable[[], Awaitable[None]], clock: Clock, world: World) -> None:
        self._start = start
        self._clock = clock
        self._world = world
        self._started_in: int | None = None
        self._trying_in: int | None = None
        # By process: what its parent met is not its own, and a lock that some thread held during a fork stays locked.
        self._failures: dict[int, tuple[float, JITError]] = {}
        self._locks: dict[int, AbstractAsyncContextManager[None]] = {}

    def is_done(self) -> bool:
        """Whether the gate was started in this very process (a child of a started one starts anew)."""
        return self._started_in == os.getpid()

    async def __call__(self) -> None:
        """Return when the gate is started. Raises what the start raised."""
        if self.is_done():
            return
        pid = os.getpid()
        if (known := self._failures.get(pid)) is not None and self._trying_in == pid:
            raise known[1].afresh()
        async with self._locks.setdefault(pid, _ThreadLock() if self._world == "wsgi" else _TaskLock()):
            if self.is_done():
                return
            if (known := self._failures.get(pid)) is not None and self._clock.monotonic() - known[0] < _START_PAUSE:
                raise known[1].afresh()
            self._trying_in = pid
            try:
                await self._start()
            except JITError as error:
                self._failures = {pid: (self._clock.monotonic(), error.afresh())}
                raise
            finally:
                self._trying_in = None
            self._failures = {}
            self._started_in = pid

    def forget(self) -> None:
        """The gate was closed: the next request starts it again."""
        self._started_in = None


# --- faces --------------------------------------------------------------------------------------------------------


def users_face(store: UserStore | AsyncUserStore, world: World, threads: OwnThreads | None = None) -> Users:
    """A user store, sync or async, as the core awaits it in this world: a sync one under ASGI in ``threads``.

    Raises ``ConfigurationError`` for an async store under WSGI, and for one with missing or mixed verbs.
    """
    offered = offered_verbs(store)
    missing = [verb for verb in VERBS if verb not in offered]
    if missing:
        _refuse_store(
            f"{type(store).__name__} lacks {', '.join(missing)}.",
            "implement all five verbs of jit_middleware.ports.UserStore (jit_middleware.testing.UserStoreContract "
            "proves them).",
        )
    later = [verb for verb in offered if inspect.iscoroutinefunction(getattr(store, verb))]
    if not later:
        if world == "wsgi":
            return StoreUsers(store, lambda call: _directly(lambda: _ours_only(call)))
        crew = threads or OwnThreads("jit-middleware-users", most=STORE_THREADS)
        return StoreUsers(store, lambda call: _in_a_thread(lambda: _ours_only(call), crew))
    if len(later) < len(offered):
        _refuse_store(
            f"{type(store).__name__} mixes async verbs ({', '.join(later)}) with sync ones.",
            "make all verbs sync, or all of them async.",
        )
    if world == "wsgi":
        _refuse_store(
            f"{type(store).__name__} is async, and a WSGI server has no event loop to run it in.",
            "serve the application under ASGI (jit_middleware.asgi), or give the store sync verbs.",
        )
    return StoreUsers(store, _awaited)


def ledger_face(ledger: Ledger, world: World) -> Ledger:
    """A ledger as the core awaits it in this world; raises ``ConfigurationError`` for an async driver under WSGI."""
    if ledger.answers == "later":
        if world == "asgi":
            return ledger
        raise ConfigurationError(
            [
                Fault(
                    "JIT_DATABASE_URL",
                    "it names an async database driver, and a WSGI server has no event loop to run it in.",
                    "name the sync driver (sqlite:// for sqlite+aiosqlite://, postgresql+psycopg:// for "
                    "postgresql+asyncpg://, mysql+pymysql:// for mysql+aiomysql://), or serve the application under "
                    "ASGI.",
                )
            ]
        )
    return ledger if world == "wsgi" else _HoppingLedger(ledger)


def _refuse_store(problem: str, fix: str) -> NoReturn:
    raise ConfigurationError([Fault("JIT_USER_STORE", problem, fix)])


async def _directly(call: Callable[[], T]) -> T:
    return call()


async def _in_a_thread(call: Callable[[], T], threads: OwnThreads) -> T:
    """One thread hop with the context variables kept; none for a caller that is in a thread of its own already.

    The latter is work inside a ledger transaction that has hopped as a whole. Raises ``StoreUnavailable`` when there
    is no thread to be had.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    from asgiref.sync import sync_to_async

    executor = cast("ThreadPoolExecutor", threads)  # of which the loop asks no more than to submit
    try:
        return await sync_to_async(call, thread_sensitive=False, executor=executor)()
    except NoThread as none:
        raise StoreUnavailable("no_thread", str(none)) from None


def _translated(error: Exception) -> AdapterError:
    """A store's own exception as one of ours; only its class is named, since its text may hold personal data.

    What a store can find taken is a name (``ports.UserStore.create``), whatever it calls it.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if "Conflict" in names:
        return Conflict("username", type(error).__name__)
    return StoreUnavailable("user_store", type(error).__name__)


def _named(error: Exception) -> Exception | None:
    """The cause to keep: the log shows the text of our own errors, and a store may have written that too."""
    return None if isinstance(error, JITError) else error


def _ours_only(call: Callable[[], T]) -> T:
    """Call a sync store; what it raises is translated on this thread, since a ``StopIteration`` never crosses one."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - translated, whatever it is
        raise _translated(error) from _named(error)


async def _awaited(call: Callable[[], object]) -> object:
    """Call an async store; what it raises is translated."""
    try:
        return await cast("Awaitable[object]", call())
    except Exception as error:  # noqa: BLE001 - translated, whatever it is
        raise _translated(error) from _named(error)


class _HoppingLedger:
    """A sync ledger under ASGI: every call, a whole transaction included, is stepped in one thread hop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._threads = OwnThreads("jit-middleware-ledger", most=STORE_THREADS)

    @property
    def answers(self) -> Literal["at once", "later"]:
        return "later"

    @property
    def keeps_users(self) -> bool:
        return self._ledger.keeps_users

    async def prepare(self) -> None:
        await self._hop(self._ledger.prepare)

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]], *, rehearsal: bool = False) -> T:
        return await self._hop(lambda: self._ledger.transaction(work, rehearsal=rehearsal))

    async def find_session(self, session_id: str) -> SessionView | None:
        return await self._hop(lambda: self._ledger.find_session(session_id))

    async def live_among(self, session_ids: Sequence[str]) -> Sequence[str]:
        return await self._hop(lambda: self._ledger.live_among(session_ids))

    async def has_provider_session(self, connection: str, idp_session: str) -> bool:
        return await self._hop(lambda: self._ledger.has_provider_session(connection, idp_session))

    async def touch_session(self, session_id: str, at: int) -> None:
        await self._hop(lambda: self._ledger.touch_session(session_id, at))

    async def claim_probe(self, session_id: str, *, due: int, lease: int) -> bool:
        return await self._hop(lambda: self._ledger.claim_probe(session_id, due=due, lease=lease))

    async def settle_probe(
        self, session_id: str, *, lease: int, probe_at: int, failing_since: int | None, refresh_token: str
    ) -> bool:
        return await self._hop(
            lambda: self._ledger.settle_probe(
                session_id, lease=lease, probe_at=probe_at, failing_since=failing_since, refresh_token=refresh_token
            )
        )

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        return await self._hop(lambda: self._ledger.read_feed(after, limit))

    async def list_audit(
        self,
        *,
        after: str | None = None,
        type: str | None = None,
        user_id: str | None = None,
        reference: str | None = None,
        limit: int = 1000,
    ) -> Sequence[AuditEvent]:
        return await self._hop(
            lambda: self._ledger.list_audit(after=after, type=type, user_id=user_id, reference=reference, limit=limit)
        )

    async def list_users(
        self, *, limit: int = 1000, after: str | None = None, status: Status | None = None
    ) -> Sequence[Account]:
        return await self._hop(lambda: self._ledger.list_users(limit=limit, after=after, status=status))

    async def prune(self, before: int) -> int:
        return await self._hop(lambda: self._ledger.prune(before))

    async def close(self) -> None:
        try:
            await self._hop(self._ledger.close)
        finally:
            self._threads.close()

    def _hop(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        return _in_a_thread(lambda: step(ask()), self._threads)
