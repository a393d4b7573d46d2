"""What a Response is compared with, and what is left when every comparison held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from jit_middleware.records import dataclass
from jit_middleware.sso.saml.keys import SPKey


@dataclass(frozen=True, slots=True)
class Expectations:
    """Everything the verification compares with: all from configuration and the login state, nothing from the request.

    ``idp_certificates`` are PEM, the current and the next one; ``request_id`` is ``None`` only where a response that
    was not asked for is allowed; ``now``, ``clock_skew`` and ``max_age`` are seconds, ``max_age`` the time from its
    IssueInstant that an assertion may be used. Without ``decryption_keys`` encryption is refused.
    """

    idp_entity_id: str
    idp_certificates: tuple[str, ...]
    sp_entity_id: str
    acs_url: str
    request_id: str | None
    now: int
    clock_skew: int = 60
    max_age: int = 600
    decryption_keys: tuple[SPKey, ...] = field(default=(), repr=False)
    requested_contexts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedAssertion:
    """What the provider said, read only from the bytes it signed, every check passed. Built in this room only.

    ``attributes`` go by their formal names, ``friendly_names`` lead from a friendly name to the formal one. Times are
    seconds since the epoch; until ``not_on_or_after`` the assertion's id must be remembered against replay.
    ``issued_at`` is its IssueInstant.
    """

    assertion_id: str
    issuer: str
    name_id: str
    name_id_format: str
    name_qualifier: str | None
    sp_name_qualifier: str | None
    session_index: str | None
    session_not_on_or_after: int | None
    authn_instant: int
    authn_context: str | None
    attributes: Mapping[str, tuple[str, ...]]
    friendly_names: Mapping[str, str]
    not_on_or_after: int
    issued_at: int = 0
