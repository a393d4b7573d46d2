"""Claims that an operator has pasted, taken for verified: to find out what would become of such a person.

Nobody is signed in by this.
"""

from __future__ import annotations

from collections.abc import Mapping

from jit_middleware.model import JSON, VerifiedIdentity
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc.identity import identity_of


def pasted_identity(claims: Mapping[str, JSON], connection: OIDCConnection) -> VerifiedIdentity:
    """Who these claims of an ID token (with those of userinfo) speak of.

    Raises ``VerificationError`` for claims that no login would get past: no ``sub``, a wrong type.
    """
    return identity_of(claims, connection, id_token="")
