"""Every setting, declared once: its name, how it is read, its default and what it means.

Environment, TOML, ``_FILE`` variants, suggestions for misspelt names and the reference in ``docs/`` all come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from jit_middleware.http.paths import validate_pattern
from jit_middleware.http.proxies import TrustedProxies
from jit_middleware.model import DEFAULT_TENANT
from jit_middleware.settings import claims as cl
from jit_middleware.settings import connections as c
from jit_middleware.settings import oidc_presets as op
from jit_middleware.settings import policy_table, saml_table, signals_table
from jit_middleware.settings import sections as s
from jit_middleware.settings import step_up as su
from jit_middleware.settings import values as v
from jit_middleware.settings.setting import Path, Setting
from jit_middleware.settings.url import PublicURL
from jit_middleware.settings.values import BadValue


def public_url(value: object) -> PublicURL:
    """The app's own URL."""
    return PublicURL.parse(v.text(value))


def path_patterns(value: object) -> tuple[str, ...]:
    """Paths, exact or ``/prefix/*``."""
    patterns = v.comma_list(value)
    for pattern in patterns:
        problem = validate_pattern(pattern)
        if problem is not None:
            raise BadValue(problem, "write /exact or /prefix/*.")
    return patterns


def trusted_proxies(value: object) -> TrustedProxies:
    """Which proxies are believed."""
    given = str(value) if isinstance(value, int) and not isinstance(value, bool) else ",".join(v.comma_list(value))
    try:
        return TrustedProxies.parse(given)
    except ValueError as bad:
        raise BadValue(str(bad), "write how many there are, or their addresses as 10.0.0.0/8.") from bad


# --- the app ------------------------------------------------------------------------------------------------------

PUBLIC_URL: Final = Setting[PublicURL | None](
    ("public_url",), public_url, None,
    "The app's origin and mount path as browsers see them; the only source of our own URLs. `http` only for loopback.",
    required=True,
)  # fmt: skip
SECRET_KEY: Final = Setting[tuple[bytes, ...]](
    ("secret_key",), v.secret_keys, (),
    "Key that cookies are signed with, at least 32 random bytes, as `jit-middleware keygen` makes them; several, comma "
    "separated, newest first, to rotate.",
    required=True, secret=True,
)  # fmt: skip
APP_NAME: Final = Setting[str | None](
    ("app_name",), v.text, None, "What our pages call the app.", shown="host of the public URL"
)
APP: Final = Setting[str | None](
    ("app",), v.text, None, "The app that `jit_middleware.wrapped` serves, as `module:application`."
)
TEMPLATES: Final = Setting[str | None](
    ("templates",), v.directory, None, "Directory with templates that replace ours by name (docs/pages.md)."
)
ENDPOINT_PREFIX: Final = Setting[str](
    ("endpoint_prefix",), v.endpoint_prefix, "/_jit", "Where our own URLs live, below the app's mount path."
)
PUBLIC_PATHS: Final = Setting[tuple[str, ...]](
    ("public_paths",), path_patterns, (), "Paths that need no login, exact or `/prefix/*`; everything else does."
)
OPTIONAL_PATHS: Final = Setting[tuple[str, ...]](
    ("optional_paths",), path_patterns, (), "Paths that need no login but see the user when there is one."
)
API_PATHS: Final = Setting[tuple[str, ...]](
    ("api_paths",), path_patterns, (), "Paths that answer 401 instead of redirecting to a login."
)
INJECT: Final = Setting[s.InjectSettings](
    ("inject",), s.inject, s.InjectSettings(),
    "What the app sees of the user: presets (" + ", ".join(f"`{name}`" for name in s.PRESETS)
    + ") and headers as `X-Remote-Email=email`.",
    shown="remote_user",
)  # fmt: skip
APP_COOKIES: Final = Setting[tuple[str, ...]](
    ("app_cookies",),
    s.cookie_names,
    (),
    "The app's own login cookies, by name; they end with the session they began in.",
)

# --- identity providers -------------------------------------------------------------------------------------------

