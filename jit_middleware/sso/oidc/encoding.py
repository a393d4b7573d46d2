# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""How things are written into URLs: Authlib's encoders (which carry no types), each behind a typed function.

They are imported with the first login, not when the application starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache


def code_challenge(code_verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636 §4.2)."""
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    return str(create_s256_code_challenge(code_verifier))


@lru_cache(maxsize=64)
def code_request_url(endpoint: str, client_id: str, parameters: tuple[tuple[str, str], ...]) -> str:
    """An authorization request for a code (RFC 6749 §4.1.1); a query that the endpoint already has is kept.

    Remembered, because all requests of a connection are the same but for their secrets, which are no part of this.
    """
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

    return str(prepare_grant_uri(endpoint, client_id, "code", **dict(parameters)))


def with_parameters(url: str, parameters: Sequence[tuple[str, str]]) -> str:
    """The URL with these parameters added to its query."""
    from authlib.common.urls import add_params_to_uri

    return str(add_params_to_uri(url, list(parameters)))
