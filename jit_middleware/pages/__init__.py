"""What a browser sees of the middleware itself: a few calm pages, redirects, and JSON refusals.

The rule of this room: every answer of ours leaves here, so every answer carries the same headers. It is never cached,
never sniffed, framed by nobody but a provider that signs people out in frames, and loads nothing; the one page that
runs a script posts a form that a click posts as well. Text comes from the caller and is escaped; why something was
refused is never among it, only a stable code, one sentence and a reference to look up in the log.
"""

from __future__ import annotations

from jit_middleware.pages.answers import json_error, redirect, security_headers
from jit_middleware.pages.pages import (
    CONFIRMATION_FIELD,
    LINK_FIELD,
    LOGOUT_EVERYWHERE_FIELD,
    LOGOUT_TOKEN_FIELD,
    SUBMIT_FORM,
    Pages,
)
from jit_middleware.pages.ways import DEAD_END, Ways

__all__ = [
    "CONFIRMATION_FIELD",
    "DEAD_END",
    "LINK_FIELD",
    "LOGOUT_EVERYWHERE_FIELD",
    "LOGOUT_TOKEN_FIELD",
    "SUBMIT_FORM",
    "Pages",
    "Ways",
    "json_error",
    "redirect",
    "security_headers",
]