_CLIENT_AUTH: Callable[[object], c.ClientAuth] = v.choice(
    "client_secret_basic", "client_secret_post", "private_key_jwt"
)
_ASSERTION_AUDIENCE: Callable[[object], c.AssertionAudience] = v.choice("issuer", "token_endpoint")
_RESPONSE_MODE: Callable[[object], c.ResponseMode] = v.choice("query", "form_post")
ISSUER: Final = Setting[str | None](
    ("issuer",),
    c.issuer,
    None,
    "The provider's issuer identifier, exactly; `https`, except on loopback.",
    required=True,
)
CLIENT_ID: Final = Setting[str | None](("client_id",), v.text, None, "Our client id at the provider.", required=True)
CLIENT_SECRET: Final = Setting[str | None](
    ("client_secret",), v.secret_text, None, "Our client secret; this or a private key is needed.", secret=True
)
PRIVATE_KEY: Final = Setting[str | None](
    ("private_key",), v.private_key, None, "Private key, PEM or JWK, for `private_key_jwt`.", secret=True
)
CLIENT_AUTH: Final = Setting[c.ClientAuth | None](
    ("client_auth",), _CLIENT_AUTH, None,
    "How we authenticate at the token endpoint: `client_secret_basic`, `client_secret_post` or `private_key_jwt`.",
    shown="from metadata",
)  # fmt: skip
CLIENT_ASSERTION_AUDIENCE: Final = Setting[c.AssertionAudience](
    ("client_assertion_audience",), _ASSERTION_AUDIENCE, "issuer",
    "Whom `private_key_jwt` is written out to: the `issuer`, so that nobody else can use it, or, for a provider that "
    "takes nothing else, its `token_endpoint`.",
)  # fmt: skip
PRESET: Final = Setting[str | None](
    ("preset",), op.preset, None,
    "Whose claims, scopes and habits the connection starts from: " + ", ".join(f"`{name}`" for name in op.PRESETS)
    + ".", shown="standard claims",
)  # fmt: skip
SCOPES: Final = Setting[tuple[str, ...]](
    ("scopes",), c.scopes, c.DEFAULT_SCOPES, "Scopes to ask for.", shown="openid email profile, and the preset's"
)
RESPONSE_MODE: Final = Setting[c.ResponseMode | None](
    ("response_mode",),
    _RESPONSE_MODE,
    None,
    "How the answer comes back: `query` or `form_post`.",
    shown="query",
)
PUSHED_AUTHORIZATION: Final = Setting[bool](
    ("pushed_authorization",), v.switch, False,
    "Push the authorization request (RFC 9126) also where the provider's metadata does not demand it.",
)  # fmt: skip
ALGORITHMS: Final = Setting[tuple[str, ...]](
    ("algorithms",), c.algorithms, c.DEFAULT_ALGORITHMS, "Signature algorithms accepted in ID tokens.",
    shown=" ".join(c.DEFAULT_ALGORITHMS),
)  # fmt: skip
LABEL: Final = Setting[str | None](
    ("label",), v.text, None, "What the login chooser shows.", shown="Single sign-on, or the connection's name"
)
TENANT: Final = Setting[str](("tenant",), v.text, DEFAULT_TENANT, "The tenant this connection's users belong to.")
PROMPT: Final = Setting[str | None](
    ("prompt",), v.text, None, "The `prompt` parameter of OpenID Connect, as `login` or `select_account`."
)
MAX_AGE: Final = Setting[int | None](
    ("max_age",), v.whole_seconds, None, "How long ago the person may have authenticated at the provider, as `8h`."
)
ACR_VALUES: Final = Setting[tuple[str, ...]](
    ("acr_values",), v.blank_list, (), "Authentication contexts to ask for, blank separated."
)
USERINFO: Final = Setting[c.UserinfoUse](
    ("userinfo",), v.choice("auto", "always", "never"), "auto",
    "When the userinfo endpoint is asked: `auto` (the ID token lacks a claim the mapping wants), `always`, `never`.",
    shown="as the preset, else auto",
)  # fmt: skip
SESSION_CEILING: Final = Setting[c.SessionCeiling](
    ("session_ceiling",), v.choice("provider", "id_token"), "provider",
    "What the provider says that ends our session: its `session_expiry` alone (`provider`), or the `exp` of the ID "
    "token as well (`id_token`).",
)  # fmt: skip
REFRESH_PROBE: Final = Setting[int | None](
    ("refresh_probe",), c.refresh_probe, None,
    "How often the provider is asked, by a refresh token, whether the person is still welcome, as `15m`.", shown="off",
)  # fmt: skip
REFRESH_PROBE_GRACE: Final = Setting[int](
    ("refresh_probe_grace",), v.whole_seconds, 3600,
    "How long a session goes on while the provider does not answer that question.", shown="1h",
)  # fmt: skip
CLOCK_SKEW: Final = Setting[int](
    ("clock_skew",), v.whole_seconds, 60, "How far the provider's clock may be off, at most `5m`.", shown="60s"
)
VERIFIED_DOMAINS: Final = Setting[tuple[str, ...]](
    ("verified_domains",), v.domains, (), "E-mail domains this provider is believed about when accounts are linked."
)

# --- claims --------------------------------------------------------------------------------------

