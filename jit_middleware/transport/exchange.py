"""One request and its answer, judged the same way whichever shell carries the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import field
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import unquote, urlsplit

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Clock, Fetch, Fetched
from jit_middleware.records import dataclass
from jit_middleware.transport.destinations import Target

if TYPE_CHECKING:
    import httpcore2

_OVERHEAD: Final = 262_144  # bytes from the wire beyond the body: status line, headers, chunk framing, 1xx answers


URLS_KEPT: Final = 64
"""How many URLs are remembered taken apart: a provider has a handful, and whether one may be fetched never changes."""


_DEFAULTS: Final = (("User-Agent", "jit-middleware"), ("Accept", "application/json"))


class PoolOptions(TypedDict):
    """How many connections are kept, and for how long (seconds)."""

    max_connections: int
    max_keepalive_connections: int
    keepalive_expiry: float


POOL: Final[PoolOptions] = {"max_connections": 64, "max_keepalive_connections": 16, "keepalive_expiry": 30.0}
#: Where HTTP is not spoken here, no connection is kept: what follows an answer shows only in buffers of our own.
PROXIED: Final[PoolOptions] = {**POOL, "max_keepalive_connections": 0}


@dataclass(slots=True)
class Exchange:
    """One request on its way: what is left of its time and size, how far it got, and what came back so far."""

    request: Fetch
    target: Target
    clock: Clock
    deadline: float
    wire_bytes: int = 0
    connected: bool = False
    sent: int = 0
    chunks: list[bytes] = field(default_factory=list[bytes])
    size: int = 0

    @property
    def loopback_only(self) -> bool:
        return self.target.scheme == "http"

    def left(self) -> float:
        """Seconds left; never zero, which a socket takes for "do not wait at all"."""
        return max(self.deadline - self.clock.monotonic(), 0.000_001)

    def expired(self) -> bool:
        return self.clock.monotonic() >= self.deadline

    def count(self, data: bytes) -> bytes:
        """Let bytes from the wire through; a flood of headers or 1xx answers ends here."""
        self.wire_bytes += len(data)
        if self.wire_bytes > self.request.max_bytes + _OVERHEAD:
            raise ProviderUnavailable("too_large", self.target.host)
        return data

    def take(self, chunk: bytes) -> None:
        """Keep a piece of the body, up to its cap."""
        self.size += len(chunk)
        if self.size > self.request.max_bytes:
            raise ProviderUnavailable("too_large", self.target.host)
        self.chunks.append(chunk)

    def judge(self, status: int, raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """The headers by lower-case name, once the answer is one whose body may be read."""
        host = self.target.host
        if 300 <= status < 400:
            raise ProviderUnavailable("redirected", host)
        headers: dict[str, str] = {}
        for raw_name, raw_value in raw_headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            raise ProviderUnavailable("encoded", host)
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:18]) > self.request.max_bytes:
            raise ProviderUnavailable("too_large", host)
        return headers

    def fetched(self, status: int, headers: dict[str, str]) -> Fetched:
        return Fetched(status, headers, b"".join(self.chunks))

    def may_repeat(self) -> bool:
        """Whether a failed try may be repeated: a kept connection was dead, and nothing can happen twice.

        RFC 9110 §9.2.2: a GET may be repeated; a POST only when not a byte of it left this machine.
        """
        return not self.connected and (self.request.method == "GET" or self.sent == 0)

    def again(self) -> None:
        """Begin the second try; time and size already used stay used."""
        self.chunks.clear()
        self.size = 0

    def failed(self, failure: Exception) -> ProviderUnavailable:
        """Why it failed, as far as that can be told; of foreign text only what a verifier says of a certificate."""
        host = self.target.host
        if self.expired():
            return ProviderUnavailable("deadline", f"{host}: {type(failure).__name__}")
        import socket
        import ssl

        for cause in _chain(failure):
            match cause:
                case socket.gaierror() | UnicodeError():
                    return ProviderUnavailable("name_unresolved", f"{host}: the name does not resolve")
                case ConnectionRefusedError():
                    where = f"{host}: nobody listens on port {self.target.port}"
                    return ProviderUnavailable("connection_refused", where)
                case ssl.SSLCertVerificationError():
                    why = f"{host}: {cause.verify_message.rstrip('.')}; SSL_CERT_FILE names whom to trust"
                    return ProviderUnavailable("certificate_untrusted", why)
                case ssl.SSLError():
                    return ProviderUnavailable("unreachable", f"{host}: no TLS ({cause.reason})")
                case _:
                    pass
        return ProviderUnavailable("unreachable", f"{host}: {type(failure).__name__}")


def _chain(failure: BaseException | None) -> Iterator[BaseException]:
    """The failure, and what it came of."""
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


#: The exchange that the running thread or task is busy with; how a kept connection learns whose time it spends.
current: ContextVar[Exchange] = ContextVar("jit_middleware_exchange")


def message(exchange: Exchange) -> tuple[httpcore2.URL, list[tuple[str, str]]]:
    """Address and headers of the request, for httpcore2."""
    import httpcore2

    target = exchange.target
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return url, message_headers(exchange)


def message_headers(exchange: Exchange) -> list[tuple[str, str]]:
    """The headers of the request as they go on the wire, but for the length of its body."""
    given = exchange.request.headers
    names = {name.lower() for name in given}
    headers = [("Host", exchange.target.host_header), *given.items(), ("Accept-Encoding", "identity")]
    headers += [(name, value) for name, value in _DEFAULTS if name.lower() not in names]
    return headers


def proxy_address(proxy: str) -> tuple[str, tuple[str, str] | None]:
    """The URL of the operator's proxy without user name and password, and those two apart."""
    parts = urlsplit(proxy)
    authority = parts.netloc.rpartition("@")[2]
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return f"{parts.scheme}://{authority}/", login
