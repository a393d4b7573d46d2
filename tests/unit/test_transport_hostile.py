"""The way out, against a provider's server that means it: nobody gets an answer that is not the one to their request.

An attacker who has words of their own put into an answer (CWE-113), or who sits in a shared place before the provider,
wants the connection to be kept with these words on it, for the login of somebody else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import pytest

from jit_middleware.ports import Fetch
from jit_middleware.transport import AsyncTransport
from jit_middleware.transport.exchange import POOL
from tests.unit.test_transport import Wire, certificate, kind, reply, serve, wire

pytestmark = pytest.mark.slow
__all__ = ["certificate", "kind", "serve", "wire"]

FIRST = reply(b"first")
EVIL = reply(b"evil")
CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"


def saying(*pieces, pause=0.0):
    """Answers the first request on the first connection with these pieces, and every other one honestly."""

    def behave(server, connection, number):
        server.read(connection)
        for piece in pieces if number == 1 else [FIRST]:
            connection.sendall(piece)
            time.sleep(pause)
        while True:
            server.read(connection)
            connection.sendall(reply(b"honest"))

    return behave


def asked_twice(wire, url, **how):
    """The answer to one login's request, and the one to another's."""
    first = wire.fetch(url, "POST", b"code=1", **how).body
    time.sleep(0.05)
    return first, wire.fetch(url, "POST", b"code=2", **how).body


@pytest.mark.parametrize(
    "pieces",
    [
        [FIRST + EVIL],
        [FIRST, EVIL],
        [CHUNKED + EVIL],
        [CHUNKED, EVIL],
        [CHUNKED[:-2], b"\r\n" + EVIL],
        [FIRST + EVIL[:20]],
        [FIRST + b"\r\n"],
        [FIRST + b"HTTP/1.1 100 Continue\r\n\r\n" + EVIL],
        [reply(b"first", 200, "Connection: keep-alive") + EVIL],
        [reply(b"f" * 200_000) + EVIL],
    ],
    ids=["one-piece", "two-pieces", "chunked", "chunked-two", "in-the-last-chunk", "half", "line-break", "interim",
         "keep-alive", "large"],
)  # fmt: skip
@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["at-once", "later"])
def test_words_behind_an_answer_are_not_the_answer_to_the_next_request(wire, serve, pieces, pause):
    server = serve(saying(*pieces, pause=pause))
    assert asked_twice(wire, server.url) in {(b"first", b"first"), (b"f" * 200_000, b"first")}
    assert server.connections == 2


@pytest.mark.parametrize("gap", [0, 1, 300_000], ids=["same-record", "next-record", "behind-a-lot"])
def test_words_behind_an_answer_in_the_same_tls_flight_are_not_the_next_answer(kind, serve, certificate, gap):
    """What was decrypted, or waits for it, is seen by nobody who asks the socket."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    body = b"f" * max(gap, 5)

    def behave(server, connection, number):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = context.wrap_bio(incoming, outgoing, server_side=True)

        def turn(act):
            while True:
                try:
                    result = act()
                except ssl.SSLWantReadError:
                    result = None
                connection.sendall(outgoing.read())
                if result is not None:
                    return result
                data = connection.recv(65536)
                if not data:
                    raise ValueError
                incoming.write(data)

        turn(lambda: secure.do_handshake() or True)
        answers = [reply(body)] if number == 1 else [reply(b"second")]
        while True:
            turn(lambda: secure.read(65536))
            for piece in [answers[0] + EVIL] if gap == 0 and number == 1 else [*answers, EVIL][: 3 - number]:
                secure.write(piece)
            connection.sendall(outgoing.read())  # both in one write

    server = serve(behave)
    wire = Wire(kind, ssl_context=ssl.create_default_context(cafile=certificate), insecure_hosts=())
    assert asked_twice(wire, f"https://localhost:{server.port}/") == (body, b"second")
    assert server.connections == 2
    wire.close()


def test_words_behind_an_answer_through_a_proxy_are_not_the_next_answer(kind, serve):
    server = serve(saying(FIRST + EVIL))
    wire = Wire(kind, proxy=f"http://127.0.0.1:{server.port}")
    assert asked_twice(wire, "http://localhost:1/x") == (b"first", b"first")
    wire.close()


def test_answer_that_comes_after_the_deadline_is_not_the_next_one(wire, serve):
    def behave(server, connection, number):
        server.read(connection)
        if number == 1:
            time.sleep(0.4)
            connection.sendall(EVIL)
        else:
            connection.sendall(FIRST)

    server = serve(behave)
    assert wire.refusal(server.url, "POST", b"code=1", deadline=0.2) == "deadline"
    time.sleep(0.4)
    assert wire.fetch(server.url, "POST", b"code=2").body == b"first"
    assert server.connections == 2


