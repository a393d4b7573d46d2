"""What the core asks of the outside, as Protocols: an adapter need not import this package at run time.

The core is written as ``async def`` and awaits nothing but these ports. A port that answers at once (a sync database
driver, an app's sync user store) lets the whole flow finish in one step, without an event loop and without a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Literal, Protocol, TypeVar, Unpack

from jit_middleware.model import (
    Account,
    AuditEvent,
    FeedPage,
    Grant,
    IdentityLink,
    Profile,
    ProfileChanges,
    SessionChoice,
    SessionRecord,
    SessionView,
    Status,
    User,
)
from jit_middleware.overtaking import OvertakingVerbs
from jit_middleware.prelinking import PrelinkVerbs
from jit_middleware.records import record
from jit_middleware.seating import SeatingVerbs

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

    def __call__(self, work: Callable[[], Coroutine[object, object, None]], /) -> bool:
        """Begin ``work`` and return whether it was begun. It deals with its own failures; what cannot be begun is left,
        to be asked for again."""
        ...


# --- the app's users ----------------------------------------------------------------------------------------------


class UserStore(Protocol):
    """The app's users; what a custom storage adapter implements.

    Raise :class:`~jit_middleware.errors.Conflict` (or any exception class whose name is ``Conflict``) when a name is
    taken, anything else when the store cannot answer. ``jit_middleware.testing.UserStoreContract`` proves an adapter.
    Optional verbs, each as described at :class:`Users`: ``set_roles``, ``has_password``, ``check_password``,
    ``revoke_credentials``, ``delete``, ``list_users``. A store whose users have passwords must say so
    (``has_password``): linking by a mere e-mail address leaves accounts with a password alone.
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
    """A user store as the core sees it: awaitable whatever stands behind it, with the optional verbs always there."""

    @property
    def checks_passwords(self) -> bool:
        """Whether people can prove by a password that an account is theirs."""
        ...

    @property
    def lists_users(self) -> bool:
        """Whether ``list_users`` answers with everybody, and not with nobody for want of that verb."""
        ...

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Write the roles where the store keeps them; a store without roles does nothing."""
        ...

    async def has_password(self, user_id: str) -> bool:
        """Whether the user can sign in without us: by a password, a key, anything the store knows of.

        A store that does not say has passwords if it checks them, else none.
        """
        ...

    async def check_password(self, user_id: str, password: str) -> bool:
        """Whether this is the user's password, compared in constant time; false for a user who has none. Never log
        it."""
        ...

    async def revoke_credentials(self, user_id: str) -> None:
        """End what lets anybody in as this user without us, and what may become such a thing: the store's own sessions,
        API tokens, links to reset a password or to change an address, addresses and numbers nobody has confirmed.

        Called before an identity is linked to the account, and when the account is shut; repeating it is no error. The
        password itself goes when the app's own login is not to be used any more.
        """
        ...

    async def delete(self, user_id: str) -> None:
        """Forget the person behind a user who was erased; somebody who is gone already is no error."""
        ...

    async def list_users(self, *, after: str | None = None, limit: int = 1000) -> Sequence[User]:
        """Users in the order of their ids as the store compares them, from the one after that id on, at most
        ``limit``."""
        ...


# --- the middleware's own records ---------------------------------------------------------------------------------


class Transaction(OvertakingVerbs, PrelinkVerbs, SeatingVerbs, Protocol):
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
        self, at: int, *, except_session: str | None = None, **which: Unpack[SessionChoice]
    ) -> Sequence[SessionRecord]:
        """End all live sessions that match everything given (at least one), and return them.

        The feed is told of each, or of the user or the connection alone where that is all that was given.
        """
        ...

    async def list_sessions(self, *, limit: int = 1000, **which: Unpack[SessionChoice]) -> Sequence[SessionRecord]:
        """Live sessions that match everything given, newest first."""
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

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]], *, rehearsal: bool = False) -> T:
        """Run ``work`` in one transaction, again from the start on ``Conflict`` (three tries in all). ``rehearsal``:
        it never ends well, so leave nothing for the commit to find out. Raises the last ``Conflict``, or
        ``StoreUnavailable``."""
        ...

    async def find_session(self, session_id: str) -> SessionView | None:
        """The session with this id, byte for byte, ended or not, with account and profile, in one read."""
        ...

    async def live_among(self, session_ids: Sequence[str]) -> Sequence[str]:
        """Those of these sessions that nobody has ended, whatever else may be said against them; a read for
        hundreds."""
        ...

    async def has_provider_session(self, connection: str, idp_session: str) -> bool:
        """Whether a live session of this connection goes by this name at the provider; only reads."""
        ...

    async def touch_session(self, session_id: str, at: int) -> None:
        """Record coarse activity: forward only, save from an hour ahead, where no clock was right."""
        ...

    async def claim_probe(self, session_id: str, *, due: int, lease: int) -> bool:
        """Take the question that is ``due``: true for one caller, whose it is until ``lease`` (seconds, and a time
        after ``due``), false for all others and for a session that has ended."""
        ...

    async def settle_probe(
        self, session_id: str, *, lease: int, probe_at: int, failing_since: int | None, refresh_token: str
    ) -> bool:
        """Keep what came of the question in one write, the (sealed) refresh token included; false when the lease is
        somebody else's by now, or the session has ended."""
        ...

    async def read_feed(self, after: int | None, limit: int = 1000) -> FeedPage:
        """What changed after that position; ``None`` asks only where the feed stands."""
        ...

    async def list_audit(
        self,
        *,
        after: str | None = None,
        type: str | None = None,
        user_id: str | None = None,
        reference: str | None = None,
        limit: int = 1000,
    ) -> Sequence[AuditEvent]:
        """Events in the order they were recorded, from the one after ``after`` (an event id); ``reference`` picks those
        of one request. No event appears later before one that was listed. Raises ``LookupError`` when there is no event
        ``after``."""
        ...

    async def list_users(
        self, *, limit: int = 1000, after: str | None = None, status: Status | None = None
    ) -> Sequence[Account]:
        """Accounts by id, from the one after ``after``; with ``status``, only those that have it."""
        ...

    async def prune(self, before: int) -> int:
        """Forget once-keys, ended sessions, marks and feed entries that nobody can need after that time, in steps that
        hold nobody up; how many rows went. A large backlog may be left to the next calls."""
        ...

    async def close(self) -> None: ...


