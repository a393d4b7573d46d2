"""The settings of what a provider may push at us, declared like all others; ``table`` puts them beside the rest."""

from __future__ import annotations

from typing import Final

from jit_middleware.settings import connections as c
from jit_middleware.settings import signals as s
from jit_middleware.settings import values as v
from jit_middleware.settings.setting import Setting

SIGNALS_ISSUER: Final = Setting[str | None](
    ("signals_issuer",), c.issuer, None,
    "The `iss` of whoever sends this connection's security events (Shared Signals) and global token revocations.",
    shown="no events are taken",
)  # fmt: skip
SIGNALS_AUDIENCE: Final = Setting[str | None](
    ("signals_audience",), s.audience, None,
    "The `aud` that security events have to name.", shown="the URL of `signals/<connection>`",
)  # fmt: skip
SIGNALS_JWKS_URI: Final = Setting[str | None](
    ("signals_jwks_uri",), s.key_set_url, None,
    "Where the sender's keys are; needed where the sender is not the OpenID issuer itself.",
    shown="the issuer's own keys",
)  # fmt: skip
SIGNALS_TOKEN: Final = Setting[str | None](
    ("signals_token",), s.bearer_token, None,
    "What the sender of security events has to show as `Authorization: Bearer`, besides its signature.", secret=True,
)  # fmt: skip
SIGNALS_CREDENTIAL_CHANGE: Final = Setting[bool](
    ("signals_credential_change",), v.switch, True,
    "A `credential-change` event (a new password, another factor) ends the person's sessions.",
)  # fmt: skip

SETTINGS: Final[tuple[Setting[object], ...]] = (
    SIGNALS_ISSUER, SIGNALS_AUDIENCE, SIGNALS_JWKS_URI, SIGNALS_TOKEN, SIGNALS_CREDENTIAL_CHANGE,
)  # fmt: skip
