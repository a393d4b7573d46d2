"""The authorization request and the answer to it (OIDC Core §3.1.2): what goes through the browser is not believed.

The request carries three fresh secrets of this login: ``state`` ties the answer to the browser, ``nonce`` ties the ID
token to the login, and the PKCE verifier behind ``code_challenge`` ties the code to us.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.http.form import escaped
from jit_middleware.model import StepUp
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.client import ClientAuthentication
from jit_middleware.sso.oidc.encoding import code_challenge, code_request_url, with_parameters
from jit_middleware.sso.oidc.metadata import ProviderMetadata
from jit_middleware.sso.oidc.reasons import Reason, refused
from jit_middleware.sso.strategy import LoginState

_CODE: Final = re.compile(r"[\x20-\x7e]{1,8192}")
_REQUEST_URI: Final = re.compile(r"[\x21-\x7e]{1,2048}")
#: What is new in each request, and always there.
_FRESH: Final = ("state", "nonce", "code_challenge")


def request_parameters(
    connection: OIDCConnection,
    login: LoginState,
    redirect_uri: str,
    *,
    offered_scopes: tuple[str, ...] = (),
    offered_acr: tuple[str, ...] = (),
) -> dict[str, str]:
    """Everything the authorization request says beside ``response_type`` and ``client_id``.

    ``offered_scopes`` are those that the provider's metadata lists: one that it does not know may fail the request
    (RFC 6749 §4.1.2.1, ``invalid_scope``), so no other is asked for unless the operator names it. ``offered_acr`` are
    the classes that it lists: of those that a step-up rule names, only these are any use to it.
    """
    wished = (scope for scope in connection.optional_scopes if scope in offered_scopes)
    parameters = {
        "redirect_uri": redirect_uri,
        "scope": " ".join(dict.fromkeys((*connection.scopes, *wished))),
        "state": login.state,
        "nonce": login.nonce,
        "code_challenge": code_challenge(login.code_verifier),
        "code_challenge_method": "S256",
    }
    if connection.response_mode is not None:
        parameters["response_mode"] = connection.response_mode
    step_up = login.step_up or StepUp()
    prompt = "login" if login.someone_else or step_up.insist else connection.prompt
    if prompt is not None:
        parameters["prompt"] = prompt
    ages = [age for age in (connection.max_age, step_up.max_age) if age is not None]
    if ages:
        parameters["max_age"] = str(min(ages))
    acr_values = [name for name in step_up.acr if name in offered_acr] or step_up.acr or connection.acr_values
    if acr_values:
        parameters["acr_values"] = " ".join(acr_values)
    return parameters


def authorization_url(metadata: ProviderMetadata, client_id: str, parameters: Mapping[str, str]) -> str:
    """Where to send the browser with the whole request in the URL."""
    same_each_time = tuple([(name, value) for name, value in parameters.items() if name not in _FRESH])
    beginning = code_request_url(metadata.authorization_endpoint, client_id, same_each_time)
    return f"{beginning}&{'&'.join([f'{name}={escaped(parameters[name])}' for name in _FRESH])}"


async def pushed_authorization_url(
    metadata: ProviderMetadata, client_id: str, parameters: Mapping[str, str], client: ClientAuthentication
) -> str:
    """Hand the request over directly and send the browser with a reference to it (RFC 9126).

    Raises ``ProviderRefused``, ``ProviderUnavailable``, or ``VerificationError`` when the metadata names no endpoint.
    """
    endpoint = metadata.pushed_request_endpoint
    if endpoint is None:
        raise VerificationError(Reason.METADATA_MALFORMED, "pushed_authorization_request_endpoint is missing")
    form = {"response_type": "code", "client_id": client_id, **parameters}
    answer = await client.post(endpoint, form, metadata)
    try:
        document = parse_object(answer.body)
    except NotStrictJSON:
        raise ProviderUnavailable(Reason.PUSHED_REQUEST_FAILED, f"status {answer.status}") from None
    if "error" in document and answer.status < 500:
        raise refused(document["error"], client=client.settings)
    reference = document.get("request_uri")
    if answer.status not in {200, 201} or not isinstance(reference, str) or not _REQUEST_URI.fullmatch(reference):
        raise ProviderUnavailable(Reason.PUSHED_REQUEST_FAILED, f"status {answer.status}")
    # RFC 9126 §4: client_id and request_uri, nothing else.
    return with_parameters(metadata.authorization_endpoint, [("client_id", client_id), ("request_uri", reference)])


def judge_answer(answer: Mapping[str, str], login: LoginState, metadata: ProviderMetadata) -> str:
    """The code, out of an answer that belongs to this login and comes from this provider.

    Raises ``VerificationError``, or ``ProviderRefused`` under the provider's own error code.
    """
    if not same(answer.get("state", ""), login.state):
        raise VerificationError(Reason.STATE_MISMATCH)
    # RFC 9207 §2.4: before the code is used, and in errors as well. Answers the mix-up attack (RFC 9700 §4.4).
    issuer = answer.get("iss")
    if issuer is None and metadata.promises_response_iss:
        raise VerificationError(Reason.RESPONSE_ISS_MISSING)
    if issuer is not None and issuer != metadata.issuer:
        raise VerificationError(Reason.RESPONSE_ISS_MISMATCH)
    if "error" in answer:
        raise refused(answer["error"])
    code = answer.get("code")
    if not code:
        raise VerificationError(Reason.CODE_MISSING)
    if not _CODE.fullmatch(code):
        raise VerificationError(Reason.CODE_MALFORMED)
    return code


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))