class Neighbours(Protocol):
    """The other workers, told at once what this one has committed, over a wire that may break at any time.

    What is heard is a hint: it can make a worker ask the ledger sooner or refuse a used key sooner, and never lets
    anybody in. The ledger stays the authority on both, so nothing depends on a hint being heard.
    """

    def listen(self, hurry: Callable[[], None]) -> None:
        """Have ``hurry`` called, from any thread, whenever access may have changed somewhere."""
        ...

    def attend(self) -> None:
        """See to it that this process listens; called before each read of the feed. Returns at once."""
        ...

    def tell(self, *, access_changed: bool, used: Sequence[tuple[str, int]]) -> None:
        """Say what a commit has done: whether the feed has grown, and which one-use keys (as the ledger knows them)
        were taken, each with the time it is kept to. Called after the commit, from any thread; returns at once and
        never raises."""
        ...

    def have_used(self, once_key: str) -> bool:
        """Whether a commit that took this key is known here; false says nothing. Returns at once."""
        ...

    def close(self) -> None:
        """Say what is left to say, and stop listening."""
        ...


# --- the way out --------------------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class Fetch:
    """One outgoing request. ``body`` is sent as it is; ``deadline`` is for the whole exchange, in seconds."""

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = field(default=None, repr=False)
    deadline: float = 10.0
    max_bytes: int = 1_048_576


@record(frozen=True, slots=True)
class Fetched:
    """What came back, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport(Protocol):
    """The one way out: https only (http for loopback hosts), no redirects, one deadline, a size cap, kept clients."""

    async def fetch(self, request: Fetch) -> Fetched:
        """Raises :class:`~jit_middleware.errors.ProviderUnavailable` with reason ``url_forbidden``, ``unreachable``,
        ``deadline``, ``too_large``, ``encoded`` or ``redirected``."""
        ...

    async def close(self) -> None: ...
