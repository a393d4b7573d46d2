"""Sessions: the cookie, the row behind it, and the feed that ends both in time.

The cookie proves; the ledger decides; the cache answers within the freshness bound.
"""

from __future__ import annotations

from jit_middleware.sessions.cache import CachedSession, SessionCache
from jit_middleware.sessions.cookie import SessionCookie
from jit_middleware.sessions.feed import Knowledge, RevocationFeed
from jit_middleware.sessions.housekeeping import Housekeeping
from jit_middleware.sessions.lifecycle import Sessions
from jit_middleware.sessions.live import AT_ONCE, Ending, LiveConnection, Watch
from jit_middleware.sessions.overtaken import Overtaken
from jit_middleware.sessions.probe import Pause, Probe, RefreshProbes
from jit_middleware.sessions.step_up import StepUpRules

__all__ = [
    "AT_ONCE",
    "CachedSession",
    "Ending",
    "Housekeeping",
    "Knowledge",
    "LiveConnection",
    "Overtaken",
    "Pause",
    "Probe",
    "RefreshProbes",
    "RevocationFeed",
    "SessionCache",
    "SessionCookie",
    "Sessions",
    "StepUpRules",
    "Watch",
]
