"""The line before the provider of one connection: the sessions that are to be asked about, and who asks.

A provider that is not known to answer is asked one question at a time; one that answers, up to four. There is no lock:
each operation on the dicts is one atomic step, and a seat is taken by ``setdefault``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import field
from typing import Final

from jit_middleware.model import SessionRecord
from jit_middleware.ports import Clock
from jit_middleware.records import dataclass

_AT_ONCE: Final = 4
_LONGEST: Final = 10_000
_LOST: Final = 180.0  # longer than a question can take


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the person of this session is still welcome: ``due`` since then, by the token that is ``sealed``."""

    session: SessionRecord
    due: int
    sealed: str = field(repr=False)


class Seat:
    """Somebody who asks. ``until`` (monotonic) is renewed with each question: a process that forked, or whose event
    loop ended, has seats whose holders are no more."""

    __slots__ = ("number", "until")

    def __init__(self, number: int, until: float) -> None:
        self.number = number
        self.until = until


class Line:
    """First come, first asked; a session stands in it once, and at most ``longest`` do: who is turned away comes
    again.

    An outage of the provider is over when it answers, and when nobody has asked for more than ``forgotten_after``
    seconds: what it would have said meanwhile nobody knows.
    """

    def __init__(self, clock: Clock, *, forgotten_after: float, longest: int = _LONGEST) -> None:
        self._clock = clock
        self._longest = longest
        self._forgotten_after = forgotten_after
        # One ordered dict and no list beside it: two of them could disagree about who is there. Its `popitem` finds
        # the first in constant time, where a plain dict walks past all who have left.
        self._waiting: OrderedDict[str, Question] = OrderedDict()
        self._seats: dict[int, Seat] = {}
        self._most = 1
        self._failing_since = math.inf
        self._failed_at = -math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, question: Question) -> None:
        if len(self._waiting) < self._longest:
            self._waiting.setdefault(question.session.id, question)

    def take(self) -> Question | None:
        """The one that has waited longest."""
        try:
            return self._waiting.popitem(last=False)[1]
        except KeyError:
            return None

    def take_all(self) -> list[Question]:
        """Everybody who waits at this moment."""
        taken = (self.take() for _ in range(len(self._waiting)))
        return [question for question in taken if question is not None]

    # --- who asks -----------------------------------------------------------------------------------------------

    def take_seat(self) -> Seat | None:
        """A place to ask from; ``None`` when enough are asking."""
        now = self._clock.monotonic()
        for number in range(self._most):
            held = self._seats.get(number)
            if held is not None and now >= held.until:
                self._seats.pop(number, None)
            mine = Seat(number, now + _LOST)
            if self._seats.setdefault(number, mine) is mine:
                return mine
        return None

    def keep_seat(self, seat: Seat) -> bool:
        """Whether its holder may go on to the next question."""
        seat.until = self._clock.monotonic() + _LOST
        return seat.number < self._most and self._seats.get(seat.number) is seat

    def leave_seat(self, seat: Seat) -> None:
        if self._seats.get(seat.number) is seat:
            self._seats.pop(seat.number, None)

    @property
    def is_asking(self) -> bool:
        """Whether anybody is at it."""
        now = self._clock.monotonic()
        return any(now < seat.until for seat in list(self._seats.values()))

    # --- what the provider does ---------------------------------------------------------------------------------

    @property
    def failing_for(self) -> float:
        """For how many seconds the provider has given no answer, as far as it was asked; below zero: it has."""
        return self._clock.monotonic() - self._failing_since

    def answered(self) -> None:
        self._failing_since = math.inf
        self._most = _AT_ONCE

    def failed(self) -> None:
        now = self._clock.monotonic()
        if self._failing_since == math.inf or now - self._failed_at > self._forgotten_after:
            self._failing_since = now
        self._failed_at = now
        self._most = 1
