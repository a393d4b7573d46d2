"""What the transport reads of an answer by itself is what h11 reads of it, and nothing else is read by itself."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from httpcore2 import LocalProtocolError, RemoteProtocolError
from hypothesis import example, given
from hypothesis import strategies as st

from jit_middleware.ports import Fetch
from jit_middleware.transport.destinations import Target
from jit_middleware.transport.exchange import Exchange
from jit_middleware.transport.http11 import plain_head, read_answer, request_bytes
from tests.conftest import FakeClock

LINES = st.sampled_from(
    [
        b"Content-Length: 5", b"content-length:5", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 0",
        b"Content-Length: 5 ", b"Content-Length: 0x5", b"Content-Length : 5", b" Content-Length: 5", b"Content-Length:",
        b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
        b"Connection: close", b"Connection: Keep-Alive", b"Connection: keep-alive, close", b"X: \xff", b"X: \t a \t b ",
        b"X: a\x00b", b"X: a\rb", b"X", b": a", b"", b"X-Y: z", b"X: a\nContent-Length: 7", b"Upgrade: x", b"X: \x7f",
    ]
)  # fmt: skip
FIRST = st.sampled_from(
    [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 X", b"HTTP/1.1 304 X",
        b"HTTP/1.1 100 X", b"HTTP/1.1 101 X", b"HTTP/1.1 103 X", b"HTTP/1.1 400 Bad \t Request", b"HTTP/1.1 500 \xff",
        b"HTTP/1.1  200 OK", b"http/1.1 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 302 X", b"HTTP/1.1 200 O\rK",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
BODIES = st.sampled_from(
    [b"", b"12345", b"1234", b"123456", b"5\r\n12345\r\n0\r\n\r\n", b"12345HTTP/1.1 200 OK\r\n\r\n"]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    lines = [draw(FIRST), *draw(st.lists(LINES, max_size=4))]
    return b"".join(line + draw(ENDS) for line in lines) + draw(ENDS) + draw(BODIES)


def by_h11(data: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool]:
    """Status, headers, body, and whether the connection may go on; raises what h11 raises."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    http.receive_data(b"")
    head = http.next_event()
    assert type(head) is h11.Response
    body = b""
    while type(part := http.next_event()) is h11.Data:
        body += part.data
    assert type(part) is h11.EndOfMessage
    is_over = http.our_state is h11.DONE and http.their_state is h11.DONE
    return head.status_code, list(head.headers), body, is_over and not http.trailing_data[0]


def exchange(
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    max_bytes: int = 1_048_576,
) -> Exchange:
    target = Target("https", "op.example", 443, "/token", "op.example")
    request = Fetch("https://op.example/token", method, headers or {}, body, max_bytes=max_bytes)  # type: ignore[arg-type]
    return Exchange(request, target, FakeClock(), 1e12)


@given(answers())
@example(b"HTTP/1.1 200 OK\r\nContent-Length:\r\nContent-Length: 5\r\n\r\n12345")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length:\r\n\r\n12345")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n12345")
def test_plain_head_is_what_h11_reads(data: bytes) -> None:
    head = plain_head(data)
    if head is None or head.ends > len(data):
        return
    status, headers, body, may_go_on = by_h11(data)
    assert (head.status, head.headers) == (status, headers)
    assert data[head.length : head.ends] == body
    assert may_go_on == (head.ends == len(data))


def test_usual_answer_is_plain() -> None:
    head = plain_head(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    assert head is not None
    assert (head.status, head.ends - head.length) == (200, 2)


@given(st.sampled_from([b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world",
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nhello, world\r\n0\r\n\r\n"]),
       st.lists(st.integers(0, 70), max_size=6))  # fmt: skip
def test_answer_is_the_same_in_whatever_pieces_it_comes(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(places)]
    answer, may_go_on = read_answer(exchange(), lambda: pieces.pop(0))
    assert (answer.status, answer.body, may_go_on, pieces) == (200, b"hello, world", True, [])


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n", b"x"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
def test_connection_with_bytes_behind_the_answer_serves_no_other_request(more: bytes, framing: bytes) -> None:
    pieces = [b"HTTP/1.1 200 OK\r\n" + framing + more]
    answer, may_go_on = read_answer(exchange(), lambda: pieces.pop(0))
    assert (answer.body, may_go_on) == (b"{}", False)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-"]
)
def test_answer_that_breaks_off_is_none(said: bytes) -> None:
    pieces = [said, b"", b""]
    with pytest.raises(RemoteProtocolError):
        read_answer(exchange(), lambda: pieces.pop(0))


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nX: b", "a\r", "a\0", "ä", "a\x7f"])
def test_header_that_would_end_its_line_is_not_sent(value: str) -> None:
    with pytest.raises(LocalProtocolError):
        request_bytes(exchange(headers={"Authorization": value}))
    with pytest.raises(LocalProtocolError):
        request_bytes(exchange(headers={value: "x"}))


@given(st.dictionaries(st.from_regex(r"X-[A-Z]{1,9}", fullmatch=True), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30), max_size=4),
       st.one_of(st.none(), st.binary(max_size=50)))  # fmt: skip
def test_request_is_what_a_server_reads(headers: dict[str, str], body: bytes | None) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(request_bytes(exchange("POST", headers, body)))
    request = server.next_event()
    assert type(request) is h11.Request
    assert (request.method, request.target) == (b"POST", b"/token")
    got = dict(request.headers)
    assert got[b"host"] == b"op.example"
    assert {name: got[name.lower().encode()].decode() for name in headers} == headers
    assert got.get(b"content-length") == (None if body is None else str(len(body)).encode())
    read = b""
    while type(part := server.next_event()) is h11.Data:
        read += part.data
    assert (type(part), read, server.trailing_data) == (h11.EndOfMessage, body or b"", (b"", False))


def test_large_body_in_small_pieces_is_read() -> None:
    """A federation's metadata, as a server sends it that flushes often, and a network that cuts small."""
    size = 32 * 1024 * 1024
    chunk = b"400\r\n" + b"m" * 1024 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = iter([head, *([chunk[:700], chunk[700:]] * (size // 1024)), b"0\r\n\r\n"])
    answer, may_go_on = read_answer(exchange(max_bytes=size), lambda: next(pieces))
    assert (len(answer.body), may_go_on) == (size, True)
