"""Every refusal in one form: a page or JSON with a sentence, a code and a reference; the cause in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from jit_middleware.endpoints.house import House
from jit_middleware.errors import (
    AdapterError,
    ClientRefused,
    ConfigurationError,
    JITError,
    LoginError,
    NotProvisioned,
    RequestError,
    StaleLogin,
    StepUpRefused,
    causes,
)
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import VerifiedIdentity
from jit_middleware.pages import DEAD_END, Ways
from jit_middleware.sso.strategy import Strategy

log = logging.getLogger("jit_middleware")

_DETAIL_LIMIT = 300


def refuse(house: House, request: Request, error: JITError, *, reference: str, ways: Ways = DEAD_END) -> Response:
    """The answer to a request that failed; the detail goes to the log under the same reference.

    ``ways`` are the buttons of the page; it leads to the front page too where that is a way on.
    """
    status = _status_of(error)
    headers: list[tuple[str, str]] = list(error.headers) if isinstance(error, RequestError) else []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(error.retry_after)))
    log_refusal(house, request, error, reference=reference)
    if not wants_page(request):
        return house.pages.json_error(
            code=error.code, message=error.public, reference=reference, status=status, headers=headers
        )
    if isinstance(error, StaleLogin) and ways.retry is not None:
        return house.pages.restart(retry_url=ways.retry, reference=reference, leads_back=ways.leads_back)
    if _may_go_home(house, error, ways):
        ways = replace(ways, home=house.home)
    return house.pages.error(
        code=error.code, message=error.public, reference=reference, status=status, ways=ways, headers=headers
    )


async def refuse_login(
    house: House,
    request: Request,
    strategy: Strategy,
    error: LoginError | AdapterError,
    *,
    reference: str,
    ways: Ways = DEAD_END,
    identity: VerifiedIdentity | None = None,
) -> Response:
    """The answer to a login that failed, with its audit event.

    The log comes first: when the event cannot be written, the cause of the refusal must not be lost with it.
    """
    answer = refuse(house, request, error, reference=reference, ways=ways)
    await write_refusal(house, strategy, error, reference=reference, identity=identity)
    return answer


async def write_refusal(
    house: House,
    strategy: Strategy,
    error: LoginError | AdapterError,
    *,
    reference: str,
    identity: VerifiedIdentity | None = None,
) -> None:
    """The audit event of a login that failed; the log says so when it cannot be written."""
    event = house.audit.login_refused(
        connection=strategy.name,
        tenant=strategy.tenant,
        code=error.code,
        reason=error.reason,
        reference=reference,
        identity=identity,
        path=error.path if isinstance(error, NotProvisioned) else (),
    )
    try:
        await house.ledger.transaction(lambda tx: tx.append_audit(event))
    except AdapterError as unwritten:
        log.error("login.refused reference=%s not in the audit trail: %s", reference, unwritten.reason)


def log_refusal(house: House, request: Request, error: JITError, *, reference: str) -> None:
    """The cause under the reference; for a failure of the outside, also what failed where, but not in its words."""
    line = log_line(error, reference, request, client=house.client_of(request))
    if isinstance(error, AdapterError):
        chain = "; caused by ".join(causes(error)).encode("unicode_escape").decode("ascii")
        log.error("%s causes=%s", line, chain)
    elif isinstance(error, ClientRefused) or _status_of(error) >= 500:  # nobody's refusal: an operator has to mend it
        log.error("%s", line)
    else:
        log.warning("%s", line)


def _status_of(error: JITError) -> int:
    return error.response_status if isinstance(error, RequestError) else error.status


def unauthenticated(house: House, request: Request, target: str) -> Response:
    """The 401 for a request that cannot follow a redirect to the login; a page if a person is looking at it."""
    login_path = house.login_path(target)
    reference = house.reference()
    if wants_page(request):
        return house.pages.error(
            code="login_required",
            message="You are not signed in, or not any more.",
            reference=reference,
            status=401,
            ways=Ways(login=login_path),
            is_lost=request.method not in {"GET", "HEAD"},
            headers=challenge_headers(house),
        )
    return house.pages.json_error(
        code="login_required",
        message="This request needs a signed-in user.",
        reference=reference,
        status=401,
        login_url=house.settings.public_url.origin + login_path,
        headers=challenge_headers(house),
    )


def challenge_headers(house: House) -> Sequence[tuple[str, str]]:
    """RFC 9110 §11.6.1 wants a challenge with a 401; a scheme no browser knows opens no password box."""
    return [("WWW-Authenticate", f'JIT login_url="{house.own_url("login")}"')]


def wants_page(request: Request) -> bool:
    """Whether a person will read the answer."""
    return "text/html" in (request.header("accept") or "") and request.header("x-requested-with") is None


def _may_go_home(house: House, error: JITError, ways: Ways) -> bool:
    """Whether the front page is a way on: it is there for everybody, or for the person, who is signed in; or there is
    no other. With a faulty configuration it is not there either."""
    if error.code == ConfigurationError.code:
        return False
    return ways.is_dead_end or isinstance(error, StepUpRefused) or house.is_open


def log_line(error: JITError, reference: str, request: Request, *, client: str) -> str:
    """The cause on one line: printable ASCII only, without query, cookies or anything else that is secret."""
    line = (
        f"{error.code} reason={error.reason} reference={reference} method={request.method[:20]} "
        f"path={request.path[:_DETAIL_LIMIT]} client={client} detail={error.detail[:_DETAIL_LIMIT] or '-'}"
    )
    return line.encode("unicode_escape").decode("ascii")