_CLAIMS = c.ClaimMapping()
CLAIMS_USERNAME: Final = Setting(
    ("claims", "username"), cl.claim("username"), cl.ClaimSource(),
    "JMESPath to the username, or a table as `{from, required, normalise, authority}`.",
    shown=f"`{_CLAIMS.username}`",
)  # fmt: skip
CLAIMS_EMAIL: Final = Setting(
    ("claims", "email"), cl.claim("email"), cl.ClaimSource(),
    "JMESPath to the e-mail address, or a table as `{from, required, normalise, authority, on_missing}`.",
    shown=f"`{_CLAIMS.email}`",
)  # fmt: skip
CLAIMS_DISPLAY_NAME: Final = Setting(
    ("claims", "display_name"), cl.claim("display_name"), cl.ClaimSource(),
    "JMESPath to the name that people read, or a table as `{from, default, authority, …}`.",
    shown=f"`{_CLAIMS.display_name}`",
)  # fmt: skip
CLAIMS_GROUPS: Final = Setting(
    ("claims", "groups"), cl.claim("groups"), cl.ClaimSource(),
    "JMESPath to the list of groups, or a table as `{from, default, required, normalise}`.",
    shown=f"`{_CLAIMS.groups}`",
)  # fmt: skip
CLAIMS_ROLES: Final = Setting(
    ("claims", "roles"), cl.claim("roles"), cl.ClaimSource(),
    "JMESPath to names of roles that the provider gives, or a table; only those in `JIT_ROLE_CATALOGUE` are taken.",
    shown="none",
)  # fmt: skip
CLAIMS_FIELDS: Final = Setting[Mapping[str, cl.ClaimSource]](
    ("claims", "fields"), cl.claim_fields, MappingProxyType({}),
    'Further fields as a table or JSON: `{"department": "org.department"}`, or a table for each; the app finds them '
    "in `attributes`.",
)  # fmt: skip

# --- stores, sessions, network ------------------------------------------------------------------------------------

DATABASE_URL: Final = Setting[str](
    ("database_url",), v.database_url, "sqlite:///jit.db",
    "Database for our own records and the default user table: any SQLAlchemy URL, sync or async driver.", secret=True,
)  # fmt: skip
REDIS_URL: Final = Setting[str | None](
    ("redis_url",), v.redis_url, None,
    "Redis or Valkey through which workers tell each other of revocations at once, as `rediss://user:password@host`.",
    secret=True, shown="none",
)  # fmt: skip
USER_STORE: Final = Setting[str](
    ("user_store",),
    v.store_name,
    "default",
    "Where users are kept: `default` (our own table) or `package.module:factory`.",
)
SESSION_IDLE: Final = Setting[int](
    ("session_idle",), v.positive_seconds, 3600, "A session without activity ends after this time.", shown="1h"
)
SESSION_ABSOLUTE: Final = Setting[int](
    ("session_absolute",), v.positive_seconds, 43_200, "Every session ends after this time.", shown="12h"
)
STEP_UP: Final = Setting[tuple[su.StepUpRule, ...]](
    ("step_up",), su.step_up_rules, (),
    'Paths that ask for more than a session, `[[step_up]]` or JSON: '
    '`[{"paths": ["/admin/*"], "acr": ["phr"], "max_age": "15m"}]`.',
    shown="none",
)  # fmt: skip
USERS_MAX_STALENESS: Final = Setting[int](
    ("users_max_staleness",), v.positive_seconds, 60,
    "How old the knowledge of a user may be that a store of the app keeps (`JIT_USER_STORE`).", shown="60s",
)  # fmt: skip
REVOCATION_MAX_STALENESS: Final = Setting[float](
    ("revocation_max_staleness",), v.seconds, 1.0,
    "No request is served on knowledge of revocations older than this; `0s` asks the database each time.", shown="1s",
)  # fmt: skip
REVOCATION_GRACE: Final = Setting[float](
    ("revocation_grace",), v.seconds, 30.0,
    "How long known sessions are served while the database cannot be asked; then 503.", shown="30s",
)  # fmt: skip
TRUSTED_PROXIES: Final = Setting[TrustedProxies](
    ("trusted_proxies",), trusted_proxies, TrustedProxies.parse(""),
    "How many proxies, or which addresses, have their forwarded headers believed.", shown="none",
)  # fmt: skip
PRIVATE_HOSTS: Final = Setting[tuple[str, ...]](
    ("private_hosts",), v.hosts, (), "Hosts besides the issuer's that may resolve to private addresses."
)

# --- weakenings ---------------------------------------------------------------------------------------------------

INSECURE_HTTP: Final = Setting[bool](
    ("insecure_http",),
    v.switch,
    False,
    "Allow a public URL with `http` that is not loopback: cookies travel unprotected.",
)
INSECURE_CROSS_SITE_WRITES: Final = Setting[bool](
    ("insecure_cross_site_writes",), v.switch, False, "Let other sites' pages send state-changing requests to the app."
)

