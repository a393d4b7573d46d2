from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, Claims, VerifiedIdentity
from jit_middleware.provisioning.mapping import ClaimMapper, compiled, group_names
from jit_middleware.settings.connections import ClaimMapping

CLAIMS = [
    case
    for case in json.loads((Path(__file__).parents[2] / "data" / "claims.json").read_text("utf-8"))
    if "json" in case
]
STANDARD = ("picture", "locale", "zoneinfo", "phone_number", "updated_at", "birthdate", "address")
MAPPER = ClaimMapper(ClaimMapping(fields={name: name for name in STANDARD}))


def identity(**claims: JSON) -> VerifiedIdentity:
    email = claims.get("email")
    return VerifiedIdentity(
        connection="oidc",
        issuer="https://login.example",
        subject="s1",
        claims={"sub": "s1", "preferred_username": "alice", **claims},
        email=email if isinstance(email, str) else None,
        email_verified=claims.get("email_verified") is True,
    )


def cases(*where: str) -> list[pytest.param]:
    return [pytest.param(case, id=case["name"]) for case in CLAIMS if case["where"] in where]


@pytest.mark.parametrize("case", cases("groups"))
def test_groups_are_a_list_of_plain_names_or_not_known(case: dict[str, str]) -> None:
    groups = MAPPER.map(identity(groups=json.loads(case["json"]))).groups
    assert (groups is not None) is (case["verdict"] == "allow")


@pytest.mark.parametrize("case", cases("name"))
def test_a_name_is_shown_as_it_is_or_cleaned(case: dict[str, str]) -> None:
    value = json.loads(case["json"])
    shown = MAPPER.map(identity(name=value)).display_name
    assert (shown == value) is (case["verdict"] == "allow")


@pytest.mark.parametrize("case", cases("email"))
def test_an_email_claim_that_is_no_address_is_no_email(case: dict[str, str]) -> None:
    assert MAPPER.map(identity(email=json.loads(case["json"]))).email is None


@pytest.mark.parametrize("case", cases(*STANDARD))
def test_a_standard_claim_of_the_wrong_type_is_not_stored(case: dict[str, str]) -> None:
    attributes = MAPPER.map(identity(**{case["where"]: json.loads(case["json"])})).attributes
    assert (case["where"] in attributes) is (case["verdict"] == "allow")


def test_a_missing_groups_claim_is_not_an_empty_list() -> None:
    assert MAPPER.map(identity()).groups is None
    assert MAPPER.map(identity(groups=[])).groups == ()


def test_the_providers_word_on_an_address_covers_that_address_only() -> None:
    mapper = ClaimMapper(ClaimMapping(email="contact"))
    someone = identity(email="a@example.com", email_verified=True, contact="b@example.com")
    assert mapper.map(someone).email_verified is False
    assert MAPPER.map(someone).email_verified is True


@pytest.mark.parametrize("username", [None, 7, "", ["alice"], {"a": 1}, "al\nice"])
def test_an_unusable_username_is_refused(username: JSON) -> None:
    someone = replace(identity(), claims={"sub": "s1", "preferred_username": username})
    with pytest.raises(NotProvisioned, match="username_unusable"):
        ClaimMapper(ClaimMapping(username="preferred_username")).map(someone)


def test_claims_that_no_expression_names_are_not_kept() -> None:
    assert "secret" not in MAPPER.map(identity(secret="x")).attributes


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_in_any_claim_is_mapped_or_left_out_but_never_fails(value: Claims) -> None:
    MAPPER.map(identity(name=value, email=value, groups=value, picture=value, address=value))
    compiled("a[?b > `1`].c | [0]")({"a": value})
    groups = group_names(value)
    assert groups is None or groups == tuple(sorted(set(groups)))
