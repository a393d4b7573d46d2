"""Every refusal in one form: a page or JSON with a sentence, a code and a reference; the cause in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jit_middleware.endpoints.house import House
from jit_middleware.errors import AdapterError, JITError, RequestError
from jit_middleware.http.messages import Request, Response

log = logging.getLogger("jit_middleware")

_DETAIL_LIMIT = 300


def refuse(house: House, request: Request, error: JITError, *, reference: str, retry: str | None = None) -> Response:
    """The answer to a request that failed; the detail goes to the log under the same reference."""
    status = error.response_status if isinstance(error, RequestError) else error.status
    headers: list[tuple[str, str]] = list(error.headers) if isinstance(error, RequestError) else []
    if isinstance(error, AdapterError):
        headers.append(("Retry-After", "5"))
    level = logging.ERROR if status >= 500 else logging.WARNING
    log.log(
        level,
        "%s",
        log_line(error, reference, request, client=house.client_of(request)),
        exc_info=error.__cause__ if status >= 500 else None,
    )
    if not wants_page(request):
        return house.pages.json_error(
            code=error.code, message=error.public, reference=reference, status=status, headers=headers
        )
    return house.pages.error(
        code=error.code, message=error.public, reference=reference, status=status, retry_url=retry, headers=headers
    )


def unauthenticated(house: House, request: Request, target: str) -> Response:
    """The 401 for a request that cannot follow a redirect to the login; a page if a person is looking at it."""
    login_path = house.login_path(target)
    reference = house.reference()
    if wants_page(request):
        return house.pages.error(
            code="login_required",
            message="You need to sign in first. What you sent was not kept.",
            reference=reference,
            status=401,
            retry_url=login_path,
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


def log_line(error: JITError, reference: str, request: Request, *, client: str) -> str:
    """The cause on one line: printable ASCII only, cut, without query, cookies or anything else that is secret."""
    detail = (error.detail[:_DETAIL_LIMIT]).encode("unicode_escape").decode("ascii")
    path = request.path.encode("unicode_escape").decode("ascii")[:_DETAIL_LIMIT]
    return (
        f"{error.code} reason={error.reason} reference={reference} method={request.method} path={path} "
        f"client={client} detail={detail or '-'}"
    )
