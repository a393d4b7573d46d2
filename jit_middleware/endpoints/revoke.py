"""``revoke/<connection>``: global token revocation, as Okta's Universal Logout calls it.

The provider asks to end everything that one person holds here (draft-parecki-oauth-global-token-revocation). Sessions
are all there is: what a session was given by the provider, its row holds, and ends with it. The caller is authenticated
by a token that it signs for this very URL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from jit_middleware.endpoints.forms import content_type_of
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.pushes import LARGEST_BODY, bare, bearer_of, receiver_of
from jit_middleware.endpoints.revocation import revoke as end_access
from jit_middleware.endpoints.selectors import Person, Signal
from jit_middleware.errors import NothingHere, SignalRefused, VerificationError
from jit_middleware.http.messages import Request, Response
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.subjects import read_subject
from jit_middleware.sso.signals import AliasSubjects, EmailSubject, Receipt, Receiver, SessionSubject

_CHALLENGE: Final = [("WWW-Authenticate", "Bearer")]
_INVALID: Final = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {"subject_foreign": 403, "subject_unknown": 404, "subject_unresolvable": 422}
)


async def revoke(house: House, request: Request, name: str) -> Response:
    """A revocation by the provider of connection ``name``: 204, or ``SignalRefused`` with 400, 401, 403, 404 or 422."""
    receiver = receiver_of(house, name)
    if not receiver.takes_revocations:
        raise NothingHere("signals_off", "nobody is named who may send them")
    receipt = await _caller(request, receiver)
    person = await _person(request)
    signal = Signal(name, "global_token_revocation", _for(receipt, person), is_answered=True)
    done = await end_access(house, person, connection=name, cause="global_token_revocation", signal=signal)
    if done.missed is not None:
        raise SignalRefused(done.missed, status=_STATUSES[done.missed])
    return bare(204)


async def _caller(request: Request, receiver: Receiver) -> Receipt:
    token = bearer_of(request)
    if token is None:
        raise SignalRefused("bearer_missing", status=401, headers=_CHALLENGE)
    try:
        return await receiver.revocation(token)
    except VerificationError as error:
        raise SignalRefused(error.reason, error.detail, status=401, headers=_INVALID) from error


def _for(receipt: Receipt, person: Person) -> Receipt:
    """The receipt for this person. The token names nobody: a caller that shows it again may mean somebody else, and
    must not hear that this is done."""
    whom = [
        part
        for each in person.subjects
        for part in ((each.email,) if isinstance(each, EmailSubject) else (each.issuer, each.subject))
    ]
    once = receipt.once
    return replace(receipt, once=replace(once, key=f"{once.key} {json.dumps(whom)}"))


async def _person(request: Request) -> Person:
    if content_type_of(request) != "application/json":
        raise SignalRefused("json_expected", status=415)
    try:
        document = parse_object(await request.read_body(LARGEST_BODY))
        match read_subject(document.get("sub_id")):
            case SessionSubject():
                raise SignalRefused("subject_identifier_unsupported", "a session alone")
            case AliasSubjects(first, others):
                return Person(first, others)
            case subject:
                return Person(subject)
    except NotStrictJSON as problem:
        raise SignalRefused("json_malformed", str(problem)) from None
    except VerificationError as error:
        raise SignalRefused(error.reason, error.detail) from error
