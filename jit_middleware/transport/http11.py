"""HTTP/1.1 as bytes (RFC 9112): how a request is written, and how its answer is read.

Nearly every answer of a provider is plain: a status, headers, and as many bytes as ``Content-Length`` says. Those are
read here, by one pattern. All others are read by h11, whose knowledge of everything that RFC 9112 allows costs a login
more than the rest of the exchange. The pattern takes nothing that h11 would read in another way; a test compares them.
Importing this module brings the HTTP machinery in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import h11
from httpcore2 import LocalProtocolError, RemoteProtocolError

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetched
from jit_middleware.records import record
from jit_middleware.transport.exchange import Exchange, message_headers

_LONGEST_HEAD: Final = 102_400  # bytes of a status line with its headers, or of what announces a chunk
_REQUEST: Final = re.compile(
    r"(?:GET|POST) [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++\r\n", re.ASCII
)
_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 ([2-5]\d\d) [\t -~]*+\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)*+)\r\n"
)
_LENGTH: Final = re.compile(rb"\d{1,15}")
_UNUSUAL: Final = frozenset({b"content-length", b"transfer-encoding"})  # of the former, a second one
#: Interim answers and pieces of a body cost the same time, however small they are: so many, and one per 256 bytes.
_MANY_PARTS: Final = 16_384
_WITHOUT_BODY: Final = frozenset({204, 304})

Answer: TypeAlias = tuple[Fetched, bool]
"""What was answered, and whether the connection may serve another request."""


def request_bytes(exchange: Exchange) -> bytes:
    """The whole request. Raises ``httpcore2.LocalProtocolError`` for what cannot stand in its head."""
    request, headers = exchange.request, message_headers(exchange)
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    lines = [f"{request.method} {exchange.target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join((*lines, "", ""))
    # A value with a line break in it would begin a header, or a request, of its own (CWE-93).
    if not _REQUEST.fullmatch(head) or head.count("\n") != len(lines) + 1:
        raise LocalProtocolError("a header that cannot be sent")
    return head.encode("ascii") + (request.body or b"")


def read_answer(exchange: Exchange, read: Callable[[], bytes]) -> Answer:
    """The answer of a connection from which ``read`` gives what comes next, nothing at the end.

    Raises what :meth:`Reader.feed` and ``read`` raise.
    """
    reader = Reader(exchange)
    while (answer := reader.feed(read())) is None:
        pass
    return answer


class Reader:
    """Reads one answer from the bytes that it is fed with, whoever waits for them."""

    __slots__ = ("_exchange", "_headers", "_http", "_is_doubtful", "_missing", "_parts", "_status")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._missing = 0
        self._http: h11.Connection | None = None
        self._is_doubtful = False
        self._parts = 0

    def feed(self, data: bytes) -> Answer | None:
        """The answer once it is whole; ``data`` is what came next, nothing at the end.

        Raises ``ProviderUnavailable`` and ``httpcore2.RemoteProtocolError``.
        """
        if self._http is not None:
            return self._by_h11(self._http, data)
        if self._headers is None:
            head = plain_head(data)
            if head is None:
                self._http = _asked(self._exchange.request.method)
                return self._by_h11(self._http, data)
            self._status, self._headers = head.status, self._exchange.judge(head.status, head.headers)
            self._missing, data = head.ends - head.length, data[head.length :]
        elif not data:
            raise RemoteProtocolError("the answer breaks off")
        self._exchange.take(data[: self._missing])
        self._missing -= len(data)
        if self._missing > 0:
            return None
        # What stands behind the answer would be read as the answer to the next request, which is somebody else's.
        return self._exchange.fetched(self._status, self._headers), self._missing == 0

    def _by_h11(self, http: h11.Connection, data: bytes) -> Answer | None:
        try:
            http.receive_data(data)
            while (event := http.next_event()) is not h11.NEED_DATA:
                self._parts += 1
                if self._parts > _MANY_PARTS + self._exchange.request.max_bytes // 256:
                    raise ProviderUnavailable("too_large", self._exchange.target.host)
                match event:
                    case h11.InformationalResponse():
                        pass
                    case h11.Response():
                        self._status = event.status_code
                        self._headers = self._exchange.judge(event.status_code, event.headers)
                        # RFC 9112 §6.1: with both lengths, somebody on the way may believe the other one.
                        self._is_doubtful = {"content-length", "transfer-encoding"} <= self._headers.keys()
                    case h11.Data():
                        self._exchange.take(bytes(event.data))
                    case h11.EndOfMessage() if self._headers is not None:
                        is_over = http.our_state is h11.DONE and http.their_state is h11.DONE
                        is_clean = not (self._is_doubtful or http.trailing_data[0])
                        return self._exchange.fetched(self._status, self._headers), is_over and is_clean
                    case _:
                        raise RemoteProtocolError("no answer")
        except h11.ProtocolError as broken:
            raise RemoteProtocolError(str(broken)) from broken
        return None


def _asked(method: str) -> h11.Connection:
    """A connection on which the request is on its way: only its method matters to how the answer is read."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
    http.send(h11.Request(method=method, target="/", headers=[("Host", "-")]))
    http.send(h11.EndOfMessage())
    return http


@record(frozen=True, slots=True)
class PlainHead:
    """The head of a plain answer: ``length`` bytes of it, and where the body ``ends``."""

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int
    ends: int


def plain_head(data: bytes) -> PlainHead | None:
    """The head that stands at the beginning, if it is whole, and followed by a body of a stated length on a connection
    that stays open."""
    found = _PLAIN.match(data)
    if found is None:
        return None
    status = int(found[1])
    length: bytes | None = None
    headers: list[tuple[bytes, bytes]] = []
    for line in found[2].split(b"\r\n")[:-1]:
        raw_name, _, raw_value = line.partition(b":")
        name, value = raw_name.lower(), raw_value.strip(b" \t")
        headers.append((name, value))
        if name == b"content-length" and length is None:
            length = value
        elif name in _UNUSUAL or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
    if status in _WITHOUT_BODY or length is None or not _LENGTH.fullmatch(length):
        return None
    return PlainHead(status, headers, found.end(), found.end() + int(length))
