"""Settings from the environment, TOML, files and overrides; every fault at once."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.http.paths import Access
from jit_middleware.model import Status
from jit_middleware.settings import InjectSettings, OIDCConnection, RoleRule, SessionSettings, Settings

KEY = "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"
FIVE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": KEY,
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "s3cret",
}
OTHER_CONNECTION = """
[connections.okta]
protocol = "oidc"
issuer = "https://okta.example"
client_id = "toml"
client_secret = "toml secret"
"""


def load(tmp_path: Path | None = None, toml: str | None = None, /, **env: str | None) -> Settings:
    """The five variables with changes; ``None`` removes one."""
    merged = {**FIVE, **env}
    if toml is not None and tmp_path is not None:
        (tmp_path / "jit.toml").write_text(toml)
        merged["JIT_CONFIG"] = str(tmp_path / "jit.toml")
    return Settings.load({name: value for name, value in merged.items() if value is not None})


def faults(tmp_path: Path | None = None, toml: str | None = None, /, **env: str | None) -> dict[str, Fault]:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, toml, **env)
    return {fault.setting: fault for fault in refused.value.faults}


def test_five_variables_reach_a_login() -> None:
    settings = load()
    (connection,) = settings.connections
    assert (connection.name, connection.issuer, connection.client_id) == ("oidc", "https://login.example.org", "app")
    assert connection.client_secret == "s3cret"
    assert connection.scopes == ("openid", "email", "profile")
    assert connection.needed_claims == ("email", "preferred_username")
    assert connection.claims.username == "preferred_username || email || sub"
    assert settings.secret_keys == (KEY.encode(),)
    assert settings.database_url == "sqlite:///jit.db"
    assert settings.session == SessionSettings(idle=3600, absolute=43_200)
    assert (settings.revocation_max_staleness, settings.revocation_grace) == (1.0, 30.0)
    assert settings.inject == InjectSettings(("remote_user",), (), ())
    assert settings.paths.classify("/") is Access.REQUIRED
    assert settings.app_name == "app.example.org"
    assert settings.insecure == ()
    assert settings.warnings() == ()


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FIVE.items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == load()


def test_every_variable_is_taken(tmp_path: Path) -> None:
    settings = load(
        JIT_APP_NAME="Legacy",
        JIT_APP="legacy:app",
        JIT_TEMPLATES=str(tmp_path),
        JIT_ENDPOINT_PREFIX="/auth",
        JIT_PUBLIC_PATHS="/static/*",
        JIT_OPTIONAL_PATHS="/",
        JIT_API_PATHS="/api/*",
        JIT_INJECT="django,X-Name=display_name",
        JIT_APP_COOKIES="sessionid",
        JIT_CLAIMS_GROUPS="roles",
        JIT_CLAIMS_FIELDS='{"team": "org.team"}',
        JIT_PROVISIONING="match_only",
        JIT_INITIAL_STATUS="pending",
        JIT_LINK_POLICY="auto",
        JIT_SYNC="never",
        JIT_DEFAULT_ROLES="reader",
        JIT_ROLE_RULES='[{"when": "admin", "grant": ["boss"]}]',
        JIT_ALLOWED_DOMAINS="Example.org",
        JIT_REQUIRED_GROUPS="staff",
        JIT_DATABASE_URL="postgresql://u:hunter2@db/jit",
        JIT_USER_STORE="shop:store",
        JIT_SESSION_IDLE="10m",
        JIT_SESSION_ABSOLUTE="1h",
        JIT_REVOCATION_MAX_STALENESS="0s",
        JIT_REVOCATION_GRACE="2m",
        JIT_TRUSTED_PROXIES="1",
        JIT_PRIVATE_HOSTS="idp.internal",
        JIT_INSECURE_CROSS_SITE_WRITES="true",
        JIT_OIDC_SCOPES="openid",
        JIT_OIDC_CLIENT_AUTH="client_secret_post",
        JIT_OIDC_RESPONSE_MODE="form_post",
        JIT_OIDC_ALGORITHMS="ES256",
        JIT_OIDC_LABEL="Staff",
        JIT_OIDC_TENANT="acme",
        JIT_OIDC_PROMPT="login",
        JIT_OIDC_MAX_AGE="8h",
        JIT_OIDC_ACR_VALUES="mfa",
        JIT_OIDC_USERINFO="never",
        JIT_OIDC_CLOCK_SKEW="30s",
        JIT_OIDC_VERIFIED_DOMAINS="example.org",
    )
    (connection,) = settings.connections
    assert (settings.app_name, settings.app, settings.templates) == ("Legacy", "legacy:app", str(tmp_path))
    assert settings.endpoint_prefix == "/auth"
    assert [settings.paths.classify(path) for path in ("/static/x", "/", "/api/x")] == [
        Access.PUBLIC,
        Access.OPTIONAL,
        Access.API,
    ]
    assert settings.inject == InjectSettings(("django",), (("X-Name", "display_name"),), ("sessionid",))
    provisioning = settings.provisioning
    assert (provisioning.mode, provisioning.initial_status) == ("match_only", Status.PENDING)
    assert (provisioning.link_policy, provisioning.sync) == ("auto", "never")
    assert provisioning.default_roles == ("reader",)
    assert provisioning.role_rules == (RoleRule("admin", ("boss",), "rule-1"),)
    assert (provisioning.allowed_domains, provisioning.required_groups) == (("example.org",), ("staff",))
    assert (settings.database_url, settings.user_store) == ("postgresql://u:hunter2@db/jit", "shop:store")
    assert settings.database_label == "postgresql://db/jit"
    assert settings.session == SessionSettings(idle=600, absolute=3600)
    assert (settings.revocation_max_staleness, settings.revocation_grace) == (0.0, 120.0)
    assert (settings.trusted_proxies.count, settings.private_hosts) == (1, ("idp.internal",))
    assert settings.insecure == ("JIT_INSECURE_CROSS_SITE_WRITES",)
    assert (connection.scopes, connection.client_auth) == (("openid",), "client_secret_post")
    assert (connection.response_mode, connection.algorithms) == ("form_post", ("ES256",))
    assert (connection.label, connection.tenant, connection.prompt) == ("Staff", "acme", "login")
    assert (connection.max_age, connection.acr_values, connection.userinfo) == (28_800, ("mfa",), "never")
    assert (connection.clock_skew, connection.verified_domains) == (30, ("example.org",))
    assert dict(connection.claims.fields) == {"team": "org.team"}
    assert connection.needed_claims == ("admin", "email", "email_verified", "org", "preferred_username", "roles")


def test_example_of_the_docstring_runs() -> None:
    module = importlib.import_module("jit_middleware.settings.settings")
    results = doctest.testmod(module)
    assert (results.failed, results.attempted > 0) == (0, True)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load().app_name = "other"  # type: ignore[misc]


def test_empty_environment_names_every_missing_setting_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load({})
    assert [fault.setting for fault in refused.value.faults] == ["JIT_PUBLIC_URL", "JIT_SECRET_KEY", "JIT_OIDC_ISSUER"]


def test_all_faults_are_listed_at_once() -> None:
    found = faults(
        JIT_PUBLIC_URL="app.example.org",
        JIT_SECRET_KEY="a" * 40,
        JIT_OIDC_ISSUER=None,
        JIT_OIDC_CLIENT_SECRET=None,
        JIT_SESSION_IDLE="15",
        JIT_PUBLIC_PATHS="static",
        JIT_TRUSTED_PROXIES="all",
        JIT_CLAIMS_EMAIL="a[",
        JIT_SYNC="sometimes",
        JIT_SESION_IDLE="1h",
    )
    assert set(found) == {
        "JIT_PUBLIC_URL",
        "JIT_SECRET_KEY",
        "JIT_OIDC_ISSUER",
        "JIT_OIDC_CLIENT_SECRET",
        "JIT_SESSION_IDLE",
        "JIT_PUBLIC_PATHS",
        "JIT_TRUSTED_PROXIES",
        "JIT_CLAIMS_EMAIL",
        "JIT_SYNC",
        "JIT_SESION_IDLE",
    }
    assert all(fault.problem and fault.fix for fault in found.values())


def test_fault_in_shared_claims_is_reported_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, OTHER_CONNECTION, JIT_CLAIMS_EMAIL="a[")
    assert [fault.setting for fault in refused.value.faults] == ["JIT_CLAIMS_EMAIL"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("JIT_PUBLIC_UL", "JIT_PUBLIC_URL"),
        ("JIT_OIDC_CLIENTID", "JIT_OIDC_CLIENT_ID"),
        ("JIT_SECRET_KEYS_FILE", "JIT_SECRET_KEY_FILE"),
        ("JIT_CONFIGS", "JIT_CONFIG"),
        ("JIT_INSECURE_HTTPS", "JIT_INSECURE_HTTP"),
    ],
)
def test_misspelt_variable_is_refused_with_a_suggestion(name: str, meant: str) -> None:
    assert faults(**{name: "x"})[name].fix == f"did you mean {meant}?"


def test_unknown_variable_without_likeness_is_refused() -> None:
    assert "docs/settings.md" in faults(JIT_QQQQQQ="x")["JIT_QQQQQQ"].fix


def test_saml_variables_make_a_second_connection() -> None:
    assert [each.name for each in load(JIT_SAML_IDP_METADATA="https://idp.example").connections] == ["oidc", "saml"]


def test_a_missing_key_names_the_command_that_makes_one() -> None:
    assert "jit-middleware keygen" in faults(JIT_SECRET_KEY=None)["JIT_SECRET_KEY"].fix


@pytest.mark.parametrize("name", ["JIT_PUBLIC_PATHS", "JIT_OPTIONAL_PATHS"])
def test_a_pattern_that_opens_everything_is_noted(name: str) -> None:
    (note,) = load(**{name: "/static/*,/*"}).notes()
    assert note.startswith(f"{name} has /*: nobody is sent to sign in")
    assert load(**{name: "/static/*,/"}).notes() == ()


def test_security_events_of_people_whose_provider_is_not_named_are_noted() -> None:
    said = {
        "JIT_SAML_IDP_METADATA": "https://idp.example",
        "JIT_SAML_SIGNALS_ISSUER": "https://events.example",
        "JIT_SAML_SIGNALS_JWKS_URI": "https://events.example/keys",
    }
    (note,) = load(**said).notes()
    assert note.startswith("saml takes security events (signals_issuer), but idp_entity_id")
    assert load(**said, JIT_SAML_IDP_ENTITY_ID="https://idp.example").notes() == ()
    assert load(JIT_SAML_IDP_METADATA="https://idp.example").notes() == ()


def test_other_programs_variables_are_left_alone() -> None:
    assert load(JITTER="1", PATH="/bin", jit_public_url="x") == load()


def test_variable_that_is_set_but_empty_counts_as_not_set() -> None:
    assert load(JIT_SESSION_IDLE="", JIT_OIDC_LABEL="  ", JIT_UNKNOWN="") == load()
    assert "JIT_PUBLIC_URL" in faults(JIT_PUBLIC_URL="")


@pytest.mark.parametrize(
    ("content", "expected"), [("s p\n", "s p"), ("s p\r\n", "s p"), ("s p\n\n", "s p\n"), (" s ", " s ")]
)
def test_value_from_a_file_loses_one_line_break(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    settings = load(JIT_OIDC_CLIENT_SECRET=None, JIT_OIDC_CLIENT_SECRET_FILE=str(file))
    assert settings.connections[0].client_secret == expected


def test_any_setting_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://other.example\n")
    (tmp_path / "idle").write_text("5m\n")
    settings = load(
        JIT_PUBLIC_URL=None, JIT_PUBLIC_URL_FILE=str(tmp_path / "url"), JIT_SESSION_IDLE_FILE=str(tmp_path / "idle")
    )
    assert (settings.public_url.origin, settings.session.idle) == ("https://other.example", 300)


def test_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    found = faults(
        JIT_SESSION_IDLE_FILE=str(tmp_path / "absent"),
        JIT_APP_NAME_FILE=str(tmp_path / "binary"),
        JIT_APP_FILE=str(tmp_path),
    )
    assert "cannot be read" in found["JIT_SESSION_IDLE_FILE"].problem
    assert "UTF-8" in found["JIT_APP_NAME_FILE"].problem
    assert "cannot be read" in found["JIT_APP_FILE"].problem


def test_value_and_file_together_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    assert "also given" in faults(JIT_SECRET_KEY_FILE=str(tmp_path / "key"))["JIT_SECRET_KEY_FILE"].problem


def test_environment_wins_over_toml_and_overrides_over_both(tmp_path: Path) -> None:
    toml = 'session_idle = "1m"\nsession_absolute = "2m"\n[connections.oidc]\nclient_id = "toml"\nlabel = "From TOML"\n'
    settings = load(tmp_path, toml, JIT_SESSION_ABSOLUTE="3m")
    assert settings.session == SessionSettings(idle=60, absolute=180)
    assert (settings.connections[0].client_id, settings.connections[0].label) == ("app", "From TOML")
    env = {**FIVE, "JIT_CONFIG": str(tmp_path / "jit.toml"), "JIT_SESSION_ABSOLUTE": "3m"}
    over = Settings.load(
        env, overrides={"session_absolute": "4m", "oidc_client_id": "over", "claims": {"email": "mail"}}
    )
    assert over.session == SessionSettings(idle=60, absolute=240)
    assert (over.connections[0].client_id, over.connections[0].claims.email) == ("over", "mail")


def test_toml_values_may_be_native(tmp_path: Path) -> None:
    toml = """
