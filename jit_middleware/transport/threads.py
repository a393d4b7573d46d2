"""The way out for threads: every wait of every socket ends with the deadline of the request it serves."""

# ruff: noqa: ARG002 (the signatures of the network interface)
from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Clock, Fetch, Fetched
from jit_middleware.transport.destinations import Destinations, Target, as_address
from jit_middleware.transport.exchange import PROXIED, URLS_KEPT, Exchange, current, message, proxy_address

if TYPE_CHECKING:
    import ssl

    from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream

    from jit_middleware.transport.lines import Lines
else:  # both are mere interfaces; importing them costs 40 ms that a start need not pay
    NetworkBackend = NetworkStream = object

_PIECE: Final = 65_536


class SyncTransport:
    """Fetches in the calling thread, in one step, without an event loop.

    ``insecure_hosts`` (hosts on this machine) may be spoken to over http. ``private_hosts`` may have private or
    loopback addresses. ``proxy`` is the URL of a proxy for every request, which then resolves the names.
    It is spoken to over http. ``ssl_context`` replaces the system's trust anchors (which ``SSL_CERT_FILE`` may name).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        insecure_hosts: Collection[str] = (),
        private_hosts: Collection[str] = (),
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._destinations = Destinations.of(insecure_hosts, private_hosts, proxy)
        self._target = lru_cache(URLS_KEPT)(self._destinations.check_url)
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._ways: dict[int, Lines | _Proxied] = {}  # by process: no connection is shared across a fork

    async def fetch(self, request: Fetch) -> Fetched:
        import httpcore2

        target = self._target(request.url)
        exchange = Exchange(request, target, self._clock, self._clock.monotonic() + request.deadline)
        token = current.set(exchange)
        try:
            try:
                return self._way().fetch(exchange)
            except (httpcore2.NetworkError, httpcore2.RemoteProtocolError):
                if not exchange.may_repeat():
                    raise
                exchange.again()
                return self._way().fetch(exchange)
        except httpcore2.TimeoutException:
            raise ProviderUnavailable("deadline", target.host) from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as failure:
            raise exchange.failed(failure) from None
        finally:
            current.reset(token)

    async def close(self) -> None:
        way = self._ways.pop(os.getpid(), None)
        if way is not None:
            way.close()

    def _way(self) -> Lines | _Proxied:
        pid = os.getpid()
        way = self._ways.get(pid)
        if way is None:
            for parent in [other for other in list(self._ways) if other != pid]:  # ours may have come just now
                # Not closed: a lock in it may have been held by another thread when this process was forked off.
                self._ways.pop(parent, None)
            way = self._ways.setdefault(pid, self._new_way())
        return way

    def _new_way(self) -> Lines | _Proxied:
        import httpcore2

        from jit_middleware.transport.lines import Lines

        context = self._ssl_context or httpcore2.default_ssl_context()
        backend = _Backend(self._destinations, httpcore2.SyncBackend())
        if self._proxy is not None:
            return _Proxied(self._proxy, context, backend)
        context.set_alpn_protocols(["http/1.1"])

        def connect(target: Target) -> NetworkStream:
            stream = backend.connect_tcp(target.host, target.port)
            return stream if target.scheme == "http" else stream.start_tls(context, target.host)

        return Lines(connect)


class _Proxied:
    """The way through the operator's proxy: its tunnels and its login are httpcore2's business.

    No connection is kept: whether a server sent more than its answer shows only in buffers of our own.
    """

    def __init__(self, proxy: str, context: ssl.SSLContext, backend: NetworkBackend) -> None:
        import httpcore2

        address, login = proxy_address(proxy)
        self._pool = httpcore2.HTTPProxy(
            address, proxy_auth=login, ssl_context=context, network_backend=backend, **PROXIED
        )

    def fetch(self, exchange: Exchange) -> Fetched:
        url, headers = message(exchange)
        method, body = exchange.request.method, exchange.request.body
        waits = {"timeout": {"pool": exchange.left()}}
        with self._pool.stream(method, url, headers=headers, content=body, extensions=waits) as answer:
            judged = exchange.judge(answer.status, answer.headers)
            for chunk in answer.iter_stream():
                exchange.take(chunk)
        return exchange.fetched(answer.status, judged)

    def close(self) -> None:
        self._pool.close()


class _Backend(NetworkBackend):
    """Connects to addresses that were checked, and hands out streams that keep the deadline."""

    def __init__(self, destinations: Destinations, plain: NetworkBackend) -> None:
        self._destinations = destinations
        self._plain = plain

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        import httpcore2

        exchange = current.get()
        exchange.connected = True
        found = [host] if as_address(host) else _look_up(host, port, exchange.left())
        addresses = self._destinations.usable(host, found, loopback_only=exchange.loopback_only)
        failure: Exception = httpcore2.ConnectError()
        for position, address in enumerate(addresses):
            share = exchange.left() / (len(addresses) - position)  # a black hole first must not use up the time of all
            try:
                stream = self._plain.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as refused:
                failure = refused
            else:
                return _Stream(stream)
        raise failure


def _look_up(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a name. The resolver knows no deadline, so it runs in a thread that may be left behind."""
    import httpcore2

    found: list[str] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as failure:
            failures.append(failure)
            return
        found.extend(str(answer[4][0]) for answer in answers)

    resolver = threading.Thread(target=ask, name="jit-middleware-resolver", daemon=True)
    try:
        resolver.start()
    except RuntimeError as none:
        raise httpcore2.ConnectError("name resolution") from none
    resolver.join(seconds)
    if resolver.is_alive():
        raise httpcore2.ConnectTimeout("name resolution")
    if not found:
        raise httpcore2.ConnectError("name resolution") from (failures[0] if failures else None)
    return found


