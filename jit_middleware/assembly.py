"""The composition root: settings and ports become a gate; what does not fit together is refused here, at start."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TypedDict, Unpack

from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import STORE_THREADS, TaskLocks, ThreadLocks, ledger_face, users_face
from jit_middleware.connected import connect
from jit_middleware.endpoints import House
from jit_middleware.endpoints.hops import Hops
from jit_middleware.gate import Gate
from jit_middleware.http.cookies import CookieSpec
from jit_middleware.http.headers import DEFAULT_IDENTITY_HEADERS, Scrubber
from jit_middleware.injection import headers_of, injector
from jit_middleware.keyring import Keyring
from jit_middleware.offload import InBackground, Pauses, ToTheEnd
from jit_middleware.outside import World, named_user_store, open_ledger, open_neighbours, open_transport
from jit_middleware.own_threads import OwnThreads
from jit_middleware.pages import Pages
from jit_middleware.pages.misspelt import misspelt_templates
from jit_middleware.ports import (
    AsyncUserStore,
    Clock,
    Ledger,
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
    Overtaken,
    RefreshProbes,
    RevocationFeed,
    SessionCache,
    SessionCookie,
    Sessions,
    StepUpRules,
)
from jit_middleware.settings import Settings
from jit_middleware.sso.state import LoginStates
from jit_middleware.sso.tickets import LinkTickets
from jit_middleware.system import SystemClock, SystemTokens

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
    for sentence in (*settings.warnings(), *misspelt_templates(settings.templates)):
        log.warning("%s", sentence)
    for sentence in settings.notes():
        log.info("%s", sentence)

    store = users if users is not None else named_user_store(settings)
    store_threads = OwnThreads("jit-middleware-users", most=STORE_THREADS)
    outside: Users | None = None if store is None else users_face(store, world, store_threads)
    neighbours = None if ports.get("ledger") else open_neighbours(settings, clock)
    own_ledger = ports.get("ledger") or open_ledger(
        settings, clock=clock, tokens=tokens, keep_users=outside is None, neighbours=neighbours
    )
    ledger = ledger_face(own_ledger, world)
    transport = ports.get("transport") or open_transport(settings, world, clock)
    connected = connect(settings, world=world, transport=transport, clock=clock, tokens=tokens, locks=locks)

    keyring = Keyring(settings.secret_keys)
    secure = settings.public_url.secure
    cookie = SessionCookie(keyring.signature("session"), secure=secure)
    cache = SessionCache()
    states = LoginStates(keyring.envelope("login-state", tokens), secure=secure, clock=clock, tokens=tokens)
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
    skews = {connection.name: connection.clock_skew for connection in settings.connections}
    lasting = ToTheEnd(world)
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
        hints=keyring.envelope("logout-hint", tokens),
        clock=clock,
        tokens=tokens,
        step_up=StepUpRules(settings.step_up, skews) if settings.step_up else None,
        probes=RefreshProbes(
            connected.probes,
            ledger=ledger,
            envelope=keyring.envelope("refresh-token", tokens),
            audit=audit,
            clock=clock,
            background=lasting,
            pause=Pauses(world),
            is_ending=lasting.is_ending,
        ),
        overtaken=Overtaken(ledger, audit=audit, clock=clock),
    )
    provisioner = _provisioner(settings, ledger=ledger, users=outside, audit=audit, clock=clock)
    mount = settings.public_url.mount
    house = House(
        settings=settings,
        strategies=connected.strategies,
        federated=connected.federated,
        receivers=connected.receivers,
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
            keyring.envelope("link-ticket", tokens),
            name=cookie.name + "-link",
            secure=secure,
            clock=clock,
            tokens=tokens,
        ),
        invitations=Invitations(keyring.signature(INVITATION)),
        app_cookies=tuple(_app_cookies(settings)),
        clock=clock,
        tokens=tokens,
        pause=Pauses(world),
    )
    injected = [name for name, _ in headers_of(settings.inject)]
    return Gate(
        house,
        scrubber=Scrubber([*DEFAULT_IDENTITY_HEADERS, *injected]),
        transport=transport,
        let_go=store_threads.close,
    )


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


def _app_cookies(settings: Settings) -> Iterator[CookieSpec]:
    """The app's own cookies as we expire them: at the root and at the mount point, where apps set them."""
    for name in settings.inject.app_cookies:
        prefix = name.lower()
        host = prefix.startswith("__host-")
        secure = settings.public_url.secure or host or prefix.startswith("__secure-")
        for path in ("/",) if host else dict.fromkeys(("/", settings.public_url.mount or "/")):
            yield CookieSpec(name=name, secure=secure, path=path)
