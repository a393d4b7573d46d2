"""The composition root: settings and ports become a gate; what does not fit together is refused here, at start."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, cast
from urllib.parse import urlsplit

from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import TaskLocks, ThreadLocks, ledger_face, users_face
from jit_middleware.endpoints import House
from jit_middleware.endpoints.hops import Hops
from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.gate import Gate
from jit_middleware.http.cookies import CookieSpec
from jit_middleware.http.headers import DEFAULT_IDENTITY_HEADERS, Scrubber
from jit_middleware.injection import headers_of, injector
from jit_middleware.keyring import Keyring
from jit_middleware.offload import InBackground, InThisThread, InThreads
from jit_middleware.pages import Pages
from jit_middleware.ports import (
    AsyncUserStore,
    Clock,
    Ledger,
    Locks,
    Offload,
    TokenSource,
    Transport,
    Users,
    UserStore,
)
from jit_middleware.provisioning import ClaimMapper, Provisioner
from jit_middleware.sessions import Housekeeping, RevocationFeed, SessionCache, SessionCookie, Sessions
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.sso.oidc import OIDCStrategy
from jit_middleware.sso.state import LoginStates
from jit_middleware.sso.strategy import Federated, Strategy
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware.transport import AsyncTransport, SyncTransport

World = Literal["wsgi", "asgi"]

if TYPE_CHECKING:
    from jit_middleware.sso.saml.connect import SAMLStrategy

log = logging.getLogger("jit_middleware")


class Ports(TypedDict, total=False):
    """The parts that a caller may bring instead of the usual ones."""

    ledger: Ledger
    transport: Transport
    clock: Clock
    tokens: TokenSource


def assemble(
    settings: Settings | None,
    *,
    world: World,
    users: UserStore | AsyncUserStore | None = None,
    **ports: Unpack[Ports],
) -> Gate:
    """The gate of one application in one world. Raises ``ConfigurationError`` with every fault that shows at start."""
    settings = Settings.load() if settings is None else settings
    clock = ports.get("clock") or SystemClock()
    tokens = ports.get("tokens") or SystemTokens()
    locks = ThreadLocks() if world == "wsgi" else TaskLocks()
    for sentence in settings.warnings():
        log.warning("%s", sentence)

    store = users if users is not None else named_user_store(settings)
    outside: Users | None = None if store is None else users_face(store, world)
    own_ledger = ports.get("ledger") or open_ledger(settings, clock=clock, tokens=tokens, keep_users=outside is None)
    ledger = ledger_face(own_ledger, world)
    transport = ports.get("transport") or open_transport(settings, world, clock)

    keyring = Keyring(settings.secret_keys)
    secure = settings.public_url.secure
    cookie = SessionCookie(keyring.signature("session"), secure=secure)
    cache = SessionCache()
    states = LoginStates(keyring.envelope("login-state"), secure=secure, clock=clock, tokens=tokens)
    feed = RevocationFeed(
        ledger,
        cache,
        max_staleness=settings.revocation_max_staleness,
        grace=settings.revocation_grace,
        clock=clock,
        locks=locks,
    )
    sessions = Sessions(
        settings.session,
        cookie=cookie,
        own_cookies=(cookie.name + "-",),
        cache=cache,
        feed=feed,
        ledger=ledger,
        users=outside,
        users_keep_roles=callable(getattr(store, "set_roles", None)),
        connections=frozenset(connection.name for connection in settings.connections),
        inject=injector(settings.inject, world),
        hints=keyring.envelope("logout-hint"),
        clock=clock,
        tokens=tokens,
    )
    audit = AuditTrail(clock=clock, tokens=tokens, relaxations=settings.insecure)
    provisioner = Provisioner(
        settings.provisioning,
        mappers={
            connection.name: ClaimMapper(connection.claims, connection.verified_domains)
            for connection in settings.connections
        },
        verified_domains={connection.name: connection.verified_domains for connection in settings.connections},
        ledger=ledger,
        users=outside,
        audit=audit,
        clock=clock,
    )
    strategies: dict[str, Strategy] = {}
    federated: dict[str, Federated] = {}
    offload: Offload = InThisThread() if world == "wsgi" else InThreads()
    for connection in settings.connections:
        if isinstance(connection, SAMLConnection):
            saml = saml_strategy(
                connection,
                settings,
                world=world,
                transport=transport,
                clock=clock,
                tokens=tokens,
                locks=locks,
                offload=offload,
            )
            strategies[connection.name] = saml
            federated[connection.name] = saml
            continue
        strategies[connection.name] = OIDCStrategy(
            connection,
            redirect_uri=settings.public_url.join(f"{settings.endpoint_prefix}/callback/{connection.name}"),
            transport=transport,
            clock=clock,
            tokens=tokens,
            locks=locks,
        )
    mount = settings.public_url.mount
    house = House(
        settings=settings,
        strategies=strategies,
        federated=federated,
        states=states,
        sessions=sessions,
        provisioner=provisioner,
        ledger=ledger,
        audit=audit,
        pages=Pages(
            app_name=settings.app_name, prefix_url=mount + settings.endpoint_prefix, templates=settings.templates
        ),
        hops=Hops(secure=secure),
        housekeeping=Housekeeping(ledger, clock=clock),
        logout_tokens=keyring.signature("logout"),
        logout_state=CookieSpec(name=cookie.name + "-logout", secure=secure, max_age=300),
        confirmations=keyring.signature("login-confirmation"),
        confirmation=CookieSpec(name=cookie.name + "-confirm", secure=secure, same_site="Strict", max_age=300),
        app_cookies=tuple(_app_cookies(settings)),
        clock=clock,
        tokens=tokens,
    )
    injected = [name for name, _ in headers_of(settings.inject)]
    return Gate(house, scrubber=Scrubber([*DEFAULT_IDENTITY_HEADERS, *injected]), transport=transport)


def saml_strategy(
    connection: SAMLConnection,
    settings: Settings,
    *,
    world: World,
    transport: Transport,
    clock: Clock,
    tokens: TokenSource,
    locks: Locks,
    offload: Offload,
) -> SAMLStrategy:
    """The strategy of a SAML connection. Only this imports the native libraries that SAML needs; raises
    ``ConfigurationError`` when they are missing or do not fit each other."""
    from jit_middleware.sso.saml.connect import SAMLStrategy

    own = f"{settings.public_url.join(settings.endpoint_prefix)}/{{}}/{connection.name}"
    return SAMLStrategy(
        connection,
        acs_url=own.format("acs"),
        sls_url=own.format("sls"),
        metadata_url=own.format("metadata"),
        transport=transport,
        clock=clock,
        tokens=tokens,
        locks=locks,
        offload=offload,
        background=InBackground(world),
    )


def _app_cookies(settings: Settings) -> Iterator[CookieSpec]:
    """The app's own cookies as we expire them: at the root and at the mount point, where apps set them."""
    for name in settings.inject.app_cookies:
        prefix = name.lower()
        host = prefix.startswith("__host-")
        secure = settings.public_url.secure or host or prefix.startswith("__secure-")
        for path in ("/",) if host else dict.fromkeys(("/", settings.public_url.mount or "/")):
            yield CookieSpec(name=name, secure=secure, path=path)


