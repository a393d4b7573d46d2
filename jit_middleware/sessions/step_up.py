"""Paths that ask for more than a session: which demand a path makes, and whether a session meets it.

Several rules may hold for one path, and then all of them have to. A path that an app could read as another one meets
every rule there is, since nobody can tell which of them the app will think of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from jit_middleware.http.messages import Admission
from jit_middleware.http.paths import is_ambiguous
from jit_middleware.model import StepUp, VerifiedIdentity
from jit_middleware.settings import StepUpRule
from jit_middleware.settings.step_up import covers

#: What no session can meet: an ambiguous path, and rules that do not go together. The empty text is nobody's acr.
NOBODY: Final = StepUp(acr=("",))

_PATHS_KEPT: Final = 2_048
_LONGEST_PATH: Final = 256


class Standing(Protocol):
    """What a session is known by; ``auth_time`` is minus infinity where the provider did not tell it."""

    @property
    def admission(self) -> Admission: ...
    @property
    def auth_time(self) -> float: ...


class StepUpRules:
    """The rules of one application. ``skews`` is how far the clock of each connection's provider may be off (seconds).

    >>> rules = StepUpRules([StepUpRule(("/admin/*",), acr=("phr",))], {})
    >>> rules.demand("/admin/users"), rules.demand("/")
    (StepUp(acr=('phr',), max_age=None, insist=False), None)
    """

    def __init__(self, rules: Sequence[StepUpRule], skews: Mapping[str, int]) -> None:
        self._rules = tuple((tuple(path.casefold() for path in rule.paths), rule) for rule in rules)
        self._skews = dict(skews)
        self._demands: dict[StepUp, StepUp] = {}
        #: The demands of paths asked for lately, equal ones as one object; ``None`` for a path without one.
        self.known: dict[str, StepUp | None] = {}

    def demand(self, path: str) -> StepUp | None:
        """What this decoded path (below the mount point) asks for, ``None`` for nothing; remembered."""
        try:
            return self.known[path]
        except KeyError:
            pass
        found = self._find(path or "/")
        demand = None if found is None else self._demands.setdefault(found, found)
        if len(path) <= _LONGEST_PATH:
            if len(self.known) >= _PATHS_KEPT:
                self.known.clear()
            self.known[path] = demand
        return demand

    def unmet(self, path: str, session: Standing, now: int) -> StepUp | None:
        """What the session lacks for this path, ``None`` when it lacks nothing."""
        demand = self.demand(path)
        if demand is None:
            return None
        return demand if self.lasting(demand, session, now) < 0 else None

    def lasting(self, demand: StepUp, session: Standing, now: int) -> float:
        """For how many seconds more the session meets the demand; less than 0: it does not."""
        shown = session.admission.session
        return self._lasting(demand, shown.connection, shown.acr, session.auth_time, now)

    def is_met_by(self, demand: StepUp, identity: VerifiedIdentity, now: int) -> bool:
        """Whether a session of the person who signs in would meet the demand."""
        auth_time = -math.inf if identity.auth_time is None else identity.auth_time
        return self._lasting(demand, identity.connection, identity.acr, auth_time, now) >= 0

    def _lasting(self, demand: StepUp, connection: str, acr: str | None, auth_time: float, now: int) -> float:
        if demand.acr and (not acr or acr not in demand.acr):
            return -math.inf
        if demand.max_age is None:
            return math.inf
        return auth_time + demand.max_age + self._skews.get(connection, 0) - now

    def _find(self, path: str) -> StepUp | None:
        folded, unclear = path.casefold(), is_ambiguous(path)
        found = [
            rule for patterns, rule in self._rules if unclear or any(covers(pattern, folded) for pattern in patterns)
        ]
        if not found:
            return None
        wanted = [rule.acr for rule in found if rule.acr]
        acr = tuple(name for name in wanted[0] if all(name in others for others in wanted)) if wanted else ()
        if wanted and not acr:
            return NOBODY
        return StepUp(acr, min((rule.max_age for rule in found if rule.max_age is not None), default=None))
