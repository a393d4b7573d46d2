"""One connection to one identity provider: everything the operator decides about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Final, Literal

from jit_middleware.model import DEFAULT_TENANT
from jit_middleware.records import dataclass
from jit_middleware.settings.expressions import claims_mentioned
from jit_middleware.settings.policy import FieldPolicy, ProvisioningSettings
from jit_middleware.settings.signals import SignalsSettings
from jit_middleware.settings.url import is_loopback, split_url
from jit_middleware.settings.values import BadValue, one_of, shown, text, whole_seconds, word_list

ClientAuth = Literal["client_secret_basic", "client_secret_post", "private_key_jwt"]
AssertionAudience = Literal["issuer", "token_endpoint"]
ResponseMode = Literal["query", "form_post"]
UserinfoUse = Literal["auto", "always", "never"]
SessionCeiling = Literal["provider", "id_token"]

DEFAULT_SCOPES: Final = ("openid", "email", "profile")
DEFAULT_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
KNOWN_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448",
)  # fmt: skip
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
NO_POLICIES: Final[Mapping[str, FieldPolicy]] = MappingProxyType({})
_ISSUER_EXAMPLE: Final = "https://login.example.org"
_SHORTEST_PROBE: Final = 60
_DISCOVERY: Final = "/.well-known/openid-configuration"

#: In every ID token that verifies (OIDC Core §2, §3.1.2.1), so never a reason to ask the userinfo endpoint.
_ALWAYS_THERE: Final = frozenset({"iss", "sub", "aud", "exp", "iat", "nonce"})


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims become which field of the user: a JMESPath expression for each.

    ``groups`` is what gates and role rules see as the person's groups, ``roles`` what the provider itself calls roles;
    ``fields`` are the further attributes by name. ``policies`` says of a field, by its name, how it is filled.
    """

    username: str = "preferred_username || email || sub"
    email: str = "email"
    display_name: str = "name"
    groups: str = "groups"
    roles: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS)
    policies: Mapping[str, FieldPolicy] = field(default_factory=lambda: NO_POLICIES)


@dataclass(frozen=True, slots=True)
class OIDCConnection:
    """An OpenID provider and how we speak with it.

    ``clock_skew`` and ``max_age`` are seconds. ``client_auth`` ``None`` leaves the choice to the provider's metadata;
    ``response_mode`` ``None`` asks for none. ``optional_scopes`` are asked for where the provider's metadata lists
    them. ``needed_claims`` are what the claim mapping wants: when the ID token lacks one of them, ``userinfo`` ``auto``
    asks the userinfo endpoint. ``session_ceiling`` ``id_token``: the session ends with the ID token at the latest.
    ``refresh_probe`` is how often (seconds) the provider is asked by a refresh token whether the person is still
    welcome, ``None`` for never; for ``refresh_probe_grace`` (seconds) it may fail to answer.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    client_auth: ClientAuth | None = None
    client_assertion_audience: AssertionAudience = "issuer"
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    optional_scopes: tuple[str, ...] = ()
    response_mode: ResponseMode | None = None
    pushed_authorization: bool = False
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    label: str = "Single sign-on"
    tenant: str = DEFAULT_TENANT
    prompt: str | None = None
    max_age: int | None = None
    acr_values: tuple[str, ...] = ()
    userinfo: UserinfoUse = "auto"
    needed_claims: tuple[str, ...] = ()
    session_ceiling: SessionCeiling = "provider"
    refresh_probe: int | None = None
    refresh_probe_grace: int = 3600
    clock_skew: int = 60
    verified_domains: tuple[str, ...] = ()
    claims: ClaimMapping = field(default_factory=ClaimMapping)
    provisioning: ProvisioningSettings = field(default_factory=ProvisioningSettings)
    signals: SignalsSettings = field(default_factory=SignalsSettings)


def needed_claims(expressions: Sequence[str]) -> tuple[str, ...]:
    """The top-level claims these JMESPath expressions look at and that not every ID token carries, sorted."""
    mentioned = frozenset[str]().union(*(claims_mentioned(source) for source in expressions))
    return tuple(sorted(mentioned - _ALWAYS_THERE))


def issuer(value: object) -> str:
    """An issuer identifier (OIDC Discovery §3), kept byte for byte: it is compared exactly."""
    url = text(value)
    parts, _, _ = split_url(url, example=_ISSUER_EXAMPLE)
    if parts.path.endswith(_DISCOVERY):
        raise BadValue("it is the address of the discovery document.", f"cut off {_DISCOVERY}: the rest is the issuer.")
    return url


def reached_in_the_clear(issuer_url: str) -> bool:
    """Whether this issuer is spoken to without TLS over a network."""
    parts, host, _ = split_url(issuer_url, example=_ISSUER_EXAMPLE)
    return parts.scheme != "https" and not is_loopback(host)


def scopes(value: object) -> tuple[str, ...]:
    """Scopes to ask for; ``openid`` among them makes it OpenID Connect at all (OIDC Core §3.1.2.1)."""
    asked = word_list(value)
    if "openid" not in asked:
        raise BadValue("openid is not among the scopes.", "add openid.")
    return asked


def refresh_probe(value: object) -> int | None:
    """A length of time from a minute on, or ``off``."""
    if isinstance(value, str) and value.strip() == "off":
        return None
    length = whole_seconds(value)
    if length < _SHORTEST_PROBE:
        raise BadValue(f"{shown(value)} would ask the provider all the time.", "write at least 1m, or off.")
    return length


def algorithms(value: object) -> tuple[str, ...]:
    """The signature algorithms that are accepted, public-key ones only (RFC 8725 §3.1)."""
    accepted = word_list(value)
    for name in accepted:
        if name not in KNOWN_ALGORITHMS:
            raise BadValue(
                f"{shown(name)} is not an algorithm that is accepted here.", f"write {one_of(KNOWN_ALGORITHMS)}."
            )
    if not accepted:
        raise BadValue("no algorithm is left.", "name at least one, or remove the setting.")
    return accepted