def open_ledger(
    settings: Settings,
    *,
    clock: Clock | None = None,
    tokens: TokenSource | None = None,
    keep_users: bool | None = None,
) -> Ledger:
    """The ledger in ``JIT_DATABASE_URL``; not yet prepared. Raises ``ConfigurationError`` for a URL it cannot open."""
    from jit_middleware_sqlalchemy import SQLAlchemyLedger

    return SQLAlchemyLedger(
        settings.database_url,
        clock=clock or SystemClock(),
        tokens=tokens or SystemTokens(),
        keep_users=settings.user_store == "default" if keep_users is None else keep_users,
    )


def named_user_store(settings: Settings) -> UserStore | AsyncUserStore | None:
    """The store that ``JIT_USER_STORE`` names, made by its factory; ``None`` for the default one.

    ``module:factory`` is imported; any other name is looked up among the entry points ``jit_middleware.user_stores``.
    """
    name = settings.user_store
    if name == "default":
        return None
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            factory: object = getattr(importlib.import_module(module), attribute)
        else:
            # Here, not above: it brings an e-mail parser and an unpacker, for this one case.
            from importlib.metadata import entry_points

            factory = entry_points(group="jit_middleware.user_stores")[name].load()
    except (ImportError, AttributeError, KeyError, ValueError) as error:
        problem = f"{name!r} cannot be loaded ({type(error).__name__}: {error})."
        fix = "name an importable module:factory, or an installed store."
        raise ConfigurationError([Fault("JIT_USER_STORE", problem, fix)]) from error
    if not callable(factory):
        problem = f"{name!r} is not callable."
        raise ConfigurationError([Fault("JIT_USER_STORE", problem, "name a class or function that makes the store.")])
    return cast("Callable[[], UserStore | AsyncUserStore]", factory)()


def open_transport(settings: Settings, world: World, clock: Clock) -> Transport:
    """The way out to the providers that the settings name, and to no private address but theirs."""
    issuers = [urlsplit(url) for connection in settings.connections if (url := _asked(connection)) is not None]
    hosts = [issuer.hostname or "" for issuer in issuers]
    insecure = [issuer.hostname or "" for issuer in issuers if issuer.scheme == "http"]
    kind = SyncTransport if world == "wsgi" else AsyncTransport
    return kind(clock, insecure_hosts=insecure, private_hosts=[*hosts, *settings.private_hosts])


def _asked(connection: OIDCConnection | SAMLConnection) -> str | None:
    """The URL at which the provider of a connection is asked first, if it is asked at all."""
    return connection.metadata_url if isinstance(connection, SAMLConnection) else connection.issuer
