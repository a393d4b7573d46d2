"""What a preset knows of its vendor, through both edges: who may be believed about an address, and lists left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import Stage
from tests.client import Answer, Client, Edge

OPS, OTHER = "3f6e0b1d-82a4-4c57-9e13-70d5c2a9b816", "b87d4c29-15e0-4f3a-a6c2-5d91e07f3b48"
OVERAGE = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}}
ROLES = {"JIT_GROUP_ROLES": json.dumps({OPS: ["operator"]})}
ADDRESS = "noor@people.example"


def sign_in(stage: Stage, provider: HostileProvider, **claims: object) -> tuple[Answer, Client]:
    """One login of one person, in a browser of their own."""
    provider.person = {"sub": "s", "preferred_username": "noor", **claims}
    browser = stage.browser.another()
    return stage.carry(stage.authorized(stage.begin(browser)), browser), browser


def roles(browser: Client) -> list[str]:
    held: list[str] = browser.get("/reports").json()["user"]["roles"]
    return held


@pytest.mark.parametrize("marker", [OVERAGE, {"hasgroups": True}], ids=["distributed", "hasgroups"])
@pytest.mark.parametrize("preset", ["entra", "dex", "keycloak", ""])
def test_roles_stay_while_the_provider_says_that_the_groups_are_too_many(
    preset: str, marker: dict[str, object], edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={**ROLES, "JIT_OIDC_PRESET": preset}) as stage:
        _, browser = sign_in(stage, provider, groups=[OPS])
        assert roles(browser) == ["operator"]
        answer, browser = sign_in(stage, provider, **marker)
        assert (answer.status, roles(browser)) == (303, ["operator"])
        _, browser = sign_in(stage, provider, groups=[OTHER])
        assert roles(browser) == []


@pytest.mark.parametrize(
    ("preset", "left"), [("entra", []), ("dex", []), ("keycloak", ["operator"]), ("okta", ["operator"]), ("", ["operator"])]
)  # fmt: skip
def test_a_login_without_a_groups_claim_means_what_it_means_to_the_vendor(
    preset: str, left: list[str], edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={**ROLES, "JIT_OIDC_PRESET": preset}) as stage:
        sign_in(stage, provider, groups=[OPS])
        _, browser = sign_in(stage, provider)
        assert roles(browser) == left
        _, browser = sign_in(stage, provider, groups=[])
        assert roles(browser) == []


def test_nobody_enters_by_a_list_of_groups_that_was_left_out(
    edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    env = {"JIT_REQUIRED_GROUPS": OPS, "JIT_OIDC_PRESET": "entra"}
    with Stage(edge, tmp_path, provider, env=env) as stage:
        answer, _ = sign_in(stage, provider, **OVERAGE)
        assert answer.status == 403
        assert any("reason=groups_unavailable" in line for line in stage.log.own)
        assert stage.count() == {"users": 0, "links": 0, "sessions": 0}


def test_an_address_at_entra_names_nobody_until_the_operator_names_its_domain(
    edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    said = {"preferred_username": ADDRESS, "email": ADDRESS, "xms_edov": True}
    with Stage(edge, tmp_path, provider, env={"JIT_OIDC_PRESET": "entra"}) as stage:
        answer, _ = sign_in(stage, provider, **said)
        assert answer.status == 403
        assert any("reason=username_not_vouched" in line for line in stage.log.own)
    named = {"JIT_OIDC_PRESET": "entra", "JIT_OIDC_VERIFIED_DOMAINS": "people.example"}
    with Stage(edge, tmp_path, provider, env=named) as stage:
        answer, browser = sign_in(stage, provider, **said)
        assert answer.status == 303, stage.log.own
        assert browser.get("/reports").json()["user"]["username"] == ADDRESS
        answer, _ = sign_in(stage, provider, **said | {"preferred_username": "noor@elsewhere.example", "sub": "other"})
        assert answer.status == 403
        assert stage.count()["users"] == 1


def test_no_e_mail_address_becomes_a_username_at_entra(edge: Edge, tmp_path: Path, provider: HostileProvider) -> None:
    """nOAuth: ``email`` is what stands in a record that a foreign tenant's administrator wrote."""
    named = {"JIT_OIDC_PRESET": "entra", "JIT_OIDC_VERIFIED_DOMAINS": "people.example"}
    with Stage(edge, tmp_path, provider, env=named) as stage:
        answer, browser = sign_in(stage, provider, preferred_username=None, email=ADDRESS)
        assert answer.status == 303, stage.log.own
        assert browser.get("/reports").json()["user"]["username"] == "s"
