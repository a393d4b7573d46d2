"""What both edges do alike: frame an answer of ours, and answer when our own code fails.

Nothing of a failure reaches the browser but a reference. The log gets the kind of the failure and the places it passed,
never the text of a foreign exception: a database driver's may quote the row it was about.
"""

from __future__ import annotations

import logging
from html import escape
from http import HTTPStatus
from itertools import chain
from operator import itemgetter
from typing import Final

from jit_middleware.errors import JITError, causes
from jit_middleware.http.messages import Response
from jit_middleware.ports import TokenSource

LOGGER: Final = logging.getLogger("jit_middleware")

_BODILESS: Final = frozenset({204, 304})


def framed(response: Response) -> list[tuple[str, str]]:
    """The headers of an answer of ours as they go out: with a length, and a type where the status allows a body.

    Raises ``ValueError`` for a header that could split the response (RFC 9110 §5.5) or is not latin-1.
    """
    headers = list(response.headers)
    written = "".join(chain.from_iterable(headers))
    written.encode("latin-1")
    if _could_split(written):
        name = next(name for name, value in headers if _could_split(name + value))
        raise ValueError(f"a control character in the response header {name!r}")
    if response.status in _BODILESS:
        return headers
    names = set(map(str.lower, map(itemgetter(0), headers)))
    if "content-type" not in names:
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    if "content-length" not in names:
        headers.append(("Content-Length", str(len(response.body))))
    return headers


def _could_split(text: str) -> bool:
    return "\r" in text or "\n" in text or "\0" in text


def status_line(status: int) -> str:
    """``404`` as ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def failure(error: Exception, tokens: TokenSource) -> Response:
    """The answer to a request that our own code failed on: logged with a reference, which is all the browser sees."""
    reference = report(error, tokens)
    status = error.status if isinstance(error, JITError) else 500
    sentence = error.public if isinstance(error, JITError) else JITError.public
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Error</title>'
        f"<h1>{escape(sentence)}</h1><p>Reference: {escape(reference)}</p></html>"
    )
    return Response(
        status,
        (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ),
        page.encode(),
    )


def report(error: Exception, tokens: TokenSource) -> str:
    """Log that our own code failed, and return the reference it is logged under."""
    reference = tokens(9)
    LOGGER.error("failed, reference %s: %s", reference, "; caused by ".join(causes(error)))
    return reference
