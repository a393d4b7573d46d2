"""Times as SAML writes them: UTC with a ``Z``, to the second or finer (SAML Core §1.3.3)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,12})?Z", re.ASCII)


def instant(element: Element, name: str) -> int:
    """A time that must be there, in seconds since the epoch, rounded down. Raises ``VerificationError``."""
    found = optional_instant(element, name)
    if found is None:
        raise VerificationError(Reason.TIME_MALFORMED, f"{name} is missing")
    return found


def optional_instant(element: Element, name: str) -> int | None:
    """A time that may be missing. Raises ``VerificationError`` for anything that is no time in UTC."""
    written = element.get(name)
    if written is None:
        return None
    matched = _INSTANT.fullmatch(written)
    try:
        if matched is not None:
            return int(datetime.fromisoformat(f"{matched[1]}+00:00").timestamp())
    except (ValueError, OverflowError):
        pass
    raise VerificationError(Reason.TIME_MALFORMED, name)


def is_over(moment: int | None, now: int, skew: int) -> bool:
    """Whether an exclusive end (``NotOnOrAfter``) has passed, the clocks' difference granted."""
    return moment is not None and now - skew >= moment