public_paths = ["/static/*"]
insecure_cross_site_writes = true
trusted_proxies = 2
default_roles = ["a", "b"]
[claims]
email = "mail"
fields = { team = "org.team" }
[[role_rules]]
when = "x"
grant = ["r"]
"""
    settings = load(tmp_path, toml)
    assert settings.paths.classify("/static/x") is Access.PUBLIC
    assert settings.insecure == ("JIT_INSECURE_CROSS_SITE_WRITES",)
    assert settings.trusted_proxies.count == 2
    assert settings.provisioning.default_roles == ("a", "b")
    assert settings.provisioning.role_rules == (RoleRule("x", ("r",), "rule-1"),)
    assert settings.connections[0].claims.email == "mail"
    assert dict(settings.connections[0].claims.fields) == {"team": "org.team"}


def test_several_connections_each_with_their_own_claims(tmp_path: Path) -> None:
    toml = OTHER_CONNECTION + '[connections.okta.claims]\nusername = "login"\n'
    settings = load(tmp_path, toml, JIT_CLAIMS_EMAIL="mail")
    okta, oidc = sorted(settings.connections, key=lambda each: each.name, reverse=True)
    assert {okta.name, oidc.name} == {"okta", "oidc"}
    named = {each.name: each for each in settings.connections}
    assert (named["okta"].client_id, named["okta"].client_secret) == ("toml", "toml secret")
    assert (named["okta"].label, named["oidc"].label) == ("Okta", "Single sign-on")
    assert named["okta"].needed_claims == ("login", "mail")
    assert named["oidc"].needed_claims == ("email", "mail", "preferred_username")


def test_connections_of_the_file_alone_are_enough(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("JIT_OIDC_ISSUER", "JIT_OIDC_CLIENT_ID", "JIT_OIDC_CLIENT_SECRET"))
    assert [each.name for each in load(tmp_path, OTHER_CONNECTION, **nothing).connections] == ["okta"]


def test_groups_are_needed_when_a_gate_asks_for_them() -> None:
    assert "groups" not in load().connections[0].needed_claims
    assert "groups" in load(JIT_REQUIRED_GROUPS="staff").connections[0].needed_claims
    assert "groups" in load(JIT_CLAIMS_GROUPS="groups").connections[0].needed_claims


@pytest.mark.parametrize(
    ("toml", "setting", "said"),
    [
        ("session_idel = '1m'", "session_idel in jit.toml", "did you mean session_idle?"),
        ("jit_app_name = 'x'", "jit_app_name in jit.toml", "did you mean app_name?"),
        ("[connection.x]\nissuer = 'x'", "connection in jit.toml", "did you mean connections?"),
        ("JIT_PUBLIC_URL = 'https://x.example'", "JIT_PUBLIC_URL in jit.toml", "did you mean public_url?"),
        ("JIT_SECRET_KEY_FILE = 'x'", "JIT_SECRET_KEY_FILE in jit.toml", "did you mean secret_key"),
        ("[connections.x]\nJIT_OIDC_ISSUER = 'x'", "connections.x.JIT_OIDC_ISSUER in jit.toml", "did you mean issuer?"),
        ("[connections.x]\noidc_client_id = 'x'", "connections.x.oidc_client_id in jit.toml", "did you mean client_id?"),
        ("[connections.x]\nissuerr = 'https://x.example'", "connections.x.issuerr in jit.toml", "did you mean issuer?"),
        ("[claims]\nusernam = 'x'", "claims.usernam in jit.toml", "did you mean username? A further field goes into claims.fields."),
        ("[connections.x.claims]\nemial = 'x'", "connections.x.claims.emial in jit.toml", "did you mean email? A further field"),
        ("[connections.X_Y]\nissuer = 'x'", "connections.X_Y in jit.toml", "lower-case"),
        ("[connections.x]\nprotocol = 'ldap'", "connections.x.protocol", 'protocol = "oidc"'),
        ("connections = 5", "connections in jit.toml", "table"),
        ("claims = 5", "claims in jit.toml", "table"),
        ("[connections]\nx = 5", "connections.x in jit.toml", "table"),
        ("session_idle = 3600", "session_idle in jit.toml", "30s"),
        ("secret_key_file = 5", "secret_key_file in jit.toml", "path"),
        ("[connections.x]\nissuer = 'https://x.example'\nclient_id = 'x'", "connections.x.client_secret in jit.toml", "client secret"),
        ("oidc_label = 'a'\n[connections.oidc]\nlabel = 'b'", "connections.oidc.label in jit.toml", "remove one"),
    ],
)  # fmt: skip
def test_fault_in_toml_names_its_place(tmp_path: Path, toml: str, setting: str, said: str) -> None:
    assert said in faults(tmp_path, toml)[setting].fix


def test_files_named_in_toml_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("from a file\n")
    toml = OTHER_CONNECTION.replace('client_secret = "toml secret"', 'client_secret_file = "s"')
    named = {each.name: each for each in load(tmp_path, toml).connections}
    assert named["okta"].client_secret == "from a file"


def test_config_that_is_no_toml_is_a_fault_with_its_line(tmp_path: Path) -> None:
    fault = faults(tmp_path, "a = 1\nsecret_key = hunter2\n")["JIT_CONFIG"]
    assert "line 2" in fault.problem
    assert "hunter2" not in str(fault)


def test_config_that_is_absent_is_a_fault() -> None:
    assert "cannot be read" in faults(JIT_CONFIG="/no/such/jit.toml")["JIT_CONFIG"].problem


def test_http_is_for_loopback_unless_the_weakening_is_named() -> None:
    assert "https" in faults(JIT_PUBLIC_URL="http://app.example.org")["JIT_PUBLIC_URL"].fix
    assert load(JIT_PUBLIC_URL="http://localhost:8000").warnings() == ()
    weak = load(JIT_PUBLIC_URL="http://app.example.org", JIT_INSECURE_HTTP="true")
    assert weak.insecure == ("JIT_INSECURE_HTTP",)
    assert weak.warnings()[0].startswith("JIT_INSECURE_HTTP is on.")


def test_issuer_needs_https_unless_it_is_this_machine() -> None:
    assert "https" in faults(JIT_OIDC_ISSUER="http://login.example.org")["JIT_OIDC_ISSUER"].fix
    assert load(JIT_OIDC_ISSUER="http://localhost:9000").insecure == ()


def test_weakening_that_is_off_is_not_in_force() -> None:
    assert load(JIT_INSECURE_HTTP="false") == load()


@pytest.mark.parametrize("pattern", ["/_jit/*", "/_jit", "/_jit/login", "/_jit/callback/*"])
@pytest.mark.parametrize("name", ["JIT_PUBLIC_PATHS", "JIT_OPTIONAL_PATHS", "JIT_API_PATHS"])
def test_pattern_below_our_own_urls_is_a_fault(name: str, pattern: str) -> None:
    assert "JIT_ENDPOINT_PREFIX" in faults(**{name: pattern})[name].fix


def test_pattern_that_only_looks_like_our_prefix_is_fine() -> None:
    assert load(JIT_PUBLIC_PATHS="/_jitter/*,/*").paths.public == ("/_jitter/*", "/*")


def test_idle_limit_beyond_the_absolute_one_is_a_fault() -> None:
    assert "JIT_SESSION_IDLE" in faults(JIT_SESSION_IDLE="13h")
    assert "JIT_SESSION_ABSOLUTE" in faults(JIT_SESSION_ABSOLUTE="30m")


def test_clock_skew_has_a_limit() -> None:
    assert "expired" in faults(JIT_OIDC_CLOCK_SKEW="1h")["JIT_OIDC_CLOCK_SKEW"].problem


PEM = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----"


def test_private_key_replaces_the_client_secret() -> None:
    settings = load(JIT_OIDC_CLIENT_SECRET=None, JIT_OIDC_PRIVATE_KEY=PEM, JIT_OIDC_CLIENT_AUTH="private_key_jwt")
    assert (settings.connections[0].private_key, settings.connections[0].client_secret) == (PEM, None)


def test_an_assertion_is_for_the_issuer_unless_the_operator_says_otherwise() -> None:
    key: dict[str, str | None] = {"JIT_OIDC_CLIENT_SECRET": None, "JIT_OIDC_PRIVATE_KEY": PEM}
    (connection,) = load(**key).connections
    assert isinstance(connection, OIDCConnection)
    assert connection.client_assertion_audience == "issuer"
    (connection,) = load(**key, JIT_OIDC_CLIENT_ASSERTION_AUDIENCE="token_endpoint").connections
    assert isinstance(connection, OIDCConnection)
    assert connection.client_assertion_audience == "token_endpoint"
    name = "JIT_OIDC_CLIENT_ASSERTION_AUDIENCE"
    assert "issuer or token_endpoint" in faults(**{name: "https://login.example.org/token"})[name].fix


def test_client_auth_needs_its_credential() -> None:
    assert "JIT_OIDC_PRIVATE_KEY" in faults(JIT_OIDC_CLIENT_AUTH="private_key_jwt")
    lacking = faults(JIT_OIDC_CLIENT_SECRET=None, JIT_OIDC_PRIVATE_KEY=PEM, JIT_OIDC_CLIENT_AUTH="client_secret_basic")
    assert "JIT_OIDC_CLIENT_SECRET" in lacking


def test_linking_without_verified_domains_warns() -> None:
    assert "no account will ever be linked" in load(JIT_LINK_POLICY="auto").warnings()[0]
    assert load(JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="example.org").warnings() == ()


def test_database_label_never_shows_credentials() -> None:
    assert load(JIT_DATABASE_URL="mysql://u:p@s:s@db:3306/n?password=q").database_label == "mysql://db:3306/n"
    assert load().database_label == "sqlite:///jit.db"
