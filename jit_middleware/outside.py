"""The outside that the settings name: the database, the app's own users, the other workers, and the way out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Literal, cast
from urllib.parse import urlsplit

from jit_middleware.bridge import made_elsewhere
from jit_middleware.errors import ConfigurationError, Fault, whence
from jit_middleware.ports import AsyncUserStore, Clock, Ledger, Neighbours, TokenSource, Transport, UserStore
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware.transport import AsyncTransport, SyncTransport

World = Literal["wsgi", "asgi"]


def open_ledger(
    settings: Settings,
    *,
    clock: Clock | None = None,
    tokens: TokenSource | None = None,
    keep_users: bool | None = None,
    neighbours: Neighbours | None = None,
    patient: bool = False,
) -> Ledger:
    """The ledger in ``JIT_DATABASE_URL``; not yet prepared. Raises ``ConfigurationError`` for a URL it cannot open.

    It tells ``neighbours`` what it commits, and closes them; without, those of ``JIT_REDIS_URL``. A ``patient`` one
    lets the database take its time, which commands can and requests cannot.
    """
    from jit_middleware_sqlalchemy import PATIENT, PROMPT, SQLAlchemyLedger

    clock = clock or SystemClock()
    return SQLAlchemyLedger(
        settings.database_url,
        clock=clock,
        tokens=tokens or SystemTokens(),
        keep_users=settings.user_store == "default" if keep_users is None else keep_users,
        neighbours=neighbours or open_neighbours(settings, clock),
        waits=PATIENT if patient else PROMPT,
    )


def open_neighbours(settings: Settings, clock: Clock) -> Neighbours | None:
    """The other workers, as far as ``JIT_REDIS_URL`` leads to them. Raises ``ConfigurationError`` for a bad URL."""
    if settings.redis_url is None:
        return None
    from jit_middleware_redis import RedisNeighbours

    return RedisNeighbours(settings.redis_url, channel=neighbours_channel(settings), clock=clock)


def neighbours_channel(settings: Settings) -> str:
    """Where in Redis the workers of this application meet: they all have the same public URL."""
    return f"jit:{settings.public_url.join('')}"


def named_user_store(settings: Settings) -> UserStore | AsyncUserStore | None:
    """The store that ``JIT_USER_STORE`` names, made by its factory; ``None`` for the default one.

    ``module:factory`` is imported; any other name is looked up among the entry points ``jit_middleware.user_stores``.
    Raises ``ConfigurationError``, whatever the application's code raises.
    """
    name = settings.user_store
    if name == "default":
        return None
    factory = made_elsewhere("JIT_USER_STORE", name, lambda: _loaded(name))
    if not callable(factory):
        problem = f"{name!r} is not callable."
        raise ConfigurationError([Fault("JIT_USER_STORE", problem, "name a class or function that makes the store.")])
    return made_elsewhere("JIT_USER_STORE", name, cast("Callable[[], UserStore | AsyncUserStore]", factory))


def _loaded(name: str) -> object:
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            return getattr(importlib.import_module(module), attribute)
        # Here, not above: it brings an e-mail parser and an unpacker, for this one case.
        from importlib.metadata import entry_points

        found = entry_points(group="jit_middleware.user_stores", name=name)
        if not found:
            problem = f"no installed package brings a store of the name {name!r}."
            fix = "write default, the name of a store that is installed, or an importable module:factory."
            raise ConfigurationError([Fault("JIT_USER_STORE", problem, fix)])
        return found[name].load()
    except (ImportError, AttributeError, KeyError) as error:
        problem = f"{name!r} cannot be loaded: {whence(error)}."
        fix = "name an importable module:factory, or an installed store."
        raise ConfigurationError([Fault("JIT_USER_STORE", problem, fix)]) from None


def open_transport(settings: Settings, world: World, clock: Clock) -> Transport:
    """The way out to the providers that the settings name, and to no private address but theirs."""
    asked = [url for each in settings.connections for url in (_asked(each), each.signals.jwks_uri)]
    issuers = [urlsplit(url) for url in asked if url is not None]
    hosts = [issuer.hostname or "" for issuer in issuers]
    insecure = [issuer.hostname or "" for issuer in issuers if issuer.scheme == "http"]
    kind = SyncTransport if world == "wsgi" else AsyncTransport
    return kind(clock, insecure_hosts=insecure, private_hosts=[*hosts, *settings.private_hosts])


def _asked(connection: OIDCConnection | SAMLConnection) -> str | None:
    """The URL at which the provider of a connection is asked first, if it is asked at all."""
    return connection.metadata_url if isinstance(connection, SAMLConnection) else connection.issuer
