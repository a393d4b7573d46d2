"""A session's life: opened in the login's transaction, found by its cookie, ended for good.

A session is served while its row says so, its account is active, its connection is still configured, and neither the
idle nor the absolute limit has passed. Its id is new at every login.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.cookies import split, values
from jit_middleware.http.messages import Admission, PassThrough
from jit_middleware.keyring import Envelope
from jit_middleware.model import Session, SessionRecord, SessionView, Status, User, VerifiedIdentity
from jit_middleware.ports import Clock, Ledger, TokenSource, Users
from jit_middleware.sessions.cache import CachedSession, SessionCache
from jit_middleware.sessions.cookie import SessionCookie
from jit_middleware.sessions.feed import RevocationFeed
from jit_middleware.settings import SessionSettings

log = logging.getLogger("jit_middleware.sessions")

_TOUCHES_PER_IDLE_LIMIT = 10
_TRY_AGAIN = 10
_MOST_COOKIES = 4


class Sessions:
    """The sessions of this application, as one worker sees them."""

    def __init__(
        self,
        settings: SessionSettings,
        *,
        cookie: SessionCookie,
        own_cookies: tuple[str, ...],
        cache: SessionCache,
        feed: RevocationFeed,
        ledger: Ledger,
        users: Users | None,
        users_keep_roles: bool,
        connections: frozenset[str],
        inject: Callable[[User, Session], Admission],
        hints: Envelope,
        clock: Clock,
        tokens: TokenSource,
    ) -> None:
        self._settings = settings
        self.cookie = cookie
        self._name = cookie.name
        self._own_cookies = own_cookies
        self._cache = cache
        self._feed = feed
        self._ledger = ledger
        self._users = users
        self._users_keep_roles = users_keep_roles
        self._connections = connections
        self._inject = inject
        self._hints = hints
        self._clock = clock
        self._monotonic = clock.monotonic
        self._tokens = tokens

    # --- the hot path -------------------------------------------------------------------------------------------

    def admitter(self, own_path: str) -> Callable[[str, str], PassThrough | None]:
        """The hot path, as ``admit(path, cookie)``: the pass-through for a cookie that this process has verified and
        that is fresh, or ``None``. No I/O, no coroutine, no lock. Paths below ``own_path`` are never passed on.
        """
        cache, feed, monotonic, name, own = self._cache, self._feed, self._monotonic, self._name, self._own_cookies
        get_by_header = cache.get_by_header

        def admit(path: str, cookie: str) -> PassThrough | None:
            if path.startswith(own_path):
                return None
            known = get_by_header(cookie)
            if known is None:
                value, rest = split(cookie, name, own)
                entry = None if value is None else cache.get(value)
                if entry is None:
                    return None
                passed = entry.pass_with(rest)
                cache.put_header(cookie, entry, passed)
            else:
                entry, passed = known
            now = monotonic()
            return passed if now < entry.deadline and now < feed.fresh_until else None

        return admit

    # --- with a look at the ledger ------------------------------------------------------------------------------

    async def find(self, cookie: str) -> CachedSession | None:
        """The live session among the cookies, if there is one. Raises ``StoreUnavailable``.

        Every cookie of our name is tried: a planted one beside the real one must not lock anybody out.
        """
        only, _ = split(cookie, self._name, self._own_cookies)
        for value in values(cookie, self._name)[:_MOST_COOKIES] if only is None else (only,):
            session_id = self.cookie.read(value, self._clock.now())
            if session_id is None:
                continue
            await self._feed.ensure_fresh()
            entry = self._cache.get(value)
            if entry is None or self._monotonic() >= entry.deadline:
                entry = await self._load(value, session_id)
            if entry is not None:
                return entry
        return None

    def ids_in(self, cookie: str) -> tuple[str, ...]:
        """The session ids of the cookies that we have signed, live or not."""
        now = self._clock.now()
        read = (self.cookie.read(value, now) for value in values(cookie, self._name)[:_MOST_COOKIES])
        return tuple(session_id for session_id in read if session_id is not None)

    def rest_of(self, cookie: str) -> str:
        """The Cookie header without our own cookies: what the app sees."""
        return split(cookie, self._name, self._own_cookies)[1]

    async def _load(self, value: str, session_id: str) -> CachedSession | None:
        position = self._feed.position
        now, measured = self._clock.now(), self._monotonic()
        view = await self._ledger.find_session(session_id)
        user = None if view is None else await self._served_user(view, now)
        if view is None or user is None:
            self._cache.drop(value)
            return None
        record = view.session
        step = max(1, self._settings.idle // _TOUCHES_PER_IDLE_LIMIT)
        if now - record.last_seen_at >= step:
            lasts = step if await self._touch(session_id, now) else _TRY_AGAIN
        else:
            lasts = record.last_seen_at + step - now
        lasts = min(lasts, record.expires_at - now)
        if self._users is not None:
            # The app changes its own users without telling us.
            lasts = min(lasts, self._settings.users_max_staleness)
        # One text where there are two equal ones: thousands of these are kept.
        owner = user.id if user.id == record.user_id else record.user_id
        admission = self._inject(user, public_session(record, owner))
        entry = CachedSession(admission, record.id, owner, measured + lasts)
        self._cache.put(value, entry)
        if self._feed.position != position:
            # A change was read while we loaded, and may name this session: served this once, looked up again next time.
            self._cache.drop(value)
        return entry

    async def _touch(self, session_id: str, now: int) -> bool:
        try:
            await self._ledger.touch_session(session_id, now)
        except StoreUnavailable as error:
            # A database that can be read but not written ends no session that is alive.
            log.warning("activity of a session not recorded: %s", error)
            return False
        return True

    async def _served_user(self, view: SessionView, now: int) -> User | None:
        record, account = view.session, view.account
        if record.ended_at is not None or now >= record.expires_at or now >= record.last_seen_at + self._settings.idle:
            return None
        if account.status is not Status.ACTIVE or record.connection not in self._connections:
            return None
        if self._users is None:
            return account.user
        user = await self._users.get(record.user_id)
        if user is None or user.status is not Status.ACTIVE:
            return None
        if self._users_keep_roles:
            return user
        held = {grant.role for grant in account.grants}
        return replace(user, roles=tuple(sorted(held.union(user.roles))))

    # --- begin and end ------------------------------------------------------------------------------------------

    def open(self, identity: VerifiedIdentity, user_id: str) -> SessionRecord:
        """A new session for this identity, to be added in the login's transaction."""
        now = self._clock.now()
        ceiling = now + self._settings.absolute
        if identity.session_ceiling is not None:
            ceiling = min(ceiling, identity.session_ceiling)
        hint = identity.logout_hint
        return SessionRecord(
            id=self._tokens(24),
            user_id=user_id,
            tenant=identity.tenant,
            connection=identity.connection,
            issuer=identity.issuer,
            subject=identity.subject,
            created_at=now,
            expires_at=ceiling,
            last_seen_at=now,
            authenticated_at=identity.auth_time or now,
            idp_session=identity.idp_session,
            acr=identity.acr,
            amr=identity.amr,
            logout_hint=None if hint is None else self._hints.seal(hint, now),
        )

    def logout_hint(self, record: SessionRecord) -> str | None:
        """What the provider wants to see again at logout, in clear."""
        return None if record.logout_hint is None else self._hints.open(record.logout_hint, now=self._clock.now())

    def forget(self, cookie: str) -> None:
        """Drop what this worker knows of the session; the feed tells the others."""
        for value in values(cookie, self._name):
            self._cache.drop(value)


def public_session(record: SessionRecord, owner: str) -> Session:
    """The session as the app sees it."""
    return Session(
        id=record.id,
        user_id=owner,
        connection=record.connection,
        authenticated_at=datetime.fromtimestamp(record.authenticated_at, UTC),
        expires_at=datetime.fromtimestamp(record.expires_at, UTC),
        acr=record.acr,
        amr=record.amr,
    )
