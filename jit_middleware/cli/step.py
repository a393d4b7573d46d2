"""What a step of ``check --live`` comes to."""

from __future__ import annotations

from jit_middleware.records import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked; ``fix`` is empty when it is ``ok``."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
