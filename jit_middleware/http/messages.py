"""What an edge hands to the core and gets back: inert data, no open files, no live connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import Literal, Protocol, TypeAlias

from jit_middleware.model import Session, User
from jit_middleware.records import dataclass, record


@dataclass(slots=True)
class Request:
    """A request as the core sees it, which nobody changes (each field of a frozen dataclass takes five times as long).

    ``path`` is the decoded path below the mount point (``SCRIPT_NAME``/``root_path`` taken off), undecodable bytes as
    lone surrogates. ``headers`` are lower-case names with latin-1 values, in the order received, duplicates kept.
    ``cookie`` is all Cookie headers joined by ``"; "``. ``read_body(limit)`` is awaited by our own endpoints only; it
    raises ``RequestError("body_too_large", status=413)`` beyond the limit (bytes).
    """

    kind: Literal["http", "websocket"]
    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    cookie: str
    client: str | None
    read_body: Callable[[int], Awaitable[bytes]] = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value of that (lower-case) header."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@record(frozen=True, slots=True)
class Response:
    """A whole answer of ours. Header values are latin-1 text; ``Content-Length`` is added by the edge."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


@dataclass(slots=True)
class Admission:
    """A request that goes on to the app as this user; made once per cached session and shared by its requests, so
    nobody changes it.

    ``environ`` and ``scope`` are what the app is to see (keys to set), ``headers`` request headers to add.
    """

    user: User
    session: Session
    environ: dict[str, object]
    scope: dict[str, object]
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Basis(Protocol):
    """What an admission stands on, as long as ``deadline`` (monotonic) lies ahead; long past once it was dropped."""

    @property
    def admission(self) -> Admission: ...
    @property
    def user_id(self) -> str: ...
    @property
    def deadline(self) -> float: ...


@dataclass(slots=True)
class PassThrough:
    """Hand the request to the app; ``admission`` is ``None`` for an anonymous one on a public path.

    ``cookie`` is the Cookie header without our own cookies (empty: drop the header). ``basis`` is what an answer that
    takes long must be judged by, where there is a session. ``shown``, ``kept`` and ``added`` are the edge's: what it
    makes of this decision once, it finds here again, since the next request of the same browser gets the same object.
    """

    admission: Admission | None
    cookie: str
    basis: Basis | None = field(default=None, compare=False, repr=False)
    shown: dict[str, object] | None = field(default=None, compare=False, repr=False)
    kept: tuple[bytes, bytes] | None = field(default=None, compare=False, repr=False)
    added: Sequence[tuple[bytes, bytes]] = field(default=(), compare=False, repr=False)


@record(frozen=True, slots=True)
class Respond:
    """Answer the request here. For a websocket: refuse the handshake with this status."""

    response: Response


Decision: TypeAlias = PassThrough | Respond
