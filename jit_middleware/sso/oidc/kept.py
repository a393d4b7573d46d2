"""A document of the provider, fetched when it is first needed and kept: metadata and keys both live in one of these.

Nothing is fetched at start, so a provider that is down then costs only the logins of that time. One caller fetches, the
others wait for it or go on with what is there. A provider that fails is asked again after a pause that doubles, and
what was fetched before keeps serving meanwhile, for a day at most. All times are seconds on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.ports import Clock, Locks

T = TypeVar("T")

MAX_AGE: Final = 3600.0
MAX_STALE: Final = 86_400.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0


class Kept(Generic[T]):
    """What ``load`` last answered. ``load`` raises ``ProviderUnavailable`` or ``VerificationError``, nothing else."""

    def __init__(self, load: Callable[[], Awaitable[T]], *, clock: Clock, locks: Locks) -> None:
        self._load = load
        self._clock = clock
        self._lock = locks()
        self._value: T | None = None
        self._loaded_at = 0.0
        self._loading = False
        self._failure: ProviderUnavailable | VerificationError | None = None
        self._pause = FIRST_PAUSE
        self._retry_at = float("-inf")

    async def get(self) -> T:
        """The document, fetched if there is none or it is an hour old.

        Raises what ``load`` raises when there is none that may still serve.
        """
        value = self._value
        if value is not None and (self._is_fresh() or (self._is_usable() and self._leave_it())):
            return value
        async with self._lock:
            value = self._value
            if value is not None and (self._is_fresh() or (self._is_usable() and self._leave_it())):
                return value
            if self._failure is not None and self._leave_it():
                raise type(self._failure)(self._failure.reason, self._failure.detail)
            try:
                return await self._fetch()
            except ProviderUnavailable:
                if value is None or not self._is_usable():
                    raise
                return value

    async def renewed(self, seen: T, may_fetch: Callable[[], bool]) -> T:
        """A newer document than ``seen`` if one may be had now: one that another caller has fetched meanwhile, else by
        a fetch out of turn.

        ``may_fetch`` is asked by one caller at a time, when a fetch is all that is left; ``seen`` is the answer when it
        says no. Raises what ``load`` raises, or has raised just now: whoever sent us here may come again.
        """
        async with self._lock:
            if self._value is not None and self._value is not seen:
                return self._value
            if self._failure is not None and self._leave_it():
                raise type(self._failure)(self._failure.reason, self._failure.detail)
            return await self._fetch() if may_fetch() else seen

    def _is_fresh(self) -> bool:
        return self._clock.monotonic() - self._loaded_at < MAX_AGE

    def _is_usable(self) -> bool:
        return self._clock.monotonic() - self._loaded_at < MAX_STALE

    def _leave_it(self) -> bool:
        """Whether no fetch is due: another caller is at it, or the provider has just failed."""
        return self._loading or self._clock.monotonic() < self._retry_at

    async def _fetch(self) -> T:
        self._loading = True
        try:
            value = await self._load()
        except (ProviderUnavailable, VerificationError) as failure:
            self._failure = type(failure)(failure.reason, failure.detail)
            self._retry_at = self._clock.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            if isinstance(failure, VerificationError):
                self._value = None  # not silence but a wrong answer: what was true before is no longer believed
            raise
        finally:
            self._loading = False
        self._value, self._loaded_at = value, self._clock.monotonic()
        self._failure, self._pause, self._retry_at = None, FIRST_PAUSE, float("-inf")
        return value
