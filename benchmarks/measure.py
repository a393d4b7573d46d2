"""CPU time, interleaved: every contestant runs once per round, and what counts is the median over the rounds."""

from __future__ import annotations

import gc
import hmac
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
"""Where sub-processes are started, so that they import what this process imports."""

H_MICROSECONDS = 1.7
"""The unit H on the machine on which the budgets that are stated in time were set."""

_KEY = bytes(range(32))
_TEXT = b"x" * 300
_UNIT_CALLS = 2_000

#: A contestant, and which bare one is taken off it, if one is.
Cost: TypeAlias = "tuple[str] | tuple[str, str]"


@dataclass(frozen=True, slots=True)
class Contestant:
    """``run`` makes ``calls`` requests; ``before`` prepares a round and is not measured."""

    run: Callable[[], None]
    calls: int
    before: Callable[[], None] | None = None


@dataclass(slots=True)
class Times:
    """CPU nanoseconds per call: one figure per contestant and round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def of(self, name: str, over: str | None = None) -> float:
        """The median, in nanoseconds; with ``over``, of what ``name`` costs more than that in the same round."""
        return statistics.median(self._spent(name, over))

    def ratio(self, this: Cost, that: Cost) -> float:
        """The median of the ratios within the rounds: a machine that is slow for a while is so for both."""
        pairs = zip(self._spent(*this), self._spent(*that), strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def _spent(self, name: str, over: str | None = None) -> Sequence[float]:
        if over is None:
            return self.rounds[name]
        return [mine - theirs for mine, theirs in zip(self.rounds[name], self.rounds[over], strict=True)]


def unit() -> Contestant:
    """The unit H: one HMAC-SHA-256 over 300 bytes."""

    def run() -> None:
        digest, key, text = hmac.digest, _KEY, _TEXT
        for _ in range(_UNIT_CALLS):
            digest(key, text, "sha256")

    return Contestant(run, _UNIT_CALLS)


def unit_now() -> float:
    """H at this moment, in nanoseconds."""
    contestant = unit()
    began = time.process_time_ns()
    contestant.run()
    return (time.process_time_ns() - began) / contestant.calls


def interleaved(contestants: Mapping[str, Contestant], *, rounds: int) -> Times:
    """Each contestant once per round, after one round that is thrown away."""
    times = Times({name: [] for name in contestants})
    for number in range(rounds + 1):
        gc.collect()
        for name, contestant in contestants.items():
            if contestant.before is not None:
                contestant.before()
            began = time.process_time_ns()
            contestant.run()
            spent = time.process_time_ns() - began
            if number:
                times.rounds[name].append(spent / contestant.calls)
    return times


def cpu_of_tree(pid: int) -> int:
    """CPU nanoseconds that a process, its threads and its children have used (Linux)."""
    total = 0
    for process in (pid, *_children(pid)):
        for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total


def _children(pid: int) -> Sequence[int]:
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            found += [child, *_children(child)]
    return found
