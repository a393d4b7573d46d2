"""The way out for an event loop: one timeout around the whole exchange."""

# ruff: noqa: ARG002, ASYNC109 (the signatures of the network interface)
from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Clock, Fetch, Fetched
from jit_middleware.transport.destinations import Destinations, as_address
from jit_middleware.transport.exchange import PROXIED, URLS_KEPT, Exchange, current, message, proxy_address
from jit_middleware.transport.names import Names

if TYPE_CHECKING:
    import asyncio
    import ssl

    from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

    from jit_middleware.transport.wires import Wire, Wires
else:  # both are mere interfaces; importing them costs 40 ms that a start need not pay
    AsyncNetworkBackend = AsyncNetworkStream = object

T = TypeVar("T")


class AsyncTransport:
    """Fetches on the running event loop; each loop of each process has connections of its own.

    The arguments are those of :class:`~jit_middleware.transport.SyncTransport`.
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
        self._names = Names()
        self._pid = os.getpid()
        self._ways: WeakKeyDictionary[asyncio.AbstractEventLoop, Wires | _Proxied] = WeakKeyDictionary()

    async def fetch(self, request: Fetch) -> Fetched:
        import asyncio

        import httpcore2

        target = self._target(request.url)
        exchange = Exchange(request, target, self._clock, self._clock.monotonic() + request.deadline)
        token = current.set(exchange)
        try:
            async with asyncio.timeout(request.deadline):
                try:
                    return await self._way().fetch(exchange)
                except (httpcore2.NetworkError, httpcore2.RemoteProtocolError):
                    if not exchange.may_repeat():
                        raise
                    exchange.again()
                    return await self._way().fetch(exchange)
        except (TimeoutError, httpcore2.TimeoutException):
            raise ProviderUnavailable("deadline", target.host) from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as failure:
            raise exchange.failed(failure) from None
        finally:
            current.reset(token)

    async def close(self) -> None:
        import asyncio

        self._names.close()
        self._forget_closed_loops()
        way = self._ways.pop(asyncio.get_running_loop(), None)
        if way is not None:
            await way.close()

    def _way(self) -> Wires | _Proxied:
        import asyncio

        if self._pid != os.getpid():  # forked: the parent's connections are the parent's
            self._pid, self._ways = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        way = self._ways.get(loop)
        if way is None:
            self._forget_closed_loops()
            way = self._ways[loop] = self._new_way()
        return way

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in list(self._ways) if loop.is_closed()]:
            self._ways.pop(loop, None)  # connections hold their loop, and so themselves

    def _new_way(self) -> Wires | _Proxied:
        import httpcore2

        from jit_middleware.transport.wires import Wire, Wires

        context = self._ssl_context or httpcore2.default_ssl_context()
        addresses = _Addresses(self._destinations, self._names)
        if self._proxy is not None:
            return _Proxied(self._proxy, context, addresses)
        context.set_alpn_protocols(["http/1.1"])

        async def connect(exchange: Exchange) -> Wire:
            target = exchange.target
            plain = await addresses.first(target.host, target.port, Wire.connect)
            return await Wire.over(plain, None if target.scheme == "http" else context, target.host)

        return Wires(connect)


class _Addresses:
    """The addresses behind names, judged before anything connects to them."""

    def __init__(self, destinations: Destinations, names: Names) -> None:
        self._destinations = destinations
        self._names = names

    async def first(self, host: str, port: int, connect: Callable[[str, int, float], Awaitable[T]]) -> T:
        """What ``connect`` makes of the first address that takes a connection, within the time of the exchange."""
        import httpcore2

        exchange = current.get()
        exchange.connected = True
        found = [host] if as_address(host) else await self._look_up(host, port)
        addresses = self._destinations.usable(host, found, loopback_only=exchange.loopback_only)
        failure: Exception = httpcore2.ConnectError()
        for position, address in enumerate(addresses):
            share = exchange.left() / (len(addresses) - position)  # a black hole first must not use up the time of all
            try:
                return await connect(address, port, share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as refused:
                failure = refused
        raise failure

    async def _look_up(self, host: str, port: int) -> list[str]:
        import httpcore2

        try:
            return await self._names.look_up(host, port)
        except (OSError, UnicodeError) as failure:
            raise httpcore2.ConnectError("name resolution") from failure


class _Proxied:
    """The way through the operator's proxy: its tunnels and its login are httpcore2's business.

    No connection is kept: whether a server sent more than its answer shows only in buffers of our own.
    """

    def __init__(self, proxy: str, context: ssl.SSLContext, addresses: _Addresses) -> None:
        import httpcore2

        address, login = proxy_address(proxy)
        plain = cast("AsyncNetworkBackend", httpcore2.AnyIOBackend())
        self._pool = httpcore2.AsyncHTTPProxy(
            address, proxy_auth=login, ssl_context=context, network_backend=_Backend(addresses, plain), **PROXIED
        )

    async def fetch(self, exchange: Exchange) -> Fetched:
        url, headers = message(exchange)
        method, body = exchange.request.method, exchange.request.body
        async with self._pool.stream(method, url, headers=headers, content=body) as answer:
            judged = exchange.judge(answer.status, answer.headers)
            async for chunk in answer.aiter_stream():
                exchange.take(chunk)
        return exchange.fetched(answer.status, judged)

    async def close(self) -> None:
        await self._pool.aclose()


class _Backend(AsyncNetworkBackend):
    """Connects to addresses that were checked."""

    def __init__(self, addresses: _Addresses, plain: AsyncNetworkBackend) -> None:
        self._addresses = addresses
        self._plain = plain

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        return _Stream(await self._addresses.first(host, port, self._plain.connect_tcp))

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)


class _Stream(AsyncNetworkStream):
    """A connection that counts what passes for the current exchange."""

    def __init__(self, plain: AsyncNetworkStream) -> None:
        self._plain = plain

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return current.get().count(await self._plain.read(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        current.get().sent += len(buffer)  # before, not after: the loop may send even where the write then fails
        await self._plain.write(buffer)

    async def aclose(self) -> None:
        await self._plain.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        done = False
        try:
            secured = _Stream(await self._plain.start_tls(ssl_context, server_hostname))
            done = True
        finally:
            if not done:  # also when the deadline cuts the handshake short: nobody else would close it
                await self._plain.aclose()
        return secured

    def get_extra_info(self, info: str) -> object:
        return self._plain.get_extra_info(info)
