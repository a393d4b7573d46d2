"""What the core asks of the outside, as Protocols: an adapter need not import this package at run time.

The core is written as ``async def`` and awaits nothing but these ports. A port that answers at once (a sync database
driver, an app's sync user store) lets the whole flow finish in one step, without an event loop and without a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from jit_middleware.model import (
    Account,
    AuditEvent,
    FeedPage,
    Grant,
    IdentityLink,
    Profile,
    ProfileChanges,
    SessionRecord,
    SessionView,
    Status,
    User,
)

T = TypeVar("T")


class Clock(Protocol):
    """The two clocks: wall time for what is stored and compared with others, monotonic time for what is measured."""

    def now(self) -> int:
        """Whole seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class TokenSource(Protocol):
    """Unguessable text."""

    def __call__(self, bytes_of_entropy: int = 32) -> str:
        """URL-safe text with at least that much entropy."""
        ...


class Locks(Protocol):
    """Locks of the world the core runs in (threads under WSGI, tasks under ASGI)."""

    def __call__(self) -> AbstractAsyncContextManager[None]:
        """A new lock: ``async with lock:`` admits one holder at a time, and may be entered again and again."""
        ...


class Offload(Protocol):
    """Where work that keeps the processor busy is done, so that it holds up nobody else."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """What ``work`` answers or raises. Raises :class:`~jit_middleware.errors.Busy` with reason ``busy`` when too
        much of it is going on already, or ``deadline`` when it takes too long."""
        ...


class Background(Protocol):
    """Work that nobody waits for."""

    def __call__(self, work: Callable[[], Coroutine[object, object, None]], /) -> None:
        """Begin ``work`` and return. It deals with its own failures."""
        ...


# --- the app's users ----------------------------------------------------------------------------------------------


class UserStore(Protocol):
    """The app's users; what a custom storage adapter implements.

    Raise :class:`~jit_middleware.errors.Conflict` (or any exception class whose name is ``Conflict``) when a name is
    taken, anything else when the store cannot answer. ``jit_middleware.testing.UserStoreContract`` proves an adapter.
    Optional verbs: ``set_roles(user_id, roles)``, ``revoke_credentials(user_id)``, ``delete(user_id)``.
    """

    def get(self, user_id: str) -> User | None:
        """The user with exactly this id, active or not; ``None`` when there is none."""
        ...

    def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """All users with this e-mail address or username, compared without ASCII case; ``[]`` when there is none."""
        ...

    def create(self, profile: Profile) -> User:
        """Make the user, or return the one already made for ``profile.provisioning_key``: idempotent, also in a race.

        Raises ``Conflict`` when the username is another user's.
        """
        ...

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        """Change the fields that are set in ``changes``, leave the others, and return the user as it is then."""
        ...

    def set_active(self, user_id: str, active: bool) -> None:
        """Let the user in, or keep them out; the same call twice is no error."""
        ...


class AsyncUserStore(Protocol):
    """The verbs of :class:`UserStore` as ``async def``; served by the ASGI middleware."""

    async def get(self, user_id: str) -> User | None: ...
    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]: ...
    async def create(self, profile: Profile) -> User: ...
    async def update(self, user_id: str, changes: ProfileChanges) -> User: ...
    async def set_active(self, user_id: str, active: bool) -> None: ...


class Users(AsyncUserStore, Protocol):
    """A user store as the core sees it: awaitable whatever stands behind it, with the optional verb always there."""

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Write the roles where the store keeps them; a store without roles does nothing."""
        ...


# --- the middleware's own records ---------------------------------------------------------------------------------


