"""What a form or query of the provider says, each parameter exactly once (RFC 6749 §3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import RequestError
from jit_middleware.http.form import parameters
from jit_middleware.http.messages import Request

_FORM: Final = "application/x-www-form-urlencoded"


def content_type_of(request: Request) -> str:
    """The media type of the body, lower case, without parameters."""
    return (request.header("content-type") or "").partition(";")[0].strip().lower()


def is_form(request: Request) -> bool:
    """Whether the body says that it is a form."""
    return content_type_of(request) == _FORM


async def form_once(request: Request, largest: int) -> Mapping[str, str]:
    """The fields of a form of at most ``largest`` bytes. Raises ``RequestError``."""
    if not is_form(request):
        raise RequestError("form_expected", status=415)
    return once((await request.read_body(largest)).decode("utf-8", "replace"))


def once(text: str) -> Mapping[str, str]:
    """The parameters; raises ``RequestError`` when one is repeated or there are too many."""
    try:
        pairs = parameters(text)
    except ValueError as error:
        raise RequestError("parameters_malformed") from error
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise RequestError("parameter_repeated", "a parameter of the answer is there twice")
    return answer
