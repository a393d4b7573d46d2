"""The machine's own clock and entropy: read here only, so that everything else takes them as arguments."""

from __future__ import annotations

import os
import time
from base64 import urlsafe_b64encode


class SystemClock:
    """The machine's clocks, as a :class:`~jit_middleware.ports.Clock`."""

    __slots__ = ()

    def now(self) -> int:
        """Whole seconds since the epoch, UTC."""
        return int(time.time())

    #: Seconds on a clock that never goes back.
    monotonic = staticmethod(time.monotonic)


class SystemTokens:
    """The operating system's entropy, as a :class:`~jit_middleware.ports.TokenSource`."""

    __slots__ = ()

    def __call__(self, bytes_of_entropy: int = 32) -> str:
        """URL-safe text without padding, about 1.3 characters for each byte of entropy."""
        return urlsafe_b64encode(os.urandom(bytes_of_entropy)).rstrip(b"=").decode()
