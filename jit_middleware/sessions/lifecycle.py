"""A session's life: opened in the login's transaction, found by its cookie, ended for good.

A session is served while its row says so, its account is active, its connection is still configured, and neither the
idle nor the absolute limit has passed. Its id is new at every login.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from jit_middleware.errors import StoreUnavailable
from jit_middleware.http.cookies import Splitter, values
from jit_middleware.http.messages import Admission, PassThrough
from jit_middleware.http.paths import is_own
from jit_middleware.keyring import Envelope
from jit_middleware.model import Marks, Session, SessionRecord, SessionView, Status, User, VerifiedIdentity
from jit_middleware.overtaking import is_view_overtaken
from jit_middleware.ports import Clock, Ledger, TokenSource, Users
from jit_middleware.sessions.cache import CachedSession, SessionCache
from jit_middleware.sessions.cookie import SessionCookie
from jit_middleware.sessions.feed import Knowledge, RevocationFeed
from jit_middleware.sessions.live import Watch
from jit_middleware.sessions.overtaken import Overtaken
from jit_middleware.sessions.probe import Beginning, RefreshProbes
from jit_middleware.sessions.step_up import NOBODY, StepUpRules
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
        step_up: StepUpRules | None = None,
        probes: RefreshProbes | None = None,
        overtaken: Overtaken | None = None,
    ) -> None:
        self._settings = settings
        #: What paths ask for beyond a session; ``None`` when none does.
        self.step_up = step_up
        self._probes = probes
        self._overtaken = overtaken
        self.cookie = cookie
        self._name = cookie.name
        self._split = Splitter(cookie.name, own_cookies)
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
        #: Judges the connections that outlive the look at their session.
        self.watch = Watch(
            feed,
            clock=clock,
            is_served=self._is_served,
            live_among=ledger.live_among,
            look_again=math.inf if users is None else settings.users_max_staleness,
        )

    # --- the hot path -------------------------------------------------------------------------------------------

    def admitter(self, own_path: str) -> Callable[[str, str | bytes], PassThrough | None]:
        """The hot path, as ``admit(path, cookie)``: the pass-through for a cookie that this process has verified and
        that is fresh, or ``None``. No I/O, no coroutine, no lock. Paths below ``own_path`` are never passed on, nor
        those that ask for more than the session shows. ``cookie`` is the Cookie header as the edge has it: text, or
        bytes.
        """
        feed, monotonic, remember, rules = self._feed, self._monotonic, self._remember, self.step_up
        by_header = self._cache.by_header
        demands = None if rules is None else rules.known

        def admit(path: str, cookie: str | bytes) -> PassThrough | None:
            if own_path in path and is_own(path, own_path) is not None:
                return None
            try:
                entry, passed = by_header[cookie]
            except KeyError:
                known = remember(cookie)
                if known is None:
                    return None
                entry, passed = known
            now = monotonic()
            if now >= entry.deadline or now >= feed.fresh_until:
                return None
            if demands is None:
                return passed
            demand = demands.get(path, NOBODY)
            if demand is None:
                return passed
            met, until = entry.met
            return passed if (met is demand and now < until) or self._meets(path, entry, now) else None

        return admit

    def _remember(self, header: str | bytes) -> tuple[CachedSession, PassThrough] | None:
        """What is known of the session cookie in this header; next time it is found by the whole header."""
        value, rest = self._split(header if isinstance(header, str) else header.decode("latin-1"))
        entry = None if value is None else self._cache.get(value)
        return None if entry is None else self._cache.put_header(header, entry, entry.pass_with(rest))

    def _meets(self, path: str, entry: CachedSession, measured: float) -> bool:
        """Whether the session meets what the path asks for; remembered as long as it lasts, from ``measured`` on."""
        rules = self.step_up
        demand = None if rules is None else rules.demand(path)
        if rules is None or demand is None:
            return True
        lasts = rules.lasting(demand, entry, self._clock.now())
        if lasts < 0:
            return False
        entry.met = demand, measured + lasts
        return True

    # --- with a look at the ledger ------------------------------------------------------------------------------

    async def find(self, cookie: str) -> CachedSession | None:
        """The live session among the cookies, if there is one. Raises ``StoreUnavailable``.

        Every cookie of our name is tried: a planted one beside the real one must not lock anybody out.
        """
        only, _ = self._split(cookie)
        for value in values(cookie, self._name)[:_MOST_COOKIES] if only is None else (only,):
            session_id = self.cookie.read(value, self._clock.now())
            if session_id is None:
                continue
            if self._monotonic() >= self._feed.fresh_until:
                await self._feed.ensure_fresh()
            known = self._cache.get(value)
            if known is not None and self._monotonic() < known.deadline:
                return known
            try:
                entry = await self._load(value, session_id)
            except StoreUnavailable:
                if known is None or not self._may_go_on(known):
                    raise
                until = self._monotonic() + _TRY_AGAIN
                entry = CachedSession(known.admission, known.session_id, known.user_id, until, known.auth_time)
                self._cache.put(value, entry)
            if entry is not None:
                return entry
        return None

    async def knowledge(self) -> Knowledge:
        """How good the knowledge of revocations is that requests are served on; reads the feed once a second."""
        return await self._feed.look()

    def ids_in(self, cookie: str) -> tuple[str, ...]:
        """The session ids of the cookies that we have signed, live or not."""
        now = self._clock.now()
        read = (self.cookie.read(value, now) for value in values(cookie, self._name)[:_MOST_COOKIES])
        return tuple(session_id for session_id in read if session_id is not None)

    def rest_of(self, cookie: str) -> str:
        """The Cookie header without our own cookies: what the app sees."""
        return self._split(cookie)[1]

    async def _load(self, value: str, session_id: str) -> CachedSession | None:
        position = self._feed.position
        now, measured = self._clock.now(), self._monotonic()
        view = await self._ledger.find_session(session_id)
        user = None
        if view is not None and now < view.session.last_seen_at + self._settings.idle and self._is_servable(view, now):
            user = view.account.user if self._users is None else await self._outside_user(self._users, view)
        if view is None or user is None:
            self._cache.drop(value)
            if view is not None and self._overtaken is not None:
                await self._overtaken.end(view)
            return None
        record = view.session
        step = max(1, self._settings.idle // _TOUCHES_PER_IDLE_LIMIT)
        lasts: float
        # Ahead of now: seen by a clock that was wrong. No entry lasts longer for it.
        if not -step < now - record.last_seen_at < step:
            lasts = step if await self._touch(session_id, now) else min(_TRY_AGAIN, step)
        else:
            lasts = min(step, record.last_seen_at + step - now)
        lasts = min(lasts, record.expires_at - now)
        if self._users is not None:
            # The app changes its own users without telling us.
            lasts = min(lasts, self._settings.users_max_staleness)
        if record.refresh_token is not None and self._probes is not None:
            lasts = min(lasts, self._probes.look(record))
        # One text where there are two equal ones: thousands of these are kept.
        owner = user.id if user.id == record.user_id else record.user_id
        admission = self._inject(user, public_session(record, owner))
        auth_time = -math.inf if record.auth_time is None else record.auth_time
        entry = CachedSession(admission, record.id, owner, measured + lasts, auth_time)
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

    def _may_go_on(self, known: CachedSession) -> bool:
        """Whether a session whose record should be read again, and cannot, is served for a few seconds more.

        Only while the feed cannot be read either, and never one that was dropped, is over, or was idle for too long.
        """
        now = self._monotonic()
        is_idle = now >= known.deadline + self._settings.idle - self._settings.idle // _TOUCHES_PER_IDLE_LIMIT
        is_over = self._clock.now() >= known.admission.session.expires_at.timestamp()
        return self._feed.is_bridging and not (is_idle or is_over)

    async def _is_served(self, session_id: str) -> bool:
        """Whether a connection that is open on this session may go on; the idle limit is for requests."""
        view = await self._ledger.find_session(session_id)
        if view is None or not self._is_servable(view, self._clock.now()):
            return False
        user = view.account.user if self._users is None else await self._outside_user(self._users, view)
        return user is not None

    def _is_servable(self, view: SessionView, now: int) -> bool:
        """Whether the records say so; the idle limit, which is for requests, apart."""
        record = view.session
        if record.ended_at is not None or now >= record.expires_at or is_view_overtaken(view):
            return False
        return view.account.status is Status.ACTIVE and record.connection in self._connections

    async def _outside_user(self, users: Users, view: SessionView) -> User | None:
        """The user as the app's own store has them, if they are active there."""
        user = await users.get(view.session.user_id)
        if user is None or user.status is not Status.ACTIVE:
            return None
        if self._users_keep_roles:
            return user
        held = {grant.role for grant in view.account.grants}
        return replace(user, roles=tuple(sorted(held.union(user.roles))))

    # --- begin and end ------------------------------------------------------------------------------------------

    def open(self, identity: VerifiedIdentity, user_id: str, *, marks: Marks | None = None) -> SessionRecord:
        """A new session for this identity, to be added in the login's transaction; ``marks`` is what it answers to when
        somebody is revoked."""
        now = self._clock.now()
        ceiling = now + self._settings.absolute
        if identity.session_ceiling is not None:
            ceiling = min(ceiling, identity.session_ceiling)
        beginning = Beginning() if self._probes is None else self._probes.begin(identity, now)
        hint = identity.logout_hint
        return SessionRecord(
            id=self._tokens(24),
            user_id=user_id,
            tenant=identity.tenant,
            connection=identity.connection,
            issuer=identity.issuer,
            subject=identity.subject,
            created_at=now,
            expires_at=int(min(ceiling, beginning.ends_by)),
            last_seen_at=now,
            authenticated_at=identity.auth_time or now,
            idp_session=identity.idp_session,
            acr=identity.acr,
            amr=identity.amr,
            logout_hint=None if hint is None else self._hints.seal(hint, now),
            auth_time=identity.auth_time,
            refresh_token=beginning.refresh_token,
            probe_at=beginning.probe_at,
            begun_at=identity.begun_at,
            marks=marks,
        )

    def logout_hint(self, record: SessionRecord) -> str | None:
        """What the provider wants to see again at logout, in clear."""
        return None if record.logout_hint is None else self._hints.open(record.logout_hint, now=self._clock.now())

    async def finish(self) -> None:
        """Let what is going on beside the requests come to its end; for a server that stops."""
        if self._probes is not None:
            await self._probes.finish()

    def forget(self, cookie: str) -> None:
        """Drop what this worker knows of the session; the feed tells the others."""
        for value in values(cookie, self._name):
            self._cache.drop(value)


def public_session(record: SessionRecord, owner: str) -> Session:
    """The session as the app sees it."""
    authenticated_at = datetime.fromtimestamp(record.authenticated_at, UTC)
    expires_at = datetime.fromtimestamp(record.expires_at, UTC)
    return Session(record.id, owner, record.connection, authenticated_at, expires_at, record.acr, record.amr)
