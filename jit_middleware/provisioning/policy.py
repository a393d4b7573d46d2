"""What one connection's operator has decided, compiled once: the mapping, the gates and the roles."""

from __future__ import annotations

from typing import Self

from jit_middleware.provisioning.gates import Gates
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.provisioning.matching import Matcher
from jit_middleware.provisioning.roles import RolePolicy
from jit_middleware.records import dataclass
from jit_middleware.settings import ClaimMapping, OIDCConnection, ProvisioningSettings, SAMLConnection


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules that the identities of one connection are judged by."""

    connection: str
    settings: ProvisioningSettings
    mapping: ClaimMapping
    verified_domains: tuple[str, ...]
    mapper: ClaimMapper
    gates: Gates
    matcher: Matcher
    roles: RolePolicy

    @classmethod
    def of(cls, connection: OIDCConnection | SAMLConnection) -> Self:
        """The policy of this connection."""
        settings = connection.provisioning
        return cls(
            connection=connection.name,
            settings=settings,
            mapping=connection.claims,
            verified_domains=connection.verified_domains,
            mapper=ClaimMapper(connection.claims, connection.verified_domains),
            gates=Gates(settings),
            matcher=Matcher(settings, verified_domains=connection.verified_domains),
            roles=RolePolicy(
                settings,
                connection=connection.name,
                groups_expression=connection.claims.groups,
                roles_expression=connection.claims.roles,
            ),
        )
