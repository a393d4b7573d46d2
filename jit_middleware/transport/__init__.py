"""The one way out of this process to an identity provider.

The rule of the room: what is fetched was configured or came from configured metadata, and still nothing about the other
side is believed. https only (http to this very machine where allowed), no redirects, no cookies, no decompression, no
proxy from the environment, one deadline for the whole exchange and a cap on its size. A host name is resolved here and
the address that was checked is the one connected to, so a name that changes its address between check and use (DNS
rebinding) gains nothing.

Two shells, one for threads and one for an event loop, share every judgement (``destinations``, ``exchange``). The HTTP
machinery is imported when the first request is made, not when the application starts.
"""

from __future__ import annotations

from jit_middleware.transport.eventloop import AsyncTransport
from jit_middleware.transport.threads import SyncTransport

__all__ = ["AsyncTransport", "SyncTransport"]
