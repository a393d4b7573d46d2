"""The composition root: settings and ports become a gate; what does not fit together is refused here, at start."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
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
    Neighbours,
    Offload,
    TokenSource,
    Transport,
    Users,
    UserStore,
)
from jit_middleware.provisioning import CreationAlarm, Policy, Provisioner
from jit_middleware.provisioning.invitations import PURPOSE as INVITATION
from jit_middleware.provisioning.invitations import Invitations
from jit_middleware.sessions import (
    Housekeeping,
    Probe,
    RefreshProbes,
    RevocationFeed,
    SessionCache,
    SessionCookie,
    Sessions,
    StepUpRules,
)
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.sso.oidc import OIDCStrategy, SignalReceiver
from jit_middleware.sso.oidc.keys import KeysAt, ProviderKeys
from jit_middleware.sso.signals import Receiver
from jit_middleware.sso.state import LoginStates
from jit_middleware.sso.strategy import Federated, Strategy
from jit_middleware.sso.tickets import LinkTickets
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
    neighbours = None if ports.get("ledger") else open_neighbours(settings, clock)
    own_ledger = ports.get("ledger") or open_ledger(
        settings, clock=clock, tokens=tokens, keep_users=outside is None, neighbours=neighbours
    )
    ledger = ledger_face(own_ledger, world)
    transport = ports.get("transport") or open_transport(settings, world, clock)

    keyring = Keyring(settings.secret_keys)
    secure = settings.public_url.secure
    cookie = SessionCookie(keyring.signature("session"), secure=secure)
    cache = SessionCache()
    states = LoginStates(keyring.envelope("login-state"), secure=secure, clock=clock, tokens=tokens)
    audit = AuditTrail(clock=clock, tokens=tokens, relaxations=relaxations(settings))
    feed = RevocationFeed(
        ledger,
        cache,
        max_staleness=settings.revocation_max_staleness,
        grace=settings.revocation_grace,
        clock=clock,
        locks=locks,
        serve_unchecked="JIT_INSECURE_SERVE_WITHOUT_REVOCATION" in settings.insecure,
        audit=audit,
        background=InBackground(world),
    )
    if neighbours is not None:
        neighbours.listen(feed.hurry)
    probes: dict[str, Probe] = {}
    skews = {connection.name: connection.clock_skew for connection in settings.connections}
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
        step_up=StepUpRules(settings.step_up, skews) if settings.step_up else None,
        probes=RefreshProbes(
            probes, ledger=ledger, envelope=keyring.envelope("refresh-token"), audit=audit, clock=clock
        ),
    )
    provisioner = _provisioner(settings, ledger=ledger, users=outside, audit=audit, clock=clock)
    strategies: dict[str, Strategy] = {}
    federated: dict[str, Federated] = {}
    receivers: dict[str, Receiver] = {}
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
            receivers[connection.name] = signal_receiver(
                connection, settings, None, transport=transport, clock=clock, locks=locks
            )
            continue
        strategies[connection.name] = openid = OIDCStrategy(
            connection,
            redirect_uri=settings.public_url.join(f"{settings.endpoint_prefix}/callback/{connection.name}"),
            transport=transport,
            clock=clock,
            tokens=tokens,
            locks=locks,
        )
        receivers[connection.name] = signal_receiver(
            connection, settings, openid, transport=transport, clock=clock, locks=locks
        )
        if connection.refresh_probe is not None:
            probes[connection.name] = Probe(connection.refresh_probe, connection.refresh_probe_grace, openid.refresh)
    mount = settings.public_url.mount
    house = House(
        settings=settings,
        strategies=strategies,
        federated=federated,
        receivers=receivers,
        states=states,
        sessions=sessions,
        provisioner=provisioner,
        ledger=ledger,
        users=outside,
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
        tickets=LinkTickets(
            keyring.envelope("link-ticket"), name=cookie.name + "-link", secure=secure, clock=clock, tokens=tokens
        ),
        invitations=Invitations(keyring.signature(INVITATION)),
        app_cookies=tuple(_app_cookies(settings)),
        clock=clock,
        tokens=tokens,
    )
    injected = [name for name, _ in headers_of(settings.inject)]
    return Gate(house, scrubber=Scrubber([*DEFAULT_IDENTITY_HEADERS, *injected]), transport=transport)


def open_provisioner(settings: Settings, ledger: Ledger) -> Provisioner:
    """The provisioning of these settings on a ledger that is open, to be awaited; for the command line."""
    clock, tokens = SystemClock(), SystemTokens()
    store = named_user_store(settings)
    return _provisioner(
        settings,
        ledger=ledger,
        users=None if store is None else users_face(store, "asgi"),
        audit=AuditTrail(clock=clock, tokens=tokens, relaxations=relaxations(settings)),
        clock=clock,
    )


def _provisioner(
    settings: Settings, *, ledger: Ledger, users: Users | None, audit: AuditTrail, clock: Clock
) -> Provisioner:
    return Provisioner(
        {connection.name: Policy.of(connection) for connection in settings.connections},
        ledger=ledger,
        users=users,
        alarm=CreationAlarm(settings.provisioning, ledger=ledger, audit=audit, clock=clock),
        audit=audit,
        clock=clock,
    )


def relaxations(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """What the operator has weakened, for each connection: in the words of the settings."""
    return {
        connection.name: (
            *settings.insecure,
            *(("link_policy=auto",) if connection.provisioning.link_policy == "auto" else ()),
            *(("allow_privileged_roles",) if connection.provisioning.allow_privileged_roles else ()),
            *(("allow_idp_initiated",) if getattr(connection, "allow_idp_initiated", False) else ()),
        )
        for connection in settings.connections
    }


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


def signal_receiver(
    connection: OIDCConnection | SAMLConnection,
    settings: Settings,
    openid: OIDCStrategy | None,
    *,
    transport: Transport,
    clock: Clock,
    locks: Locks,
) -> SignalReceiver:
    """What takes the pushed messages of a connection; ``openid`` is its strategy, ``None`` for SAML."""
    own = f"{settings.public_url.join(settings.endpoint_prefix)}/{{}}/{connection.name}"
    at = connection.signals.jwks_uri
    return SignalReceiver(
        connection,
        keys=None if openid is None else openid.keys,
        metadata=None if openid is None else openid.metadata,
        signal_keys=None if at is None else ProviderKeys(KeysAt(at), transport, clock=clock, locks=locks),
        revoke_url=own.format("revoke"),
        signals_url=own.format("signals"),
        clock=clock,
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
    neighbours: Neighbours | None = None,
) -> Ledger:
    """The ledger in ``JIT_DATABASE_URL``; not yet prepared. Raises ``ConfigurationError`` for a URL it cannot open.

    It tells ``neighbours`` what it commits, and closes them; without, those of ``JIT_REDIS_URL``.
    """
    from jit_middleware_sqlalchemy import SQLAlchemyLedger

    clock = clock or SystemClock()
    return SQLAlchemyLedger(
        settings.database_url,
        clock=clock,
        tokens=tokens or SystemTokens(),
        keep_users=settings.user_store == "default" if keep_users is None else keep_users,
        neighbours=neighbours or open_neighbours(settings, clock),
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
    asked = [url for each in settings.connections for url in (_asked(each), each.signals.jwks_uri)]
    issuers = [urlsplit(url) for url in asked if url is not None]
    hosts = [issuer.hostname or "" for issuer in issuers]
    insecure = [issuer.hostname or "" for issuer in issuers if issuer.scheme == "http"]
    kind = SyncTransport if world == "wsgi" else AsyncTransport
    return kind(clock, insecure_hosts=insecure, private_hosts=[*hosts, *settings.private_hosts])


def _asked(connection: OIDCConnection | SAMLConnection) -> str | None:
    """The URL at which the provider of a connection is asked first, if it is asked at all."""
    return connection.metadata_url if isinstance(connection, SAMLConnection) else connection.issuer
