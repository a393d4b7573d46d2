"""What speaks with the identity providers: for each connection its strategy, and who hears what the provider pushes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jit_middleware.offload import InBackground, InThisThread, InThreads
from jit_middleware.outside import World
from jit_middleware.ports import Clock, Locks, Offload, TokenSource, Transport
from jit_middleware.records import dataclass
from jit_middleware.sessions import Probe
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.sso.oidc import OIDCStrategy, SignalReceiver
from jit_middleware.sso.oidc.keys import KeysAt, ProviderKeys
from jit_middleware.sso.signals import Receiver
from jit_middleware.sso.strategy import Federated, Strategy

if TYPE_CHECKING:
    from jit_middleware.sso.saml.connect import SAMLStrategy


@dataclass(frozen=True, slots=True)
class Connected:
    """Everything by the name of its connection; ``federated`` are the SAML ones, ``probes`` those with refresh tokens
    that are tried."""

    strategies: Mapping[str, Strategy]
    federated: Mapping[str, Federated]
    receivers: Mapping[str, Receiver]
    probes: Mapping[str, Probe]


def connect(
    settings: Settings, *, world: World, transport: Transport, clock: Clock, tokens: TokenSource, locks: Locks
) -> Connected:
    """The connections of these settings. Raises ``ConfigurationError`` when SAML needs libraries that are not there."""
    strategies: dict[str, Strategy] = {}
    federated: dict[str, Federated] = {}
    receivers: dict[str, Receiver] = {}
    probes: dict[str, Probe] = {}
    offload: Offload = InThisThread() if world == "wsgi" else InThreads()
    for connection in settings.connections:
        name, openid = connection.name, None
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
            strategies[name] = federated[name] = saml
        else:
            openid = OIDCStrategy(
                connection,
                redirect_uri=settings.public_url.join(f"{settings.endpoint_prefix}/callback/{name}"),
                transport=transport,
                clock=clock,
                tokens=tokens,
                locks=locks,
            )
            strategies[name] = openid
            if connection.refresh_probe is not None:
                probes[name] = Probe(connection.refresh_probe, connection.refresh_probe_grace, openid.refresh)
        receivers[name] = signal_receiver(connection, settings, openid, transport=transport, clock=clock, locks=locks)
    return Connected(strategies, federated, receivers, probes)


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
