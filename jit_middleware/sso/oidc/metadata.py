"""What the provider says of itself (OIDC Discovery 1.0): believed only as the document of the configured issuer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Fetch, Transport
from jit_middleware.records import dataclass
from jit_middleware.settings.url import is_loopback
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.reasons import Reason

_DEADLINE: Final = 5.0
_URL: Final = re.compile(r"[A-Za-z0-9!$%&'()*+,\-./:;=?@\[\]_~]{8,2048}")


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The parts of a discovery document that we act on, every endpoint checked. Tuples are empty where it is silent."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    pushed_request_endpoint: str | None
    requires_pushed_requests: bool
    promises_response_iss: bool
    client_auth_methods: tuple[str, ...]
    client_auth_algorithms: tuple[str, ...]
    scopes: tuple[str, ...]
    acr_values: tuple[str, ...] = ()


async def fetch_metadata(issuer: str, transport: Transport) -> ProviderMetadata:
    """Ask the issuer. Raises ``ProviderUnavailable``, or ``VerificationError`` for a document that is not its own."""
    # OIDC Discovery §4: any terminating slash is removed before the well-known part is appended.
    url = issuer.removesuffix("/") + "/.well-known/openid-configuration"
    answer = await transport.fetch(Fetch(url, deadline=_DEADLINE))
    if answer.status != 200:
        raise ProviderUnavailable(Reason.METADATA_UNAVAILABLE, f"status {answer.status}")
    try:
        document = parse_object(answer.body)
    except NotStrictJSON as problem:
        raise ProviderUnavailable(Reason.METADATA_NOT_JSON, str(problem)) from None
    return read_metadata(document, issuer)


def read_metadata(document: Mapping[str, JSON], issuer: str) -> ProviderMetadata:
    """The document, judged. Raises ``VerificationError``."""
    # OIDC Discovery §4.3: exactly, before anything else in it is looked at.
    if document.get("issuer") != issuer:
        raise VerificationError(Reason.METADATA_ISSUER_MISMATCH)
    insecure = issuer.startswith("http://")
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=_needed(document, "authorization_endpoint", insecure),
        token_endpoint=_needed(document, "token_endpoint", insecure),
        jwks_uri=_needed(document, "jwks_uri", insecure),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint", insecure),
        end_session_endpoint=_endpoint(document, "end_session_endpoint", insecure),
        pushed_request_endpoint=_endpoint(document, "pushed_authorization_request_endpoint", insecure),
        requires_pushed_requests=_flag(document, "require_pushed_authorization_requests"),
        promises_response_iss=_flag(document, "authorization_response_iss_parameter_supported"),
        client_auth_methods=_names(document, "token_endpoint_auth_methods_supported"),
        client_auth_algorithms=_names(document, "token_endpoint_auth_signing_alg_values_supported"),
        scopes=_wishes(document, "scopes_supported"),
        acr_values=_wishes(document, "acr_values_supported"),
    )


def _needed(document: Mapping[str, JSON], name: str, insecure: bool) -> str:
    url = _endpoint(document, name, insecure)
    if url is None:
        raise VerificationError(Reason.METADATA_MALFORMED, f"{name} is missing")
    return url


def _endpoint(document: Mapping[str, JSON], name: str, insecure: bool) -> str | None:
    """A URL safe to send a browser or ourselves to: https, or http to this machine if the issuer is there too."""
    url = document.get(name)
    if url is None:
        return None
    if not isinstance(url, str):
        raise VerificationError(Reason.METADATA_MALFORMED, f"{name} is not a string")
    if not _URL.fullmatch(url):
        raise VerificationError(Reason.METADATA_ENDPOINT_FORBIDDEN, name)
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and "@" not in parts.netloc and bool(parts.hostname)
        allowed = parts.scheme == "https" or (insecure and parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        usable = allowed = False
    if not (usable and allowed):
        raise VerificationError(Reason.METADATA_ENDPOINT_FORBIDDEN, name)
    return url


def _flag(document: Mapping[str, JSON], name: str) -> bool:
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise VerificationError(Reason.METADATA_MALFORMED, f"{name} is not a boolean")
    return value


def _names(document: Mapping[str, JSON], name: str) -> tuple[str, ...]:
    values = document.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise VerificationError(Reason.METADATA_MALFORMED, f"{name} is not a list")
    return tuple(value for value in values if isinstance(value, str))


def _wishes(document: Mapping[str, JSON], name: str) -> tuple[str, ...]:
    """Only a wish depends on it, so a list that is none is no reason to turn everybody away."""
    return _names(document, name) if isinstance(document.get(name), list) else ()