def test_connection_is_not_kept_where_two_lengths_are_stated(wire, serve):
    """RFC 9112 §6.1: somebody on the way may have believed the other one."""
    both = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1)
    server = serve(saying(both))
    assert asked_twice(wire, server.url) == (b"first", b"first")
    assert server.connections == 2


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 4\r\n",
        b"Content-Length:\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 4\r\n",
        b"Content-Length: -5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length : 5\r\n",
        b"X: \x00\r\nContent-Length: 5\r\n",
    ],
    ids=range(9),
)
def test_answer_whose_length_is_in_doubt_is_none(wire, serve, head):
    server = serve(saying(b"HTTP/1.1 200 X\r\n" + head + b"\r\nfirst"))
    assert wire.refusal(server.url, "POST", b"code=1", deadline=2.0) == "unreachable"
    assert wire.fetch(server.url, "POST", b"code=2").body == b"first"


@pytest.mark.parametrize("extension", [b";a=b", b';a="\\"x"', b"; " + b"a" * 4000])
def test_chunk_extensions_are_passed_over(wire, serve, extension):
    server = serve(saying(CHUNKED.replace(b"5\r\n", b"5" + extension + b"\r\n", 1)))
    assert asked_twice(wire, server.url) == (b"first", b"honest")


@pytest.mark.parametrize("size", [b"5 5", b"0x5", b"+5", b"-5", b"5\n", b"5" * 40])
def test_chunk_of_an_odd_size_is_no_answer(wire, serve, size):
    server = serve(saying(CHUNKED.replace(b"5\r\n", size + b"\r\n", 1)))
    assert wire.refusal(server.url, "POST", b"code=1", deadline=1.0) in {"unreachable", "too_large", "deadline"}


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 \r\n\r\n" * 4_000),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 11_000),
    ],
    ids=["interim answers", "chunks"],
)
def test_flood_of_tiny_parts_ends_before_its_bytes_do(wire, serve, head, piece):
    """Each costs the processor as much as a large one would."""

    def behave(server, connection, number):
        server.read(connection)
        connection.sendall(head)
        for _ in range(20):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)

    server = serve(behave)
    assert wire.refusal(server.url, max_bytes=2_000_000, deadline=30.0) == "too_large"


def test_old_answer_that_ends_with_its_connection_is_read_and_nothing_kept(wire, serve):
    def behave(server, connection, number):
        server.read(connection)
        connection.sendall(b"HTTP/1.0 200 X\r\nConnection: keep-alive\r\n\r\nfirst")
        connection.close()

    server = serve(behave)
    assert asked_twice(wire, server.url) == (b"first", b"first")
    assert server.connections == 2


def test_words_before_the_handshake_are_not_taken_for_words_by_tls(kind, serve, certificate):
    """CVE-2011-0411 and its kin: what came in the clear is not in the buffer of what came encrypted."""

    def behave(server, connection, number):
        connection.sendall(EVIL)
        connection.recv(65536)

    server = serve(behave)
    wire = Wire(kind, ssl_context=ssl.create_default_context(cafile=certificate), insecure_hosts=())
    assert wire.refusal(f"https://localhost:{server.port}/") == "unreachable"
    wire.close()


@pytest.fixture
def loop_wire():
    made = Wire(AsyncTransport)
    yield made
    made.close()


def test_crowd_on_an_event_loop_uses_so_many_connections_and_leaves_a_few(loop_wire, serve):
    under_way, peak = set(), []

    def behave(server, connection, number):
        while True:
            server.read(connection)
            under_way.add(number)
            peak.append(len(under_way))
            time.sleep(0.05)
            under_way.remove(number)
            connection.sendall(FIRST)

    server = serve(behave)

    async def crowd(people):
        fetches = (loop_wire.transport.fetch(Fetch(server.url, "POST", body=b"code=1")) for _ in range(people))
        return {answer.body for answer in await asyncio.gather(*fetches)}

    assert loop_wire.loop.run_until_complete(crowd(150)) == {b"first"}
    assert 16 < max(peak) <= POOL["max_connections"]
    before = server.connections
    assert loop_wire.loop.run_until_complete(crowd(POOL["max_keepalive_connections"])) == {b"first"}
    assert server.connections == before, "those that were kept do for these"


def test_giving_up_in_a_crowd_gives_the_turn_back(loop_wire, serve):
    def behave(server, connection, number):
        server.read(connection)
        if number <= POOL["max_connections"]:
            time.sleep(0.6)
        connection.sendall(FIRST)

    server = serve(behave)

    async def story():
        fetch = loop_wire.transport.fetch
        served = [fetch(Fetch(server.url, deadline=0.4)) for _ in range(POOL["max_connections"])]
        waiting = [fetch(Fetch(server.url, deadline=0.2)) for _ in range(5)]
        refused = await asyncio.gather(*served, *waiting, return_exceptions=True)
        assert {each.reason for each in refused} == {"deadline"}
        return (await fetch(Fetch(server.url))).body

    assert loop_wire.loop.run_until_complete(story()) == b"first"