class Transaction(Protocol):
    """One unit of work on the ledger: all of it becomes visible at once, or nothing does.

    Writes may be held back and sent together when the work ends, so a ``Conflict`` may come from the commit.
    """

    @property
    def users(self) -> Users | None:
        """The users in this same transaction when the ledger's database keeps them, else ``None``."""
        ...

    async def find_link(self, connection: str, issuer: str, subject: str) -> tuple[IdentityLink, Account | None] | None:
        """The link of this identity, byte for byte, with its account (and profile and grants) in one read."""
        ...

    async def find_account(self, user_id: str) -> Account | None:
        """The account of this user with its grants, and the profile when the ledger keeps it."""
        ...

    async def list_links(self, user_id: str) -> Sequence[IdentityLink]: ...

    async def add_link(self, link: IdentityLink) -> None:
        """Raises ``Conflict`` when this identity is linked already."""
        ...

    async def settle_link(self, link: IdentityLink, user_id: str) -> bool:
        """Give an open intent its user; true for the one caller that did it."""
        ...

    async def mark_first_login(self, link: IdentityLink, at: int) -> None: ...

    async def add_account(self, account: Account) -> None:
        """Record a user kept by an outside store; a repeat is no error."""
        ...

    async def set_status(self, user_id: str, status: Status) -> None: ...

    async def is_tombstoned(self, connection: str, issuer: str, subject: str) -> bool: ...

    async def add_tombstone(self, connection: str, issuer: str, subject: str, at: int) -> None: ...

    async def change_grants(self, user_id: str, *, add: Sequence[Grant], remove: Sequence[Grant]) -> None: ...

    async def add_session(self, session: SessionRecord) -> None: ...

    async def end_sessions(
        self,
        at: int,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        connection: str | None = None,
        idp_session: str | None = None,
        except_session: str | None = None,
    ) -> Sequence[SessionRecord]:
        """End the live sessions that match every given selector (at least one), append each to the feed, return
        them."""
        ...

    async def list_sessions(self, *, user_id: str | None = None, limit: int = 1000) -> Sequence[SessionRecord]:
        """Live sessions, newest first."""
        ...

    async def claim_once(self, purpose: str, key: str, until: int) -> None:
        """Take a one-use key, remembered at least until that time; raises ``Conflict("once_key")`` when it was taken.

        Held back like every write: the conflict may come from the commit.
        """
        ...

    async def append_feed(self, kind: str, key: str) -> None:
        """Tell every worker that access changed; its position is gap-free in commit order."""
        ...

    async def append_audit(self, event: AuditEvent) -> None: ...


class Ledger(Protocol):
    """The middleware's own records: links, accounts, grants, sessions, once-keys, feed, audit."""

    @property
    def answers(self) -> Literal["at once", "later"]:
        """Whether its coroutines finish in one step (sync driver) or need an event loop (async driver)."""
        ...

    @property
    def keeps_users(self) -> bool:
        """Whether the default user store lives in this ledger (``Transaction.users`` is then present)."""
        ...

    async def prepare(self) -> None:
        """Make a missing schema under a lock; raise ``ConfigurationError`` when the schema is older than the code."""
        ...

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``work`` in one transaction, again from the start on ``Conflict`` (three tries in all).

        Raises the last ``Conflict``, or ``StoreUnavailable``.
        """
        ...

    async def find_session(self, session_id: str) -> SessionView | None:
        """The session with this id, byte for byte, ended or not, with account and profile, in one read."""
        ...

    async def touch_session(self, session_id: str, at: int) -> None:
        """Record coarse activity."""
        ...

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        """What changed after that position; ``None`` asks only where the feed stands."""
        ...

    async def list_audit(
        self, *, after: str | None = None, type: str | None = None, user_id: str | None = None, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Events in the order they were recorded, from the one after ``after`` (an event id)."""
        ...

    async def list_users(self, *, limit: int = 1000, after: str | None = None) -> Sequence[Account]: ...

    async def prune(self, before: int) -> int:
        """Forget once-keys, ended sessions and feed entries that nobody can need after that time; how many rows
        went."""
        ...

    async def close(self) -> None: ...


# --- the way out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch:
    """One outgoing request. ``body`` is sent as it is; ``deadline`` is for the whole exchange, in seconds."""

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = field(default=None, repr=False)
    deadline: float = 10.0
    max_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport(Protocol):
    """The one way out: https only (http for loopback hosts), no redirects, one total deadline, a size cap, kept
    clients."""

    async def fetch(self, request: Fetch) -> Fetched:
        """Raises :class:`~jit_middleware.errors.ProviderUnavailable` with reason ``url_forbidden``, ``unreachable``,
        ``deadline``, ``too_large``, ``encoded`` or ``redirected``."""
        ...

    async def close(self) -> None: ...
