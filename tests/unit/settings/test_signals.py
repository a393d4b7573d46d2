"""The settings of what a provider may push at us: whom it comes from, and every way to get that wrong."""

from __future__ import annotations

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.settings.signals import SignalsSettings

BASE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
}
OIDC = {
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "s3cret",
}
SAML = {"JIT_SAML_IDP_METADATA": "https://idp.example/metadata"}
TOKEN = "a token of more than sixteen".replace(" ", "-")


def signals(env: dict[str, str], **more: str) -> SignalsSettings:
    [connection] = Settings.load({**BASE, **env, **more}).connections
    assert isinstance(connection, OIDCConnection | SAMLConnection)
    return connection.signals


def faults(env: dict[str, str], **more: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({**BASE, **env, **more})
    return [f"{fault.setting}: {fault.problem}" for fault in caught.value.faults]


def test_nothing_is_pushed_unless_somebody_is_named() -> None:
    assert signals(OIDC) == signals(SAML) == SignalsSettings()


def test_the_openid_issuer_itself_needs_no_other_keys() -> None:
    assert signals(OIDC, JIT_OIDC_SIGNALS_ISSUER="https://login.example.org") == SignalsSettings(
        issuer="https://login.example.org"
    )


@pytest.mark.parametrize(("env", "prefix"), [(OIDC, "JIT_OIDC"), (SAML, "JIT_SAML")])
def test_a_sender_of_its_own(env: dict[str, str], prefix: str) -> None:
    given = {
        f"{prefix}_SIGNALS_ISSUER": "https://signals.example",
        f"{prefix}_SIGNALS_AUDIENCE": "https://app.example.org/receiver",
        f"{prefix}_SIGNALS_JWKS_URI": "https://signals.example/keys",
        f"{prefix}_SIGNALS_TOKEN": TOKEN,
        f"{prefix}_SIGNALS_CREDENTIAL_CHANGE": "off",
    }
    found = signals(env, **given)
    assert found == SignalsSettings(
        issuer="https://signals.example",
        audience="https://app.example.org/receiver",
        jwks_uri="https://signals.example/keys",
        token=TOKEN,
        ends_on_credential_change=False,
    )
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(("env", "prefix"), [(OIDC, "JIT_OIDC"), (SAML, "JIT_SAML")])
@pytest.mark.parametrize(
    "setting", ["AUDIENCE=https://x.example", "JWKS_URI=https://x.example/k", f"TOKEN={TOKEN}", "CREDENTIAL_CHANGE=off"]
)
def test_what_needs_a_sender_says_so(env: dict[str, str], prefix: str, setting: str) -> None:
    name, _, value = setting.partition("=")
    [fault] = faults(env, **{f"{prefix}_SIGNALS_{name}": value})
    assert fault == f"{prefix}_SIGNALS_ISSUER: it is missing, and {prefix}_SIGNALS_{name} needs it."


@pytest.mark.parametrize(("env", "prefix"), [(OIDC, "JIT_OIDC"), (SAML, "JIT_SAML")])
def test_a_sender_whose_keys_are_not_known_is_refused(env: dict[str, str], prefix: str) -> None:
    [fault] = faults(env, **{f"{prefix}_SIGNALS_ISSUER": "https://signals.example"})
    assert fault.startswith(f"{prefix}_SIGNALS_JWKS_URI: it is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISSUER", "signals.example"),
        ("ISSUER", "http://signals.example"),
        ("ISSUER", "https://signals.example/?x=y"),
        ("JWKS_URI", "http://signals.example/keys"),
        ("JWKS_URI", "ftp://signals.example/keys"),
        ("JWKS_URI", "https://user:hunter2@signals.example/keys"),
        ("AUDIENCE", "two words"),
        ("AUDIENCE", "é"),
        ("AUDIENCE", "x" * 1025),
        ("TOKEN", "short"),
        ("TOKEN", "with a blank in the middle"),
        ("CREDENTIAL_CHANGE", "perhaps"),
    ],
)
def test_values_that_cannot_be_used(name: str, value: str) -> None:
    good = {
        "JIT_OIDC_SIGNALS_ISSUER": "https://signals.example",
        "JIT_OIDC_SIGNALS_JWKS_URI": "https://signals.example/keys",
    }
    [fault] = faults(OIDC, **{**good, f"JIT_OIDC_SIGNALS_{name}": value})
    assert fault.startswith(f"JIT_OIDC_SIGNALS_{name}: ")
    assert "hunter2" not in fault


def test_loopback_may_be_plain_http() -> None:
    found = signals(
        OIDC,
        JIT_OIDC_SIGNALS_ISSUER="http://127.0.0.1:8080",
        JIT_OIDC_SIGNALS_JWKS_URI="http://localhost:8080/keys",
    )
    assert found.jwks_uri == "http://localhost:8080/keys"
