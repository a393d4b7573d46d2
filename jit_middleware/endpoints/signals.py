"""``signals/<connection>``: security events by push (RFC 8935), as Shared Signals, CAEP and RISC define them.

What follows from which event stands in one table. An event that is not in it is taken and written down, and so is one
about somebody who is not known here: the transmitter is to hear that it arrived, and nothing about who uses this
application.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final, assert_never

from jit_middleware.endpoints.forms import content_type_of
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.pushes import (
    LARGEST_BODY,
    answer_json,
    bare,
    bearer_of,
    receiver_of,
    signals_of,
)
from jit_middleware.endpoints.refusal import log_refusal
from jit_middleware.endpoints.revocation import revoke
from jit_middleware.endpoints.selectors import KnownSession, Measure, Person, Selector, Signal
from jit_middleware.errors import NothingHere, RequestError, SignalRefused, VerificationError
from jit_middleware.http.messages import Request, Response
from jit_middleware.settings.signals import SignalsSettings
from jit_middleware.sso.signals import (
    ACCOUNT_DISABLED,
    ACCOUNT_PURGED,
    CREDENTIAL_CHANGE,
    IDENTIFIER_CHANGED,
    IDENTIFIER_RECYCLED,
    RISC_SESSIONS_REVOKED,
    SESSION_REVOKED,
    VERIFICATION,
    AliasSubjects,
    EmailSubject,
    IdentitySubject,
    NamedSubject,
    Receiver,
    SecurityEvent,
    SessionSubject,
)

log = logging.getLogger("jit_middleware.signals")

#: The event → what is done about it.
MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        SESSION_REVOKED: Measure.END_SESSIONS,
        RISC_SESSIONS_REVOKED: Measure.END_SESSIONS,
        CREDENTIAL_CHANGE: Measure.END_SESSIONS,
        ACCOUNT_DISABLED: Measure.CLOSE_ACCOUNT,
        ACCOUNT_PURGED: Measure.CLOSE_ACCOUNT,
        IDENTIFIER_CHANGED: Measure.WITHDRAW_EMAIL,
        IDENTIFIER_RECYCLED: Measure.WITHDRAW_EMAIL,
    }
)
#: RFC 8935 §2.4: the error code of a reason; any other is an invalid_request.
_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "issuer_mismatch": "invalid_issuer",
        "audience_mismatch": "invalid_audience",
        "key_unknown": "invalid_key",
        "signature_invalid": "invalid_key",
        "bearer_missing": "authentication_failed",
        "bearer_mismatch": "authentication_failed",
    }
)
_MEDIA_TYPE: Final = "application/secevent+jwt"
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")


async def signals(house: House, request: Request, name: str) -> Response:
    """A security event of connection ``name``: 202, or 400 with an error of RFC 8935 §2.4."""
    receiver = receiver_of(house, name)
    if not receiver.takes_events:
        raise NothingHere("signals_off", "no transmitter is named in the settings")
    settings = signals_of(house, name)
    reference = house.reference()
    try:
        said = await _read(request, receiver, settings)
    except RequestError as error:
        log_refusal(house, request, error, reference=reference)
        code = _CODES.get(error.reason, "invalid_request")
        description = f"The security event is not accepted (reference {reference})."
        # §2.3: a description comes with its language.
        headers = [("Content-Language", "en"), *error.headers]
        return answer_json(error.response_status, {"err": code, "description": description}, headers)
    await _act(house, name, said, settings, reference)
    return bare(202)


async def _read(request: Request, receiver: Receiver, settings: SignalsSettings) -> SecurityEvent:
    if settings.token is not None:
        shown = bearer_of(request)
        if shown is None:
            raise SignalRefused("bearer_missing")
        if not hmac.compare_digest(shown.encode("utf-8", "replace"), settings.token.encode()):
            raise SignalRefused("bearer_mismatch")
    if content_type_of(request) != _MEDIA_TYPE:
        raise SignalRefused("secevent_expected")
    body = await request.read_body(LARGEST_BODY)
    try:
        return await receiver.security_event(body.decode("latin-1").strip())
    except VerificationError as error:
        raise SignalRefused(error.reason, error.detail) from error


async def _act(house: House, name: str, said: SecurityEvent, settings: SignalsSettings, reference: str) -> None:
    measure = MEASURES.get(said.event, Measure.NOTHING)
    if said.event == CREDENTIAL_CHANGE and not settings.ends_on_credential_change:
        measure = Measure.NOTHING
    state = _shown(said.state)
    if said.event == VERIFICATION:
        log.info("connection=%s verification of the stream arrived, state=%s reference=%s", name, state, reference)
    acts = measure is not Measure.NOTHING and said.subject is not None
    await revoke(
        house,
        _meant(said.subject) if acts and said.subject is not None else None,
        connection=name,
        cause=said.event.rpartition("/")[2].replace("-", "_"),
        signal=Signal(name, "security_event", said.receipt, said.event, state),
        measure=measure,
        reference=reference,
    )


def _meant(subject: NamedSubject) -> Selector:
    match subject:
        case SessionSubject(name):
            return KnownSession(name)
        case AliasSubjects(first, others):
            return Person(first, others)
        case IdentitySubject() | EmailSubject():
            return Person(subject)
        case _:
            assert_never(subject)


def _shown(state: str | None) -> str | None:
    """``state`` for the operator to compare, or a digest where it is not fit to be shown."""
    if state is None or _SHOWABLE.fullmatch(state):
        return state
    return "sha256:" + sha256(state.encode("utf-8", "replace")).hexdigest()[:32]
