"""HTTP/1.1 as bytes (RFC 9112): how a request is written, and how its answer is read.

Nearly every answer of a provider is plain: a status, headers, and as many bytes as ``Content-Length`` says. Those are
read here, by one pattern. All others are read by h11, whose knowledge of everything that RFC 9112 allows costs a login
more than the rest of the exchange. The pattern takes nothing that h11 would read in another way; a test compares them.
Importing this module brings the HTTP machinery in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import h11
from httpcore2 import LocalProtocolError, RemoteProtocolError

from jit_middleware.ports import Fetched
from jit_middleware.transport.exchange import Exchange, message_headers

_LONGEST_HEAD: Final = 102_400  # bytes of a status line with its headers, or of what announces a chunk
_REQUEST: Final = re.compile(
    r"(?:GET|POST) [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++\r\n", re.ASCII
)
_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 ([2-5]\d\d) [\t -~]*+\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)*+)\r\n"
)
_LENGTH: Final = re.compile(rb"\d{1,15}")
#: A second length is one of these as well.
_UNUSUAL: Final = frozenset({b"content-length", b"transfer-encoding"})
_WITHOUT_BODY: Final = frozenset({204, 304})


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


def read_answer(exchange: Exchange, read: Callable[[], bytes]) -> tuple[Fetched, bool]:
    """The answer, and whether the connection may serve another request. ``read`` gives what comes next, nothing at the
    end.

    Raises ``ProviderUnavailable``, ``httpcore2.RemoteProtocolError``, and what ``read`` raises.
    """
    data = read()
    head = plain_head(data)
    if head is None:
        return _read_by_h11(exchange, data, read)
    judged = exchange.judge(head.status, head.headers)
    exchange.take(data[head.length : head.ends])
    missing = head.ends - len(data)
    while missing > 0:
        piece = read()
        if not piece:
            raise RemoteProtocolError("the answer breaks off")
        exchange.take(piece[:missing])
        missing -= len(piece)
    # What stands behind the answer would be read as the answer to the next request, which is somebody else's.
    return exchange.fetched(head.status, judged), missing == 0


@dataclass(frozen=True, slots=True)
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
    status, length = int(found[1]), b""
    headers: list[tuple[bytes, bytes]] = []
    for line in found[2].split(b"\r\n")[:-1]:
        raw_name, _, raw_value = line.partition(b":")
        name, value = raw_name.lower(), raw_value.strip(b" \t")
        headers.append((name, value))
        if name == b"content-length" and not length:
            length = value
        elif name in _UNUSUAL or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
    if status in _WITHOUT_BODY or not _LENGTH.fullmatch(length):
        return None
    return PlainHead(status, headers, found.end(), found.end() + int(length))


def _read_by_h11(exchange: Exchange, data: bytes, read: Callable[[], bytes]) -> tuple[Fetched, bool]:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)

    def hear() -> object:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(read())
        return event

    try:
        # The request is on its way already: only its method matters to how the answer is read.
        http.send(h11.Request(method=exchange.request.method, target="/", headers=[("Host", "-")]))
        http.send(h11.EndOfMessage())
        http.receive_data(data)
        head = hear()
        while isinstance(head, h11.InformationalResponse):
            head = hear()
        if not isinstance(head, h11.Response):
            raise RemoteProtocolError("no answer")
        judged = exchange.judge(head.status_code, head.headers)
        while isinstance(part := hear(), h11.Data):
            exchange.take(bytes(part.data))
    except h11.ProtocolError as broken:
        raise RemoteProtocolError(str(broken)) from broken
    is_over = http.our_state is h11.DONE and http.their_state is h11.DONE
    return exchange.fetched(head.status_code, judged), is_over and not http.trailing_data[0]
