"""From what the sources say about identity providers to connections."""

from __future__ import annotations

from typing import Final, TypeAlias

from jit_middleware.settings import table as t
from jit_middleware.settings.claims import field_policy
from jit_middleware.settings.connections import ClaimMapping, ClientAuth, OIDCConnection, needed_claims
from jit_middleware.settings.oidc_presets import NO_PRESET, OIDCPreset
from jit_middleware.settings.oidc_presets import PRESETS as OIDC_PRESETS
from jit_middleware.settings.policy import ProvisioningSettings
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.reading_claims import read_claims
from jit_middleware.settings.reading_policy import judge_role_expression, policy_of
from jit_middleware.settings.reading_saml import saml_connection
from jit_middleware.settings.reading_signals import read_signals
from jit_middleware.settings.saml import SAMLConnection
from jit_middleware.settings.saml_presets import COMMON_NAMES, MISSING_GROUPS, PRESETS
from jit_middleware.settings.saml_table import IDP_METADATA, PRESET
from jit_middleware.settings.setting import Path
from jit_middleware.settings.table import OIDC, SAML
from jit_middleware.settings.values import shown

Connection: TypeAlias = OIDCConnection | SAMLConnection

_MOST_SKEW: Final = 300
_FIVE: Final = (
    "set JIT_OIDC_ISSUER, JIT_OIDC_CLIENT_ID and JIT_OIDC_CLIENT_SECRET, or JIT_SAML_IDP_METADATA, or a "
    "[connections.NAME] table in JIT_CONFIG."
)


def read_connections(reading: Reading, provisioning: ProvisioningSettings) -> tuple[Connection, ...]:
    """All connections that can be made; what is wrong with the others is noted."""
    names = reading.connections()
    if not names:
        reading.note("JIT_OIDC_ISSUER", "no identity provider is configured.", _FIVE)
    for shared in t.CLAIMS:
        reading.take(shared)  # a fault in the shared mapping is noted once, and also when every connection has its own
    made = (_connection(reading, name, provisioning) for name in names)
    return tuple(connection for connection in made if connection is not None)


def _connection(reading: Reading, name: str, provisioning: ProvisioningSettings) -> Connection | None:
    under = ("connections", name)
    protocol = reading.text_at((*under, "protocol"))
    if protocol not in {None, OIDC, SAML}:
        problem = f"there is no protocol {shown(protocol)}."
        reading.note(f"{'.'.join(under)}.protocol", problem, 'write protocol = "oidc" or protocol = "saml".')
        return None
    saml = protocol == SAML if protocol is not None else reading.has(IDP_METADATA, under=under) or name == SAML
    _refuse_foreign(reading, under, saml=saml)
    clock_skew = reading.take(t.CLOCK_SKEW, under=under)
    if clock_skew > _MOST_SKEW:
        problem = f"{clock_skew}s would accept tokens long after they expired."
        reading.note(
            reading.name(t.CLOCK_SKEW, under=under), problem, f"write at most {_MOST_SKEW}s, and set the clocks right."
        )
    label = reading.take(t.LABEL, under=under) or _default_label(name)
    if not saml:
        start = OIDC_PRESETS.get(reading.take(t.PRESET, under=under) or "", NO_PRESET)
        provisioning = policy_of(reading, under, provisioning, start.missing_groups)
        return _oidc_connection(reading, name, provisioning, start, label=label, clock_skew=clock_skew)
    preset = reading.take(PRESET, under=under)
    provisioning = policy_of(reading, under, provisioning, None if preset is None else MISSING_GROUPS)
    claims = read_claims(reading, under, COMMON_NAMES if preset is None else PRESETS[preset])
    _judge_claims(reading, under, claims, provisioning)
    return saml_connection(reading, name, claims=claims, provisioning=provisioning, label=label, clock_skew=clock_skew)


def _refuse_foreign(reading: Reading, under: Path, *, saml: bool) -> None:
    """A setting of the other protocol has no effect: most likely a mistake."""
    ours, others = (t.SAML_CONNECTION, t.OIDC_CONNECTION) if saml else (t.OIDC_CONNECTION, t.SAML_CONNECTION)
    foreign = {setting.path[0] for setting in others} - {setting.path[0] for setting in ours}
    for key, name in reading.given_below(under).items():
        if key in foreign:
            this = "SAML" if saml else "OpenID Connect"
            problem = f"it means nothing to {'.'.join(under)}, which is a connection by {this}."
            reading.note(name, problem, "remove it, or correct the protocol of the connection.")


def _default_label(name: str) -> str:
    return "Single sign-on" if name in {OIDC, SAML} else name.replace("-", " ").strip().capitalize() or name


