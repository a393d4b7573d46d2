"""Which connections are kept for the next request, and which are not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from httpcore2 import PoolTimeout, ReadError, WriteError

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.transport.destinations import Target
from jit_middleware.transport.exchange import POOL, Exchange
from jit_middleware.transport.lines import Lines
from tests.conftest import FakeClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HERE = Target("https", "op.example", 443, "/token", "op.example")


class Stream:
    """A connection; what its other side says, the provider knows."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.requests = 0
        self.is_closed = False
        self.is_readable = False

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        assert not self.is_closed
        self.requests += 1
        self.provider.hear()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.provider.answer()

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, info: str) -> object:
        return self.is_readable if info == "is_readable" else None


class Provider:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.opened: list[Stream] = []
        self.answer: Callable[[], bytes] = lambda: OK
        self.hear: Callable[[], None] = lambda: None
        self.lines = Lines(self.connect)

    def connect(self, target: Target) -> Stream:
        self.opened.append(Stream(self))
        return self.opened[-1]

    def fetch(self, target: Target = HERE, seconds: float = 5.0) -> Fetched:
        deadline = self.clock.monotonic() + seconds
        return self.lines.fetch(Exchange(Fetch("https://op.example/token"), target, self.clock, deadline))


@pytest.fixture
def provider() -> Provider:
    return Provider()


def test_next_request_goes_over_the_same_connection(provider: Provider) -> None:
    assert [provider.fetch().body for _ in range(3)] == [b"{}"] * 3
    assert [(stream.requests, stream.is_closed) for stream in provider.opened] == [(3, False)]


@pytest.mark.parametrize(
    "other",
    [
        Target("https", "op.example", 8443, "/token", "op.example:8443"),
        Target("https", "other.example", 443, "/token", "other.example"),
        Target("http", "op.example", 443, "/token", "op.example:443"),
    ],
    ids=["port", "host", "scheme"],
)
def test_connection_serves_its_own_origin_alone(provider: Provider, other: Target) -> None:
    provider.fetch()
    provider.fetch(other)
    provider.fetch()
    assert [stream.requests for stream in provider.opened] == [2, 1]


def test_connection_that_was_idle_for_half_a_minute_is_not_used_again(provider: Provider) -> None:
    provider.fetch()
    provider.clock.advance(29)
    provider.fetch()
    provider.clock.advance(31)
    provider.fetch()
    assert [(stream.requests, stream.is_closed) for stream in provider.opened] == [(2, True), (1, False)]


def test_idle_connection_that_has_something_to_read_is_closed_and_another_one_taken(provider: Provider) -> None:
    """RFC 9112 §9.5: it is the other side's end, or words that nobody asked for."""
    provider.fetch()
    provider.opened[0].is_readable = True
    provider.fetch()
    assert [(stream.requests, stream.is_closed) for stream in provider.opened] == [(1, True), (1, False)]


@pytest.mark.parametrize(
    "said",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["more than the answer", "closed by its word", "an old version"],
)
def test_connection_that_cannot_go_on_is_closed(provider: Provider, said: bytes) -> None:
    provider.answer = lambda: said
    assert provider.fetch().body == b"{}"
    provider.fetch()
    assert [(stream.requests, stream.is_closed) for stream in provider.opened] == [(1, True), (1, True)]


def test_connection_in_use_when_all_are_closed_is_not_kept(provider: Provider) -> None:
    def closing() -> bytes:
        provider.lines.close()
        return OK

    provider.answer = closing
    assert provider.fetch().body == b"{}"
    assert provider.opened[0].is_closed


def test_connection_of_a_refused_answer_is_closed(provider: Provider) -> None:
    provider.answer = lambda: b"HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\n{}"
    with pytest.raises(ProviderUnavailable):
        provider.fetch()
    assert provider.opened[0].is_closed


def test_connection_that_fails_is_closed_and_gives_its_turn_back(provider: Provider) -> None:
    def fail() -> bytes:
        raise ReadError

    provider.answer = fail
    for _ in range(POOL["max_connections"] + 1):
        with pytest.raises(ReadError):
            provider.fetch(seconds=1.0)
    assert all(stream.is_closed for stream in provider.opened)


def test_answer_counts_though_the_request_could_not_be_sent_to_its_end(provider: Provider) -> None:
    """RFC 9112 §9.5: a server may answer early and close."""

    def close_the_ear() -> None:
        raise WriteError

    provider.hear = close_the_ear
    provider.answer = lambda: b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope"
    assert provider.fetch().status == 413


def test_no_more_are_in_use_at_once_than_the_limit_and_no_more_kept_than_that_of_idle_ones(provider: Provider) -> None:
    release, most = threading.Event(), POOL["max_connections"]
    under_way = threading.Barrier(most + 1)

    def slow() -> bytes:
        under_way.wait(10)
        assert release.wait(10)
        return OK

    provider.answer = slow
    threads = [threading.Thread(target=provider.fetch) for _ in range(most)]
    for thread in threads:
        thread.start()
    under_way.wait(10)
    with pytest.raises(PoolTimeout):
        provider.fetch(seconds=0.01)
    assert len(provider.opened) == most
    release.set()
    for thread in threads:
        thread.join()
    assert sum(not stream.is_closed for stream in provider.opened) == POOL["max_keepalive_connections"]
    provider.lines.close()
    assert all(stream.is_closed for stream in provider.opened)
