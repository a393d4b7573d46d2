"""``acs/<connection>``: the assertion consumer service, where a SAML provider's answer comes as a cross-site POST.

An answer to a login that this browser began goes the way of every callback. One that nobody asked for is refused, or,
where the connection allows it, shown to the person first: a page elsewhere could have sent it to sign them in as
somebody else. Their click brings the same answer back from our own page, and only then it is used, once. Where the
provider wants to lead is not followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from jit_middleware.endpoints.callback import Attempt, conclude, enter
from jit_middleware.endpoints.forms import form_once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.refusal import refuse
from jit_middleware.errors import LoginError, NothingHere, RequestError, StaleLogin
from jit_middleware.http.cookies import values
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import VerifiedIdentity
from jit_middleware.pages import CONFIRMATION_FIELD, Ways
from jit_middleware.sso.state import is_state
from jit_middleware.sso.strategy import Federated, Strategy

_LARGEST_FORM: Final = 524_288  # bytes: a message of 256 KiB in base64 in a form


async def acs(house: House, request: Request, name: str) -> Response:
    """The answer of connection ``name``, asked for or not, or the person's word that they meant it."""
    strategy, federated = house.strategies.get(name), house.federated.get(name)
    if strategy is None or federated is None:
        raise NothingHere("connection_unknown")
    answer = await form_once(request, _LARGEST_FORM)
    if "SAMLResponse" not in answer:
        raise RequestError("response_missing", "the form carries no SAMLResponse")
    if CONFIRMATION_FIELD in answer:
        return await _confirmed(house, request, strategy, federated, answer)
    if is_state(answer.get(strategy.state_parameter, "")):
        return await conclude(house, request, strategy, answer)
    return await _unsolicited(house, request, strategy, federated, answer)


async def _unsolicited(
    house: House, request: Request, strategy: Strategy, federated: Federated, answer: Mapping[str, str]
) -> Response:
    try:
        identity = await federated.unsolicited_phase(answer)
    except LoginError as error:
        return _refused(house, request, strategy, error)
    browser = house.tokens(16)
    return house.pages.confirm_login(
        action_url=house.own(f"acs/{strategy.name}"),
        person=_shown(identity),
        provider=strategy.label,
        fields=(
            ("SAMLResponse", answer["SAMLResponse"]),
            (CONFIRMATION_FIELD, house.confirmations.tag(_bound(strategy, browser, answer))),
        ),
        cookies=[house.confirmation.set(browser)],
    )


async def _confirmed(
    house: House, request: Request, strategy: Strategy, federated: Federated, answer: Mapping[str, str]
) -> Response:
    tag = answer[CONFIRMATION_FIELD]
    browsers = values(request.cookie, house.confirmation.name)
    if not any(house.confirmations.tag_matches(_bound(strategy, browser, answer), tag) for browser in browsers):
        error = StaleLogin("confirmation_unknown", "this browser was not asked to confirm that")
        return _refused(house, request, strategy, error)
    attempt = Attempt(target=house.home, forget=(house.confirmation.clear(),))
    return await enter(house, request, strategy, federated.unsolicited_phase(answer), attempt)


def _shown(identity: VerifiedIdentity) -> str:
    """Who it is, for the person to recognise: an address that nobody vouches for says so beside the name."""
    if identity.email is None or identity.email == identity.subject:
        return identity.subject
    return identity.email if identity.email_verified else f"{identity.subject} ({identity.email})"


def _refused(house: House, request: Request, strategy: Strategy, error: LoginError) -> Response:
    # No event in the audit trail: anybody can send such a thing, as often as they like.
    ways = Ways(retry=house.login_path(house.home, strategy.name))
    return refuse(house, request, error, reference=house.reference(), ways=ways)


def _bound(strategy: Strategy, browser: str, answer: Mapping[str, str]) -> str:
    """What a confirmation is about: this browser, this connection, this very message."""
    return f"{strategy.name}.{browser}.{sha256(answer['SAMLResponse'].encode('utf-8', 'replace')).hexdigest()}"
