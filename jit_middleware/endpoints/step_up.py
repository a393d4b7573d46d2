"""Paths that ask for more than a session (RFC 9470): what is lacking, how that is said, and whether a login brought it.

Who signs in on the way is taken as at any login: the session that begins is theirs, with a new id, and the one before
it ends. So another person can come back from the provider, and gets their own session, never the first one's.
"""

from __future__ import annotations

from urllib.parse import quote

from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.refusal import wants_page
from jit_middleware.errors import AdapterError, LoginError, ProviderRefused, RequestError, StepUpRefused
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import StepUp, VerifiedIdentity
from jit_middleware.pages import Ways
from jit_middleware.sessions import CachedSession
from jit_middleware.sessions.step_up import NOBODY

_SENTENCE = "This page needs a stronger or more recent sign-in than the one you have."
#: How providers say that they cannot do it: OpenID Connect Core Unmet Authentication Requirements 1.0, SAML Core
#: §3.2.2.2.
_UNMET = "unmet_authentication_requirements"
_NO_CONTEXT = "NoAuthnContext"


def lacking(house: House, live: CachedSession, path: str) -> StepUp | None:
    """What the session lacks for this path of the app's, ``None`` for nothing.

    Raises ``RequestError`` for an ambiguous path that no session may ask for.
    """
    rules = house.sessions.step_up
    unmet = None if rules is None else rules.unmet(path, live, house.clock.now())
    if unmet is NOBODY:
        raise RequestError("path_ambiguous", "the path can be read in several ways, under different step-up rules")
    return unmet


def step_up_required(house: House, request: Request, live: CachedSession, target: str, demand: StepUp) -> Response:
    """The 401 for a request that cannot be sent to the provider (RFC 9470 §3); a page if a person is looking at it."""
    reference = house.reference()
    connection = live.admission.session.connection
    login_path = f"{house.login_path(target, connection)}&for={_quoted(request.path)}"
    headers = [("WWW-Authenticate", _challenge(house, demand))]
    if wants_page(request):
        return house.pages.error(
            code="step_up_required",
            message=_SENTENCE,
            reference=reference,
            status=401,
            ways=Ways(login=login_path, home=house.home),
            is_lost=request.method not in {"GET", "HEAD"},
            headers=headers,
        )
    return house.pages.json_error(
        code="step_up_required",
        message=_SENTENCE,
        reference=reference,
        status=401,
        login_url=house.settings.public_url.origin + login_path,
        headers=headers,
    )


def check_step_up(house: House, identity: VerifiedIdentity, demand: StepUp | None) -> None:
    """Raises ``StepUpRefused`` when the login that was to meet the demand does not."""
    rules = house.sessions.step_up
    if demand is None or rules is None or rules.is_met_by(demand, identity, house.clock.now()):
        return
    if demand.acr and identity.acr not in demand.acr:
        raise StepUpRefused("acr_insufficient", f"acr {identity.acr or '-'}, wanted {' '.join(demand.acr)}")
    if identity.auth_time is None:
        raise StepUpRefused("auth_time_missing", "the provider does not say when the person authenticated")
    raise StepUpRefused("login_too_old", f"authenticated longer than {demand.max_age}s ago")


def as_unmet(error: LoginError | AdapterError, demand: StepUp | None) -> StepUpRefused | None:
    """The refusal behind the provider's own word that it cannot meet the demand; ``None`` for any other error."""
    if demand is None or not isinstance(error, ProviderRefused):
        return None
    if error.reason == _UNMET or _NO_CONTEXT in error.detail:
        return StepUpRefused("acr_unavailable", error.reason)
    return None


def _challenge(house: House, demand: StepUp) -> str:
    parts = [f'login_url="{house.own_url("login")}"', 'error="insufficient_user_authentication"']
    if demand.acr:
        parts.append(f'acr_values="{" ".join(demand.acr)}"')
    if demand.max_age is not None:
        parts.append(f'max_age="{demand.max_age}"')
    return f"JIT {', '.join(parts)}"


def _quoted(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"), safe="/")
