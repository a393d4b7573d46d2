"""Open connections: websockets and responses that go on being sent, which outlive the look at their session.

Theory of operation. A connection stands on a session that was live when its request was admitted. The feed *names*
what changes: a session it names has ended, a user it names may have. :class:`Watch` tells which connections have to
end: those whose session is over by the feed, by the ledger (asked once for each session that is in doubt) or by its
absolute limit, and all of them when nobody knows any more. Who holds the connections asks it, about as often as the
bound wants; nothing here waits or runs by itself.

The idle limit neither ends an open connection nor is it put off by one: bytes that an app pushes are no activity of
the person. A change of the user's roles ends nothing: the app was told who is there when the connection began.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from jit_middleware.errors import AdapterError, StoreUnavailable
from jit_middleware.http.messages import Basis
from jit_middleware.ports import Clock

if TYPE_CHECKING:
    from jit_middleware.sessions.feed import RevocationFeed

log = logging.getLogger("jit_middleware.sessions")

#: Why a connection must end: its session is over, or nobody can tell.
Ending: TypeAlias = Literal["session_ended", "unavailable"]

#: What follows within this time (seconds) belongs to what it follows: an answer to its head, and to the app's return.
AT_ONCE: Final = 0.1

_MANY = 20
_SHORTEST_PAUSE = 0.1
_LONGEST_LEAD = 1.0


class LiveConnection:
    """One open connection. ``began_at`` is the provider connection that its session began at. ``named``: the feed has
    named it since its session was looked up; ``unsure``: that look has not come to an end; ``gone``: the session is
    over; ``due``: look it up again at this time (monotonic). ``look`` is the number of the look that began last."""

    __slots__ = ("began_at", "due", "expires_at", "gone", "look", "named", "session_id", "unsure", "user_id")

    def __init__(self, session_id: str, user_id: str, expires_at: float, due: float, began_at: str = "") -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.began_at = began_at
        self.expires_at = expires_at
        self.due = due
        self.unsure = True
        self.named = False
        self.gone = False
        self.look = 0


class LiveConnections:
    """The open connections of this process. Without a lock: each operation on the dict is one atomic step."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[LiveConnection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: LiveConnection) -> None:
        self._open[connection] = None

    def remove(self, connection: LiveConnection) -> None:
        self._open.pop(connection, None)

    def name(self, *, sessions: Set[str], users: Set[str], connections: Set[str] = frozenset()) -> None:
        """These sessions are over; these users have changed, and sessions that began at these connections."""
        for connection in list(self._open):
            if connection.session_id in sessions:
                connection.gone = True
            elif connection.user_id in users or connection.began_at in connections:
                connection.named = True

    def name_all(self) -> None:
        """Anything may have changed."""
        for connection in list(self._open):
            connection.named = True


