"""Test ids that are the same in every run, although the keys are made anew."""

from __future__ import annotations

import re

_MADE_ANEW = re.compile(r"[A-Za-z0-9_-]{40,}|<[^<>]*>|0x[0-9a-f]+")


def named(value: object) -> str:
    """The value as text, without key material and addresses."""
    return _MADE_ANEW.sub("…", str(value))[:80]
