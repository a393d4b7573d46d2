"""The rules of step-up, and the settings of a probe, as operators write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import OIDCConnection, Settings, StepUpRule

FIVE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "secret",
}


def rules(*rows: object, **env: str) -> tuple[StepUpRule, ...]:
    return Settings.load({**FIVE, "JIT_STEP_UP": json.dumps(rows), **env}).step_up


def fault(**env: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({**FIVE, **env})
    assert len(set(map(str, caught.value.faults))) == len(caught.value.faults)
    return str(caught.value.faults[0])


def test_rules_come_as_json_and_as_tables(tmp_path: Path) -> None:
    wanted = (StepUpRule(("/admin/*", "/keys"), ("phr", "phrh"), 900), StepUpRule(("/pay",), (), 60))
    said = [
        {"paths": ["/admin/*", "/keys"], "acr": ["phr", "phrh"], "max_age": "15m"},
        {"paths": "/pay", "max_age": "1m"},
    ]
    assert rules(*said) == wanted
    (tmp_path / "jit.toml").write_text(
        '[[step_up]]\npaths = ["/admin/*", "/keys"]\nacr = ["phr", "phrh"]\nmax_age = "15m"\n'
        '[[step_up]]\npaths = ["/pay"]\nmax_age = "1m"\n'
    )
    assert Settings.load({**FIVE, "JIT_CONFIG": str(tmp_path / "jit.toml")}).step_up == wanted
    assert Settings.load(FIVE).step_up == ()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"paths": ["/a"]}, "not a list"),
        ([{"acr": ["x"]}], "no paths"),
        ([{"paths": ["/a"], "acrs": ["x"]}], "other keys"),
        ([{"paths": ["/a"]}], "asks for nothing"),
        ([{"paths": [], "acr": ["x"]}], "names no path"),
        ([{"paths": ["a"], "acr": ["x"]}], "does not start with"),
        ([{"paths": ["/a/*/b"], "acr": ["x"]}], "elsewhere"),
        ([{"paths": ["/a/../b"], "acr": ["x"]}], "ambiguous"),
        ([{"paths": ["/a"], "acr": []}], "names no acr"),
        ([{"paths": ["/a"], "acr": ['x"y']}], "cannot be an acr"),
        ([{"paths": ["/a"], "acr": ["é"]}], "cannot be an acr"),
        ([{"paths": ["/a"], "max_age": "0s"}], "no time at all"),
        ([{"paths": ["/a"], "max_age": 900}], "not a length of time"),
        ([{"paths": ["/a"], "max_age": "90d"}], "longer than any session"),
        ([{"paths": ["/_jit/logout"], "max_age": "1m"}], "below our own URLs"),
        ([{"paths": ["/_jit/*"], "max_age": "1m"}], "below our own URLs"),
        ([{"paths": ["/a/*"], "acr": ["x"]}, {"paths": ["/a/b"], "acr": ["y"]}], "no acr is named by all"),
        ([{"paths": ["/*"], "acr": ["x"]}, {"paths": ["/A/*"], "acr": ["y"]}], "no acr is named by all"),
        ([{"paths": ["/a"], "acr": ["x"]}, {"paths": ["/a/"], "acr": ["y"]}], "no acr is named by all"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_a_fault(said: object, problem: str) -> None:
    text = fault(JIT_STEP_UP=json.dumps(said))
    assert text.startswith("JIT_STEP_UP: ")
    assert problem in text


def test_rules_for_one_path_may_go_together() -> None:
    both = rules(
        {"paths": ["/a/*"], "acr": ["x", "y"]}, {"paths": ["/a/b"], "acr": ["y"]}, {"paths": ["/c"], "acr": ["z"]}
    )
    assert len(both) == 3


def test_a_rule_for_a_path_that_needs_no_login_is_pointed_out() -> None:
    said = json.dumps([{"paths": ["/static/x", "/admin/*"], "max_age": "1m"}])
    warnings = Settings.load({**FIVE, "JIT_STEP_UP": said, "JIT_PUBLIC_PATHS": "/static/*"}).warnings()
    assert [sentence for sentence in warnings if "JIT_STEP_UP" in sentence] == [
        "The path /static/x of JIT_STEP_UP needs no login: who is not signed in reaches it without a step-up."
    ]


def connection(**env: str) -> OIDCConnection:
    (made,) = Settings.load({**FIVE, **env}).connections
    assert isinstance(made, OIDCConnection)
    return made


def test_a_probe_is_off_and_the_ceiling_the_providers_unless_chosen() -> None:
    plain = connection()
    assert (plain.refresh_probe, plain.refresh_probe_grace, plain.session_ceiling) == (None, 3600, "provider")
    assert connection(JIT_OIDC_REFRESH_PROBE="off").refresh_probe is None
    chosen = connection(
        JIT_OIDC_REFRESH_PROBE="15m", JIT_OIDC_REFRESH_PROBE_GRACE="0s", JIT_OIDC_SESSION_CEILING="id_token"
    )
    assert (chosen.refresh_probe, chosen.refresh_probe_grace, chosen.session_ceiling) == (900, 0, "id_token")


@pytest.mark.parametrize(
    ("name", "value"),
    [("REFRESH_PROBE", "30s"), ("REFRESH_PROBE", "often"), ("REFRESH_PROBE_GRACE", "1"), ("SESSION_CEILING", "exp")],
)
def test_values_that_cannot_be_meant_are_faults(name: str, value: str) -> None:
    assert fault(**{f"JIT_OIDC_{name}": value}).startswith(f"JIT_OIDC_{name}: ")
