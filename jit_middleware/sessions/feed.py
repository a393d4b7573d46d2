"""The revocation feed: no request is served on knowledge older than the bound.

One small read tells a worker which sessions, users or connections changed since its last one; what is named leaves
the cache at once, and open connections that stand on it are marked. The read is shared: one reader at a time, the
others wait for its answer, whether it is good or bad. Age is measured on the monotonic clock from before the read
began, so that the bound holds whatever the database takes.

Once a read has failed nobody waits for the next one but who makes it: a database that hangs costs one request its time,
and all others go on, or are refused, at once.

Each read also compares the two clocks. When the wall clock has gone further than the monotonic one, the machine was
suspended, and nothing that was measured before still holds: everything known is forgotten.

A database may have failed over to a replica that lacked the last changes, and newer ones may have taken their places
in the feed since. So the first read after one that failed, or after a pause, goes over the last places once more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import AdapterError, Conflict, StoreUnavailable
from jit_middleware.model import AuditEvent, FeedPage
from jit_middleware.ports import Background, Clock, Ledger, Locks, Transaction
from jit_middleware.records import dataclass
from jit_middleware.sessions.cache import SessionCache
from jit_middleware.sessions.live import LiveConnections

_PAGE = 1_000
_TRY_AGAIN = 1.0
_RECORD_AGAIN = 60.0
_LONGEST_READ = 30.0
_MOST_DRIFT = 2.0
_PAUSE = 10.0
_ONCE_MORE = 500
_MOST_UNRECORDED = 1_000
_KINDS = ("session", "user", "connection")

log = logging.getLogger("jit_middleware.sessions")

#: ``fresh``: the feed can be read. While it cannot: ``within_grace``; then ``refused``, or ``unchecked`` where the
#: operator wants requests to be served all the same.
Knowledge: TypeAlias = Literal["fresh", "within_grace", "refused", "unchecked"]


@dataclass(slots=True)
class _Outage:
    """The feed cannot be read ``since`` (monotonic); ``refused`` once a request was refused for it."""

    since: float
    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the last read failed with; all who ask before ``until`` (monotonic) are told it."""

    error: StoreUnavailable
    until: float