class Watch:
    """Judges open connections. One for each gate.

    ``is_served`` looks a session up; ``live_among`` says of many at once which of them nobody has ended. ``look_again``
    is after how many seconds even an unnamed one is looked up (for users that the app keeps and changes by itself).
    """

    def __init__(
        self,
        feed: RevocationFeed,
        *,
        clock: Clock,
        is_served: Callable[[str], Awaitable[bool]],
        live_among: Callable[[Sequence[str]], Awaitable[Sequence[str]]] | None = None,
        look_again: float = math.inf,
    ) -> None:
        self._feed = feed
        self._clock = clock
        self.monotonic = clock.monotonic
        self._is_served = is_served
        self._live_among = live_among
        self._look_again = look_again
        self._looks = count(1)
        # So much earlier than requests need it, so that ending a connection is done within the bound as well.
        self._lead = min(feed.max_staleness / 4, _LONGEST_LEAD)

    def __len__(self) -> int:
        return len(self._feed.live)

    @property
    def fresh_until(self) -> float:
        """Until when (monotonic) what the feed has told is within the bound."""
        return self._feed.fresh_until

    def is_fresh(self, basis: Basis) -> bool:
        """Whether a request would be admitted on this now, without a look at anything."""
        now = self.monotonic()
        return now < basis.deadline and now < self._feed.fresh_until

    def open(self, basis: Basis) -> LiveConnection:
        """From now on the feed marks this connection. To be given to :meth:`close` when it has ended."""
        session = basis.admission.session
        due = self.monotonic() + self._look_again
        expires_at = session.expires_at.timestamp()
        connection = LiveConnection(session.id, basis.user_id, expires_at, due, session.connection)
        self._feed.live.add(connection)
        # Afterwards: what the feed said before it was added, it has said to the cache.
        connection.unsure = not self.is_fresh(basis)
        return connection

    def close(self, connection: LiveConnection) -> None:
        self._feed.live.remove(connection)

    async def ended(self, connections: Collection[LiveConnection]) -> Sequence[tuple[LiveConnection, Ending]]:
        """Those of the connections that must end now, and why."""
        over: list[tuple[LiveConnection, Ending]] = []
        await self.judge(connections, lambda connection, why: over.append((connection, why)))
        return over

    async def judge(
        self,
        connections: Collection[LiveConnection],
        end: Callable[[LiveConnection, Ending], None],
        *,
        early: bool = False,
    ) -> None:
        """Call ``end`` for each of the connections that must end now, as soon as that is known.

        ``early`` is for a caller that comes back by :meth:`pause`: reads the feed somewhat sooner than a request would,
        and leaves what cannot be looked up until it is to be read again for the next time.
        """
        if not connections:
            return
        try:
            await self._feed.ensure_fresh(ahead=self._lead if early else 0.0)
        except StoreUnavailable:
            for connection in connections:
                end(connection, "unavailable")
            return
        now, measured, until = self._clock.now(), self.monotonic(), self._feed.fresh_until
        in_doubt: dict[str, list[LiveConnection]] = {}
        for connection in connections:
            if connection.gone or now >= connection.expires_at:
                end(connection, "session_ended")
            elif connection.named or connection.unsure or measured >= connection.due:
                in_doubt.setdefault(connection.session_id, []).append(connection)
        if len(in_doubt) >= _MANY and self._live_among is not None:
            await self._take_ended(in_doubt, self._live_among, end)
        queue = sorted(in_doubt.items(), key=_urgency)
        for place, (session_id, mine) in enumerate(queue):
            # A read that somebody else made puts nothing off, but haste comes first.
            if early and self.monotonic() >= max(min(until, self.fresh_until) - self._lead, measured + _SHORTEST_PAUSE):
                _put_off(queue[place:])
                return
            why = await self._look_up(session_id, mine)
            if why is not None:
                for connection in mine:
                    end(connection, why)

    def pause(self, connections: Collection[LiveConnection]) -> float:
        """How many seconds may pass until these are to be judged again."""
        # Also what a request has read during a slow look: the time of its commit runs, not that of this read.
        if any(connection.named or connection.gone for connection in connections):
            return _SHORTEST_PAUSE
        now, measured = self._clock.now(), self.monotonic()
        ends = min((connection.expires_at for connection in connections), default=math.inf) - now
        due = min((connection.due for connection in connections), default=math.inf) - measured
        return max(_SHORTEST_PAUSE, min(self._feed.fresh_until - self._lead - measured, ends, due))

    async def _take_ended(
        self,
        in_doubt: dict[str, list[LiveConnection]],
        live_among: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        end: Callable[[LiveConnection, Ending], None],
    ) -> None:
        """Take those out whose sessions have been ended: when all of a provider connection are, to look each up would
        take longer than the bound."""
        try:
            live = await live_among(list(in_doubt))
        except AdapterError as error:
            log.debug("open connections are looked up one by one: %s", error)  # which judges the failure
            return
        for session_id in in_doubt.keys() - set(live):
            for connection in in_doubt.pop(session_id):
                end(connection, "session_ended")

    async def _look_up(self, session_id: str, connections: Sequence[LiveConnection]) -> Ending | None:
        """Why those that stand on this session must end, if they must. A look that does not come to its end, cancelled
        or by an error of whatever kind, leaves them unsure."""
        if self._feed.is_bridging and not any(connection.named for connection in connections):
            return None  # nobody waits for a ledger that is known to be away but who asks whether it is back
        look = next(self._looks)
        for connection in connections:
            # Before the look: what is named meanwhile is looked up again.
            connection.named, connection.unsure, connection.look = False, True, look
        try:
            is_served = await self._is_served(session_id)
        except AdapterError as error:
            # Whatever a user store says: the look at one session must not keep the others open.
            if self._feed.is_bridging:
                return None  # the grace period is for them too
            log.warning("open connections end, their session cannot be looked up: %s", error)
            return "unavailable"
        if not is_served:
            return "session_ended"
        again = self.monotonic() + self._look_again
        for connection in connections:
            if connection.look == look:  # of another one that began since nobody knows yet how it will end
                connection.unsure, connection.due = False, again
        return None

    def tell_of_hurry(self, hear: Callable[[], None]) -> None:
        """Have ``hear`` called, on whatever thread, when open connections are to be judged at once."""
        self._feed.tell_of_hurry(hear)

    def tell_no_more(self, hear: Callable[[], None]) -> None:
        self._feed.tell_no_more(hear)


def _urgency(doubt: tuple[str, Sequence[LiveConnection]]) -> tuple[bool, int]:
    """What the feed has named comes before what is looked up from time to time; then what waits longest."""
    _, connections = doubt
    is_named = any(connection.named or connection.unsure for connection in connections)
    return not is_named, min(connection.look for connection in connections)


def _put_off(queue: Sequence[tuple[str, Sequence[LiveConnection]]]) -> None:
    """Have those looked up soon that this turn had no time for."""
    for _, connections in queue:
        for connection in connections:
            connection.named = connection.named or connection.unsure