class _Stream(NetworkStream):
    """A connection each of whose waits is cut to what the current exchange has left, however slowly bytes drip in.

    What is written is held back until the answer is read, so that head and body of a request leave together: one system
    call, and the other side wakes up once.
    """

    def __init__(self, plain: NetworkStream) -> None:
        self._plain = plain
        self._socket: socket.socket = plain.get_extra_info("socket")
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        import httpcore2

        if self._held:
            # A server that has heard enough may have answered before it closed its ear.
            with suppress(httpcore2.WriteError):
                self._send()
        exchange = current.get()
        if exchange.expired():
            raise httpcore2.ReadTimeout
        try:
            self._socket.settimeout(exchange.left())
            data = self._socket.recv(max_bytes)
        except TimeoutError as late:
            raise httpcore2.ReadTimeout from late
        except OSError as broken:
            raise httpcore2.ReadError from broken
        return exchange.count(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._held += buffer
        if len(self._held) >= _PIECE:
            self._send()

    def _send(self) -> None:
        import httpcore2

        exchange = current.get()
        rest = memoryview(self._held)
        self._held = b""
        while rest:
            if exchange.expired():
                raise httpcore2.WriteTimeout
            try:
                self._socket.settimeout(exchange.left())
                count = self._socket.send(rest[:_PIECE])
            except TimeoutError as late:
                raise httpcore2.WriteTimeout from late
            except OSError as broken:
                raise httpcore2.WriteError from broken
            exchange.sent += count
            rest = rest[count:]

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        import httpcore2

        if self._plain.get_extra_info("ssl_object") is not None:
            # What is read and written here goes to the socket, which knows of the outer TLS alone.
            self._plain.close()
            raise httpcore2.ConnectError("TLS inside TLS: the proxy must be an http one")
        # The handshake holds one deadline over all its messages by itself.
        return _Stream(self._plain.start_tls(ssl_context, server_hostname, current.get().left()))

    def get_extra_info(self, info: str) -> object:
        return self._plain.get_extra_info(info)