INSECURE_SERVE_WITHOUT_REVOCATION: Final = Setting[bool](
    ("insecure_serve_without_revocation",), v.switch, False,
    "Serve known sessions for as long as the database is away: who is signed out meanwhile stays in.",
)  # fmt: skip

SECTIONS: Final[Mapping[str, tuple[Setting[object], ...]]] = MappingProxyType(
    {
        "The app": (
            PUBLIC_URL, SECRET_KEY, APP_NAME, APP, TEMPLATES, ENDPOINT_PREFIX, PUBLIC_PATHS, OPTIONAL_PATHS, API_PATHS,
            INJECT, APP_COOKIES,
        ),
        "Claims": (CLAIMS_USERNAME, CLAIMS_EMAIL, CLAIMS_DISPLAY_NAME, CLAIMS_GROUPS, CLAIMS_ROLES, CLAIMS_FIELDS),
        "Provisioning": policy_table.SETTINGS,
        "Stores and sessions": (
            DATABASE_URL, REDIS_URL, USER_STORE, USERS_MAX_STALENESS, SESSION_IDLE, SESSION_ABSOLUTE,
            REVOCATION_MAX_STALENESS, REVOCATION_GRACE, STEP_UP,
        ),
        "Network": (TRUSTED_PROXIES, PRIVATE_HOSTS),
        "Weakenings": (INSECURE_HTTP, INSECURE_CROSS_SITE_WRITES, INSECURE_SERVE_WITHOUT_REVOCATION),
    }
)  # fmt: skip
CLAIMS: Final = SECTIONS["Claims"]
#: What any connection has, whatever its protocol.
COMMON: Final[tuple[Setting[object], ...]] = (
    LABEL, TENANT, CLOCK_SKEW, VERIFIED_DOMAINS, policy_table.ALLOW_PRIVILEGED_ROLES, policy_table.MISSING_GROUPS,
    *signals_table.SETTINGS,
)  # fmt: skip
OIDC_CONNECTION: Final[tuple[Setting[object], ...]] = (
    ISSUER, CLIENT_ID, CLIENT_SECRET, PRIVATE_KEY, CLIENT_AUTH, CLIENT_ASSERTION_AUDIENCE, PRESET, SCOPES,
    RESPONSE_MODE, PUSHED_AUTHORIZATION, ALGORITHMS, LABEL, TENANT,
    PROMPT, MAX_AGE, ACR_VALUES, USERINFO, SESSION_CEILING, REFRESH_PROBE, REFRESH_PROBE_GRACE,
    CLOCK_SKEW, VERIFIED_DOMAINS, policy_table.ALLOW_PRIVILEGED_ROLES,
    policy_table.MISSING_GROUPS, *signals_table.SETTINGS,
)  # fmt: skip
SAML_CONNECTION: Final[tuple[Setting[object], ...]] = (*saml_table.SETTINGS, *COMMON)
CONNECTION: Final = (*OIDC_CONNECTION, *saml_table.SETTINGS)
WEAKENINGS: Final = (INSECURE_HTTP, INSECURE_CROSS_SITE_WRITES, INSECURE_SERVE_WITHOUT_REVOCATION)

#: The variable that names the TOML file; the one setting a file cannot hold.
CONFIG: Final = "JIT_CONFIG"
#: The connections that ``JIT_OIDC_…`` and ``JIT_SAML_…`` variables describe, each named like its protocol.
OIDC: Final = "oidc"
SAML: Final = "saml"


def variable(setting: Setting[object], *, protocol: str = OIDC) -> str:
    """The environment variable of a setting; of a connection's setting, the one for the connection named like its
    protocol. ``protocol`` decides for what both protocols have."""
    name = "_".join(setting.path).upper()
    if setting in saml_table.SETTINGS or (protocol == SAML and setting in COMMON):
        return f"JIT_SAML_{name}"
    return f"JIT_OIDC_{name}" if setting in OIDC_CONNECTION else f"JIT_{name}"


@cache
def variables() -> Mapping[str, tuple[Path, Setting[object]]]:
    """Every environment variable but ``JIT_CONFIG``, with the place it fills."""
    ours = {variable(setting): (setting.path, setting) for rows in SECTIONS.values() for setting in rows}
    oidc = {variable(setting): (("connections", OIDC, *setting.path), setting) for setting in OIDC_CONNECTION}
    saml = {
        variable(setting, protocol=SAML): (("connections", SAML, *setting.path), setting) for setting in SAML_CONNECTION
    }
    return ours | oidc | saml
