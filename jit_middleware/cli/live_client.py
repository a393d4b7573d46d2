"""The step of ``check --live`` that has the provider judge the client: a made-up code tells the right secret from a
wrong one.

RFC 6749 §5.2: who does not authenticate hears ``invalid_client``, whose code is none ``invalid_grant``. Whether the
redirect URI is registered cannot be asked without a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from jit_middleware.cli.step import Step
from jit_middleware.errors import ClientRefused, ProviderRefused, ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Clock, Transport
from jit_middleware.settings import OIDCConnection
from jit_middleware.sso.oidc.client import ClientAuthentication
from jit_middleware.sso.oidc.metadata import read_metadata
from jit_middleware.sso.oidc.token import exchange_code
from jit_middleware.system import SystemTokens

_INVALID_GRANT: Final = "invalid_grant"


async def check_client(
    connection: OIDCConnection,
    metadata: Mapping[str, object],
    *,
    transport: Transport,
    clock: Clock,
    redirect_uri: str,
) -> Step:
    """Whether the provider accepts client id and secret (or key). Raises ``ConfigurationError`` for a private key that
    cannot be used."""
    name, tokens = f"{connection.name} client", SystemTokens()
    client = ClientAuthentication(connection, transport, clock=clock, tokens=tokens)
    try:
        known = read_metadata(cast("Mapping[str, JSON]", metadata), connection.issuer)
    except VerificationError as unfit:  # which is another step's failure
        return Step(name, True, f"not tried: {unfit.reason}")
    try:
        await exchange_code(
            tokens(32), code_verifier=tokens(48), redirect_uri=redirect_uri, metadata=known, client=client
        )
    except ClientRefused as refused:
        fix = f"copy {client.settings} from the provider once more; compare the way to authenticate, too."
        return Step(name, False, f"the provider does not accept this client ({refused.reason}).", fix)
    except (ProviderRefused, ProviderUnavailable, VerificationError) as answered:
        if answered.reason != _INVALID_GRANT:
            return Step(name, True, f"not known: to a made-up code the provider answers {answered}")
    else:
        return Step(name, True, "not known: the provider gives tokens for a made-up code")
    detail = f"accepted: a made-up code is refused as such ({_INVALID_GRANT}); not tried: whether {redirect_uri} is"
    return Step(name, True, f"{detail} registered as redirect URI")
