"""Who is kept out before anything is looked up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, VerifiedIdentity
from jit_middleware.provisioning.gates import Gates
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ClaimMapping, ProvisioningSettings

EMAILS = json.loads((Path(__file__).parents[2] / "data" / "emails.json").read_text("utf-8"))


def ask(
    policy: ProvisioningSettings, steps: Steps | None = None, *, verified: bool | None = True, **claims: JSON
) -> list[str]:
    """The steps of one login; raises what the gates raise."""
    email = claims.get("email")
    identity = VerifiedIdentity(
        connection="oidc",
        issuer="https://login.example",
        subject="s1",
        claims={"sub": "s1", "preferred_username": "alice", **claims},
        email=email if isinstance(email, str) else None,
        email_verified=verified,
    )
    steps = Steps() if steps is None else steps
    Gates(policy).check(identity, ClaimMapper(ClaimMapping()).map(identity), steps)
    return [f"{each.rule}: {each.outcome}" for each in steps.taken]


def refused(policy: ProvisioningSettings, *, verified: bool | None = True, **claims: JSON) -> str:
    steps = Steps()
    with pytest.raises(NotProvisioned) as error:
        ask(policy, steps, verified=verified, **claims)
    assert (steps.taken[-1].outcome, steps.taken[-1].detail) == ("refused", error.value.reason)
    return error.value.reason


def test_gates_that_nobody_configured_are_not_asked() -> None:
    assert ask(ProvisioningSettings()) == []


def test_every_gate_that_opens_leaves_its_step() -> None:
    policy = ProvisioningSettings(
        claim_filter="hd == 'example.com'", allowed_domains=("example.com",), required_groups=("staff",)
    )
    steps = ask(policy, email="a@example.com", groups=["staff", "x"], hd="example.com")
    assert steps == ["claim_filter: passed", "allowed_domains: passed", "required_groups: passed"]


@pytest.mark.parametrize("value", ["true", "yes", 1, ["x"], {"a": 1}, None, False, "", 0])
def test_only_exactly_true_passes_the_filter(value: JSON) -> None:
    policy = ProvisioningSettings(claim_filter="member")
    assert refused(policy, member=value) == "claim_filter"
    assert refused(policy) == "claim_filter"
    assert ask(policy, member=True) == ["claim_filter: passed"]


@pytest.mark.parametrize(
    "source", ["contains(groups, 'x')", "length(hd) > `1`", "starts_with(hd, 'e')", "groups > `1`"]
)
def test_filter_that_meets_another_type_keeps_out(source: str) -> None:
    assert refused(ProvisioningSettings(claim_filter=source), groups="x,y", hd=7) == "claim_filter"


@pytest.mark.parametrize(
    "source", ["hd == example.org", "hd == admin", "hd != 'x'", "!blocked", "!contains(groups, 'x')", "!(hd == 'x')"]
)
def test_filter_about_a_claim_that_is_missing_keeps_out(source: str) -> None:
    assert refused(ProvisioningSettings(claim_filter=source)) == "claim_filter"


@pytest.mark.parametrize(
    "email",
    [
        "a@evilexample.com",
        "a@sub.example.com",
        "a@example.com.",
        "a@evil.com@example.com",
        "a@example.com@evil.com",
        "a@example.com\n",
        "a@example.com.evil.com",
        '"a@example.com"@evil.com',
        "a@еxample.com",
        "a@example.com ",
        "@example.com",
        "a@",
        "",
        None,
        7,
        ["a@example.com", "b@example.com"],
    ],
)
def test_domain_is_compared_whole(email: JSON) -> None:
    """Attack 20."""
    assert refused(ProvisioningSettings(allowed_domains=("example.com",)), email=email) == "domain_not_allowed"


@pytest.mark.parametrize("case", [case for case in EMAILS["single"] if case["verdict"] != "allow"], ids=lambda c: None)
def test_no_odd_address_of_the_corpus_passes_for_an_allowed_domain(case: dict[str, str]) -> None:
    policy = ProvisioningSettings(allowed_domains=("example.com", "example.org", "company.com"))
    assert refused(policy, email=case["value"]) == "domain_not_allowed"


@pytest.mark.parametrize("verified", [False, None])
def test_address_that_nobody_vouches_for_proves_no_domain(verified: bool | None) -> None:
    policy = ProvisioningSettings(allowed_domains=("example.com",))
    assert refused(policy, verified=verified, email="a@example.com") == "email_not_vouched"
    assert ask(policy, email="a@EXAMPLE.com") == ["allowed_domains: passed"]


@pytest.mark.parametrize("groups", [["guests"], [], ["Staff"], ["staffs"], "staffs", "staff,admins"])
def test_person_without_a_required_group_is_kept_out(groups: JSON) -> None:
    assert refused(ProvisioningSettings(required_groups=("staff", "admins")), groups=groups) == "group_required"


@pytest.mark.parametrize("groups", [{"staff": 1}, [["staff"]], 7, None, ["staff", 1], ["staff\u202e"]])
def test_provider_that_does_not_say_the_groups_keeps_everybody_out_under_a_reason_of_its_own(groups: JSON) -> None:
    """The mend is at the provider: to give the person another group would change nothing."""
    policy = ProvisioningSettings(required_groups=("staff",))
    assert refused(policy, groups=groups) == "groups_unavailable"
    assert refused(policy) == "groups_unavailable"


def test_list_that_is_said_to_be_too_long_is_no_answer() -> None:
    """Entra ID above 200 groups: the claim is elsewhere (OIDC Core §5.6.2)."""
    policy = ProvisioningSettings(required_groups=("staff",))
    elsewhere: JSON = {"groups": "src1"}
    assert refused(policy, _claim_names=elsewhere) == "groups_unavailable"
    assert refused(policy, hasgroups=True) == "groups_unavailable"
    assert refused(policy, _claim_names=elsewhere, groups=["guests"]) == "groups_unavailable"
    assert ask(policy, _claim_names=elsewhere, groups=["staff"]) == ["required_groups: passed"]
