"""The way out for an event loop: one timeout around the whole exchange."""

# ruff: noqa: ARG002, ASYNC109 (the signatures of the network interface)
from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Clock, Fetch, Fetched
from jit_middleware.transport.destinations import Destinations, as_address
from jit_middleware.transport.exchange import POOL, URLS_KEPT, Exchange, current, message, proxy_address
from jit_middleware.transport.names import Names

if TYPE_CHECKING:
    import asyncio
    import ssl

    import httpcore2
    from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream
else:  # both are mere interfaces; importing them costs 40 ms that a start need not pay
    AsyncNetworkBackend = AsyncNetworkStream = object


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
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, httpcore2.AsyncConnectionPool] = WeakKeyDictionary()

    async def fetch(self, request: Fetch) -> Fetched:
        import asyncio

        import httpcore2

        target = self._target(request.url)
        exchange = Exchange(request, target, self._clock, self._clock.monotonic() + request.deadline)
        token = current.set(exchange)
        try:
            async with asyncio.timeout(request.deadline):
                try:
                    return await self._send(exchange)
                except (httpcore2.NetworkError, httpcore2.RemoteProtocolError):
                    if not exchange.may_repeat():
                        raise
                    exchange.again()
                    return await self._send(exchange)
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
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    async def _send(self, exchange: Exchange) -> Fetched:
        url, headers = message(exchange)
        request = exchange.request
        async with self._pool().stream(request.method, url, headers=headers, content=request.body) as answer:
            judged = exchange.judge(answer.status, answer.headers)
            async for chunk in answer.aiter_stream():
                exchange.take(chunk)
        return exchange.fetched(answer.status, judged)

    def _pool(self) -> httpcore2.AsyncConnectionPool:
        import asyncio

        if self._pid != os.getpid():  # forked: the parent's connections are the parent's
            self._pid, self._pools = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            self._forget_closed_loops()
            pool = self._pools[loop] = self._new_pool()
        return pool

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in list(self._pools) if loop.is_closed()]:
            self._pools.pop(loop, None)  # connections hold their loop, and so themselves

    def _new_pool(self) -> httpcore2.AsyncConnectionPool:
        import httpcore2

        context = self._ssl_context or httpcore2.default_ssl_context()
        plain = cast("AsyncNetworkBackend", httpcore2.AnyIOBackend())
        backend = _Backend(self._destinations, plain, self._names)
        if self._proxy is None:
            return httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend, **POOL)
        address, login = proxy_address(self._proxy)
        return httpcore2.AsyncHTTPProxy(address, proxy_auth=login, ssl_context=context, network_backend=backend, **POOL)


class _Backend(AsyncNetworkBackend):
    """Connects to addresses that were checked."""

    def __init__(self, destinations: Destinations, plain: AsyncNetworkBackend, names: Names) -> None:
        self._destinations = destinations
        self._plain = plain
        self._names = names

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        import httpcore2

        exchange = current.get()
        exchange.connected = True
        found = [host] if as_address(host) else await self._look_up(host, port)
        addresses = self._destinations.usable(host, found, loopback_only=exchange.loopback_only)
        failure: Exception = httpcore2.ConnectError()
        for position, address in enumerate(addresses):
            share = exchange.left() / (len(addresses) - position)  # a black hole first must not use up the time of all
            try:
                stream = await self._plain.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as refused:
                failure = refused
            else:
                return _Stream(stream)
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)

    async def _look_up(self, host: str, port: int) -> list[str]:
        import httpcore2

        try:
            return await self._names.look_up(host, port)
        except (OSError, UnicodeError) as failure:
            raise httpcore2.ConnectError("name resolution") from failure


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
