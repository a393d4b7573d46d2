"""On to the provider: by a redirect, or by a page that posts a form there; ``submit-form`` is that page's script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jit_middleware.endpoints.house import House
from jit_middleware.http.messages import Request, Response
from jit_middleware.pages import SUBMIT_FORM, redirect, security_headers
from jit_middleware.sso.strategy import Onward, PostForm


def send_onward(
    house: House, onward: Onward, *, status: Literal[302, 303], cookies: Sequence[tuple[str, str]] = ()
) -> Response:
    """The answer that takes the browser there."""
    if isinstance(onward, PostForm):
        return house.pages.post(url=onward.url, fields=onward.fields, cookies=cookies)
    return redirect(onward, status=status, cookies=cookies)


async def submit_form(_house: House, _request: Request, _name: str) -> Response:
    """The script that presses the button, so that the page itself needs no inline script."""
    return Response(200, [("Content-Type", "text/javascript; charset=utf-8"), *security_headers()], SUBMIT_FORM)
