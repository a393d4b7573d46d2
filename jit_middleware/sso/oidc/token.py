"""The token endpoint (RFC 6749 §4.1.3, OIDC Core §3.1.3): the code, once, for an ID token and an access token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Fetched
from jit_middleware.records import record
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.client import ClientAuthentication
from jit_middleware.sso.oidc.metadata import ProviderMetadata
from jit_middleware.sso.oidc.reasons import Reason, refused

#: What may stand in an Authorization header: no blank, no control character, so nothing can be smuggled behind it.
_ACCESS_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")
_REFRESH_TOKEN: Final = re.compile(r"[\x20-\x7e]{1,16384}")  # RFC 6749 A.17
_REFRESH_DEADLINE: Final = 5.0


@record(frozen=True, slots=True)
class Tokens:
    """What the provider gave for the code. The ID token is not verified."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)


async def exchange_code(
    code: str, *, code_verifier: str, redirect_uri: str, metadata: ProviderMetadata, client: ClientAuthentication
) -> Tokens:
    """Redeem the code. Raises ``ProviderRefused``, ``VerificationError`` or ``ProviderUnavailable``."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": code_verifier,
    }
    return judge_tokens(await client.post(metadata.token_endpoint, form, metadata), client=client.settings)


def judge_tokens(answer: Fetched, *, client: str = "") -> Tokens:
    """The tokens in this answer, by the rules of RFC 6749 §5 and OIDC Core §3.1.3.3; ``client`` names the settings that
    may be refused."""
    return _read_tokens(_read_answer(answer, client))


def _read_answer(answer: Fetched, client: str) -> Mapping[str, JSON]:
    if answer.status >= 500 or answer.status == 429:
        raise ProviderUnavailable(Reason.TOKEN_ENDPOINT_FAILED, f"status {answer.status}")
    try:
        document = parse_object(answer.body)
    except NotStrictJSON as problem:
        raise ProviderUnavailable(Reason.TOKEN_ANSWER_NOT_JSON, f"status {answer.status}: {problem}") from None
    if "error" in document:
        raise refused(document["error"], client=client)
    if answer.status != 200:
        raise ProviderUnavailable(Reason.TOKEN_ENDPOINT_FAILED, f"status {answer.status}")
    return document


def _read_access_token(document: Mapping[str, JSON]) -> str:
    token_type = document.get("token_type")
    # RFC 6749 §5.1: the type is compared without case; a type we do not know must not be used (§7.1).
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise VerificationError(Reason.TOKEN_TYPE_UNSUPPORTED)
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or not _ACCESS_TOKEN.fullmatch(access_token):
        raise VerificationError(Reason.ACCESS_TOKEN_MALFORMED)
    return access_token


def _read_tokens(document: Mapping[str, JSON]) -> Tokens:
    access_token = _read_access_token(document)
    id_token = document.get("id_token")
    if not isinstance(id_token, str) or not id_token:
        raise VerificationError(Reason.ID_TOKEN_MISSING)
    return Tokens(id_token, access_token, _refresh_token(document))


async def use_refresh_token(
    refresh_token: str, *, metadata: ProviderMetadata, client: ClientAuthentication
) -> str | None:
    """Have the provider honour a refresh token (RFC 6749 §6); the one that takes its place, if there is one.

    What else it answers is not looked at. Raises ``ProviderRefused``, ``VerificationError`` or ``ProviderUnavailable``.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    answer = await client.post(metadata.token_endpoint, form, metadata, deadline=_REFRESH_DEADLINE)
    document = _read_answer(answer, client.settings)
    _read_access_token(document)
    return _refresh_token(document)


def _refresh_token(document: Mapping[str, JSON]) -> str | None:
    token = document.get("refresh_token")
    return token if isinstance(token, str) and _REFRESH_TOKEN.fullmatch(token) else None