class RevocationFeed:
    """Keeps the cache no staler than ``max_staleness`` seconds (0: every request asks).

    While the feed cannot be read, requests are served for ``grace`` seconds after the last good read began; with
    ``serve_unchecked`` for as long as it takes. ``audit`` makes the event that tells of it when the database answers
    again, and ``background`` is where it is written.
    """

    def __init__(
        self,
        ledger: Ledger,
        cache: SessionCache,
        *,
        max_staleness: float,
        grace: float,
        clock: Clock,
        locks: Locks,
        serve_unchecked: bool = False,
        audit: AuditTrail | None = None,
        background: Background | None = None,
    ) -> None:
        self._ledger = ledger
        self._cache = cache
        self.max_staleness = max_staleness
        self._grace = grace
        self._clock = clock
        self._reading = locks()
        self._serve_unchecked = serve_unchecked
        self._audit = audit
        self._background = background
        self._read_began = -math.inf
        self._hurry: object = None
        self._hearers: dict[Callable[[], None], None] = {}
        self._outage: _Outage | None = None
        self._failure: _Failure | None = None
        self._read_under_way = -math.inf
        self._wall_ahead: float | None = None
        self._unrecorded: list[AuditEvent] = []
        self._record_at = -math.inf
        self.live = LiveConnections()
        self.position: int | None = None
        self.fresh_until = -math.inf

    async def ensure_fresh(self, *, ahead: float = 0.0) -> None:
        """Return once the cache holds nothing that was revoked longer than the bound ago.

        ``ahead`` (seconds, less than the bound) reads that much earlier than a request would. Raises
        ``StoreUnavailable`` when the feed has not been readable for longer than the grace period.
        """
        asked = self._clock.monotonic()
        if asked < self.fresh_until - ahead or self._goes_on_without(asked, self._read_under_way + _LONGEST_READ):
            return
        async with self._reading:
            if self._read_began >= asked or asked < self.fresh_until - ahead or self._goes_on_without(asked):
                return  # the reader before us began after we asked, or has failed since
            await self._read()

    async def look(self) -> Knowledge:
        """How good the knowledge is, by a read that is a second old at most; for who asks whether the database answers.

        During an outage the answer comes without waiting for a read that is under way. Raises nothing.
        """
        try:
            await self.ensure_fresh(ahead=max(0.0, self.max_staleness - _TRY_AGAIN))
        except StoreUnavailable as error:
            log.debug("knowledge of revocations: %s", error)
        return self.knowledge

    def hurry(self) -> None:
        """Something changed: the next request reads the feed, and so does who watches open connections, at once.

        Callable from any thread, from outside the event loop too; it reads nothing itself and waits for nobody.
        """
        # In this order: a read that is under way looks for the mark after it has set the time.
        self._hurry = object()
        self.fresh_until = -math.inf
        self._call_hearers()

    def tell_of_hurry(self, hear: Callable[[], None]) -> None:
        """Have ``hear`` called by each ``hurry``, on its thread; it must not wait for anything."""
        self._hearers[hear] = None

    def tell_no_more(self, hear: Callable[[], None]) -> None:
        self._hearers.pop(hear, None)

    @property
    def is_bridging(self) -> bool:
        """Whether the last read failed, so that requests are served on what was known before."""
        return self._outage is not None

    @property
    def knowledge(self) -> Knowledge:
        """How good the knowledge is that requests are served on."""
        if self._outage is None:
            return "fresh"
        if self.position is not None and self._clock.monotonic() < self._read_began + self._grace:
            return "within_grace"
        return "unchecked" if self._serve_unchecked and self.position is not None else "refused"

    def _call_hearers(self) -> None:
        for hear in list(self._hearers):
            hear()

    async def _read(self) -> None:
        hurry, began = self._hurry, self._clock.monotonic()
        self._compare_clocks(began)
        self._read_under_way = began
        try:
            await self._read_pages(hurry, began)
        finally:
            self._read_under_way = -math.inf

    async def _read_pages(self, hurry: object, began: float) -> None:
        try:
            if self._failure is not None or began - self._read_began > _PAUSE:
                await self._read_once_more()
            while True:
                page = await self._ledger.read_feed(self.position, _PAGE)
                self._apply(page)
                if len(page.entries) < _PAGE:
                    break
        except StoreUnavailable as error:
            self._fail(error, began, hurry)
            return
        self._read_began, self._failure = began, None
        self._fresh_until(began + self.max_staleness, hurry)
        if self._outage is not None or self._unrecorded:
            self._recover()

    async def _read_once_more(self) -> None:
        """Drop what the last places that were read name by now. The read that follows sees whether they are all there:
        the feed ends before them, or its beginning is gone."""
        if self.position:
            page = await self._ledger.read_feed(max(0, self.position - _ONCE_MORE), _ONCE_MORE)
            self._drop_named(page)

    def _apply(self, page: FeedPage) -> None:
        # The position first: whoever loads a session meanwhile either sees it moved, or has its entry dropped below.
        # The cache before the connections: one that opens meanwhile finds its entry dropped, or is marked below.
        self.position = page.position
        if page.complete:
            self._drop_named(page)
        else:
            self._drop_all()

    def _drop_all(self) -> None:
        self._cache.clear()
        self.live.name_all()

    def _drop_named(self, page: FeedPage) -> None:
        if not page.entries:
            return
        if any(entry.kind not in _KINDS for entry in page.entries):
            self._drop_all()  # another version's word, or that all has changed
            return
        sessions, users, connections = ({each.key for each in page.entries if each.kind == kind} for kind in _KINDS)
        self._cache.drop_all_of(sessions=sessions, users=users, connections=connections)
        self.live.name(sessions=sessions, users=users, connections=connections)

    def _fresh_until(self, moment: float, hurry: object) -> None:
        """Set the time, unless somebody wanted haste after this read began."""
        self.fresh_until = moment
        if self._hurry is not hurry:
            self.fresh_until = -math.inf

    def _compare_clocks(self, measured: float) -> None:
        """Forget everything when the wall clock has run ahead of the monotonic one since the last read.

        A monotonic clock that stands still while the machine sleeps, or a hypervisor that pauses it, would otherwise
        stretch every deadline by that time. A wall clock that was put right looks the same, and costs one look each.
        """
        ahead = self._clock.now() - measured
        before, self._wall_ahead = self._wall_ahead, ahead
        if before is None or ahead - before <= _MOST_DRIFT:
            return
        log.warning("the clock jumped ahead by %d s: all sessions are looked up again", ahead - before)
        self._read_began, self._failure = -math.inf, None
        self._drop_all()
        self._call_hearers()

    # --- when it cannot be read ---------------------------------------------------------------------------------

    def _fail(self, error: StoreUnavailable, began: float, hurry: object) -> None:
        """Go on with what is known, or raise ``error``; everybody who waits does the same."""
        now = self._clock.monotonic()
        # One that fails at once is tried again at once, since it holds up nobody.
        until = now + min(_TRY_AGAIN, now - began)
        if self._outage is None:
            self._outage = _Outage(began, error.reason)
        self._failure = _Failure(error.afresh(), until)
        if not self._may_go_on(now):
            self._outage.refused = True
            raise error
        log.error("revocation feed unreadable, serving on what was known (%s): %s", self.knowledge, error)
        self._fresh_until(now + _TRY_AGAIN if self._serve_unchecked else self._bridged_until(now), hurry)

    def _goes_on_without(self, asked: float, reading_until: float = -math.inf) -> bool:
        """Whether a request goes on with what is known because the last read failed; false: it has to read.

        It does so if it came before the failure was known or just afterwards, or while another request tries again soon
        afterwards: of what is tried later an old failure says nothing. Raises what that read raised when the request is
        to be refused.
        """
        failure = self._failure
        if failure is None or asked >= max(failure.until, min(reading_until, failure.until + _LONGEST_READ)):
            return False
        if not self._may_go_on(self._clock.monotonic()):
            outage = self._outage
            if outage is not None:
                outage.refused = True
            raise failure.error.afresh()
        return True

    def _may_go_on(self, now: float) -> bool:
        return self.position is not None and (self._serve_unchecked or now < self._read_began + self._grace)

    def _bridged_until(self, now: float) -> float:
        """When to try again; never beyond the grace period."""
        return min(now + min(_TRY_AGAIN, self._grace / 10), self._read_began + self._grace)

    def _recover(self) -> None:
        """The feed is readable again: leave one audit event about it, now or after a later read."""
        now = self._clock.monotonic()
        outage, self._outage = self._outage, None
        if outage is not None:
            seconds = round(now - outage.since)
            log.warning("revocation feed readable again after %d s", seconds)
            if self._audit is not None:
                event = self._audit.feed_interrupted(seconds=seconds, reason=outage.reason, refused=outage.refused)
                self._unrecorded.append(event)
                # A database that comes and goes, and takes no writes, fills no memory: of the oldest the log has told.
                del self._unrecorded[:-_MOST_UNRECORDED]
                self._record_at = now
        if self._unrecorded and now >= self._record_at and self._background is not None:
            self._record_at = now + _RECORD_AGAIN
            self._background(self._record)

    async def _record(self) -> None:
        """Write what waits; beside the requests, since a database that can be read may still let writers wait."""
        while self._unrecorded:
            event = self._unrecorded[0]
            try:
                await self._ledger.transaction(_append(event))
            except Conflict:
                log.info("recorded before, and only the answer had been lost: %s", event.id)
            except AdapterError as error:
                log.warning("the interruption of the revocation feed is not recorded yet: %s", error)
                return
            if event in self._unrecorded:
                self._unrecorded.remove(event)


def _append(event: AuditEvent) -> Callable[[Transaction], Awaitable[None]]:
    async def append(tx: Transaction) -> None:
        await tx.append_audit(event)

    return append
