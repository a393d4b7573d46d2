"""``backchannel/<connection>``: the provider itself tells that sessions have ended (OIDC Back-Channel Logout 1.0).

No browser is there, so no cookie counts. A session that is not known here has ended already: that is success too, and
so is a token that was used before.
"""

from __future__ import annotations

from jit_middleware.endpoints.forms import form_once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.pushes import LARGEST_BODY, answer_json, bare, receiver_of
from jit_middleware.endpoints.refusal import log_refusal
from jit_middleware.endpoints.revocation import revoke
from jit_middleware.endpoints.selectors import Person, ProviderSessions, Selector, Signal
from jit_middleware.errors import LogoutNotVerified, NothingHere, RequestError, VerificationError
from jit_middleware.http.messages import Request, Response
from jit_middleware.sso.signals import IdentitySubject, LogoutToken, Receiver


async def backchannel(house: House, request: Request, name: str) -> Response:
    """A logout token of connection ``name``: 200, or 400 with an OAuth error (§2.8)."""
    receiver = receiver_of(house, name)
    if receiver.issuer is None:
        raise NothingHere("connection_unknown")
    reference = house.reference()
    try:
        said = await _read(request, receiver)
    except RequestError as error:
        log_refusal(house, request, error, reference=reference)
        description = f"The logout token is not accepted (reference {reference})."
        document = {"error": "invalid_request", "error_description": description}
        return answer_json(error.response_status, document, error.headers)
    signal = Signal(name, "backchannel_logout", said.receipt)
    await revoke(house, _meant(said), connection=name, cause="backchannel_logout", signal=signal, reference=reference)
    return bare(200)


async def _read(request: Request, receiver: Receiver) -> LogoutToken:
    form = await form_once(request, LARGEST_BODY)
    token = form.get("logout_token")
    if token is None:
        raise LogoutNotVerified("logout_token_missing")
    try:
        return await receiver.logout_token(token)
    except VerificationError as error:
        raise LogoutNotVerified(error.reason, error.detail) from error


def _meant(said: LogoutToken) -> Selector:
    """§2.7: with ``sid`` that session at the provider, and those of the person that have no name here; without it every
    session of the person."""
    person = None if said.subject is None else IdentitySubject(said.subject, said.issuer)
    if said.idp_session is not None:
        return ProviderSessions((said.idp_session,), person)
    if person is None:
        raise LogoutNotVerified("claim_missing", "sid or sub")
    return Person(person)