def _oidc_connection(
    reading: Reading, name: str, provisioning: ProvisioningSettings, start: OIDCPreset, *, label: str, clock_skew: int
) -> OIDCConnection | None:
    under = ("connections", name)
    issuer, client_id = reading.take(t.ISSUER, under=under), reading.take(t.CLIENT_ID, under=under)
    client_secret, private_key = reading.take(t.CLIENT_SECRET, under=under), reading.take(t.PRIVATE_KEY, under=under)
    client_auth = reading.take(t.CLIENT_AUTH, under=under)
    client_assertion_audience = reading.take(t.CLIENT_ASSERTION_AUDIENCE, under=under)
    mapping = read_claims(reading, under, start.claims)
    _judge_claims(reading, under, mapping, provisioning)
    scopes = reading.take(t.SCOPES, under=under)
    optional_scopes = () if reading.has(t.SCOPES, under=under) else start.scopes
    response_mode = reading.take(t.RESPONSE_MODE, under=under)
    pushed_authorization = reading.take(t.PUSHED_AUTHORIZATION, under=under)
    algorithms = reading.take(t.ALGORITHMS, under=under)
    tenant, prompt = reading.take(t.TENANT, under=under), reading.take(t.PROMPT, under=under)
    max_age, acr_values = reading.take(t.MAX_AGE, under=under), reading.take(t.ACR_VALUES, under=under)
    userinfo = reading.take(t.USERINFO, under=under) if reading.has(t.USERINFO, under=under) else start.userinfo
    session_ceiling = reading.take(t.SESSION_CEILING, under=under)
    refresh_probe = reading.take(t.REFRESH_PROBE, under=under)
    refresh_probe_grace = reading.take(t.REFRESH_PROBE_GRACE, under=under)
    domains = reading.take(t.VERIFIED_DOMAINS, under=under)
    signals = read_signals(reading, under, own_issuer=issuer)

    _judge_credentials(reading, under, client_auth)
    if issuer is None or client_id is None:
        return None
    return OIDCConnection(
        name=name,
        issuer=issuer,
        client_id=client_id,
        client_secret=client_secret,
        private_key=private_key,
        client_auth=client_auth,
        client_assertion_audience=client_assertion_audience,
        scopes=scopes,
        optional_scopes=optional_scopes,
        response_mode=response_mode,
        pushed_authorization=pushed_authorization,
        algorithms=algorithms,
        label=label,
        tenant=tenant,
        prompt=prompt,
        max_age=max_age,
        acr_values=acr_values,
        userinfo=userinfo,
        needed_claims=needed_claims((*_wanted(reading, under, mapping, provisioning), *start.needed)),
        session_ceiling=session_ceiling,
        refresh_probe=refresh_probe,
        refresh_probe_grace=refresh_probe_grace,
        clock_skew=clock_skew,
        verified_domains=domains,
        claims=mapping,
        provisioning=provisioning,
        signals=signals,
    )


def _judge_claims(reading: Reading, under: Path, mapping: ClaimMapping, provisioning: ProvisioningSettings) -> None:
    if mapping.roles:
        place = under if reading.has(t.CLAIMS_ROLES, under=under) else ()
        judge_role_expression(reading, reading.name(t.CLAIMS_ROLES, under=place), provisioning)


def _wanted(
    reading: Reading, under: Path, mapping: ClaimMapping, provisioning: ProvisioningSettings
) -> tuple[str, ...]:
    """The expressions worth a call of the userinfo endpoint: what a user cannot do without, and what was asked for.

    The display name is worth none unless it is required. Groups are when the operator maps them or a gate needs them.
    """
    wanted = [
        mapping.username,
        mapping.email,
        *mapping.fields.values(),
        mapping.roles,
        provisioning.claim_filter,
        *(rule.when for rule in provisioning.role_rules),
    ]
    if (
        provisioning.required_groups
        or provisioning.group_roles
        or any(reading.has(t.CLAIMS_GROUPS, under=place) for place in ((), under))
    ):
        wanted.append(mapping.groups)
    if field_policy(mapping, "display_name").required:
        wanted.append(mapping.display_name)
    if provisioning.link_policy != "never":
        wanted.append("email_verified")
    return tuple(source for source in wanted if source)


def _judge_credentials(reading: Reading, under: Path, client_auth: ClientAuth | None) -> None:
    has_secret, has_key = reading.has(t.CLIENT_SECRET, under=under), reading.has(t.PRIVATE_KEY, under=under)
    if client_auth == "private_key_jwt" and not has_key:
        problem = "it is missing, and private_key_jwt needs it."
        reading.note(reading.name(t.PRIVATE_KEY, under=under), problem, "give the private key, or another client_auth.")
    elif client_auth in {"client_secret_basic", "client_secret_post"} and not has_secret:
        problem = f"it is missing, and {client_auth} needs it."
        reading.note(
            reading.name(t.CLIENT_SECRET, under=under), problem, "give the client secret, or another client_auth."
        )
    elif not (has_secret or has_key):
        fix = "give the client secret, or a private key for private_key_jwt."
        reading.note(reading.name(t.CLIENT_SECRET, under=under), "it is missing.", fix)
