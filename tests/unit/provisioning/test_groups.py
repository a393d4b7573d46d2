"""Groups that are given, not mentioned, or too many to be told: three things, and never one for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import JSON, Claims
from jit_middleware.provisioning.groups import groups_state
from jit_middleware.provisioning.limits import MOST_GROUPS

GROUPS = frozenset({"groups"})
SAML = frozenset({"attributes"})
GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"
ELSEWHERE = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}}
TOO_MANY = [f"g{number}" for number in range(MOST_GROUPS + 1)]
LINK = {"attributes": {GROUPS_LINK: ["https://graph.example/x"]}}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["groups", GROUPS_LINK]), inner),
    max_leaves=12,
)
NAMES = st.text() | st.sampled_from(["groups", "_claim_names", "_claim_sources", "hasgroups", "attributes"])


@pytest.mark.parametrize("groups", [(), ("a",), ("a", "b")])
def test_a_list_that_was_read_is_given_and_an_empty_one_too(groups: tuple[str, ...]) -> None:
    assert groups_state({"groups": list(groups)}, groups, GROUPS) == "given"


@pytest.mark.parametrize("claims", [{}, {"groups": None}, {"groups": "a,b"}, {"groups": ["a", 1]}, {"groups": {}}])
def test_what_is_not_there_or_cannot_be_read_is_absent(claims: Claims) -> None:
    assert groups_state(claims, None, GROUPS) == "absent"


@pytest.mark.parametrize(
    "claims",
    [
        ELSEWHERE,
        {"_claim_names": {"groups": "src1"}},
        {"hasgroups": True},
        {"hasgroups": "true"},
        {"groups": TOO_MANY},
        {"groups": {"roles": TOO_MANY}},
    ],
    ids=["distributed", "no source", "hasgroups", "hasgroups as text", "too long", "too long inside"],
)
def test_groups_that_we_were_not_told_are_an_overage(claims: Claims) -> None:
    assert groups_state(claims, None, GROUPS) == "overage"


def test_a_list_is_read_up_to_the_limit() -> None:
    assert groups_state({"groups": TOO_MANY[:-1]}, None, GROUPS) == "absent"
    assert groups_state({"groups": {"roles": TOO_MANY[:-1], "name": "x" * len(TOO_MANY)}}, None, GROUPS) == "absent"


def test_a_list_beside_the_word_that_it_is_elsewhere_is_a_part_of_it() -> None:
    assert groups_state({**ELSEWHERE, "groups": ["a"]}, ("a",), GROUPS) == "overage"


def test_having_groups_is_no_news_beside_a_list_of_them() -> None:
    assert groups_state({"hasgroups": True, "groups": ["a"]}, ("a",), GROUPS) == "given"


@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_names": {"address": "src1"}},
        {"_claim_names": {}},
        {"_claim_names": ["groups"]},
        {"_claim_names": "groups"},
        {"_claim_sources": {"src1": {}}},
        {"hasgroups": False},
        {"hasgroups": "false"},
        {"hasgroups": None},
        {"hasgroups": ["x"]},
        {"roles": TOO_MANY},
        LINK,
    ],
    ids=str,
)
def test_what_announces_something_else_or_nothing_is_no_overage(claims: Claims) -> None:
    assert groups_state(claims, None, GROUPS) == "absent"


def test_an_overage_of_groups_says_nothing_about_another_claim_that_is_mapped_as_groups() -> None:
    roles = frozenset({"roles"})
    assert groups_state({**ELSEWHERE, "roles": ["a"]}, ("a",), roles) == "given"
    assert groups_state({**ELSEWHERE, "hasgroups": True}, None, roles) == "absent"
    assert groups_state({"_claim_names": {"roles": "src1"}}, None, roles) == "overage"


def test_in_saml_a_link_stands_in_for_groups_that_are_too_many() -> None:
    assert groups_state(LINK, None, SAML) == "overage"
    assert groups_state({**LINK, "groups": ["a"]}, ("a",), SAML) == "given"
    assert groups_state({"attributes": {"other": ["x"]}}, None, SAML) == "absent"
    assert groups_state({"attributes": [GROUPS_LINK]}, None, SAML) == "absent"


def test_in_saml_the_list_that_the_mapping_found_may_be_too_long_and_other_attributes_do_not_count() -> None:
    assert groups_state({"attributes": {"member": TOO_MANY}, "groups": TOO_MANY}, None, SAML) == "overage"
    assert groups_state({"attributes": {"photo": TOO_MANY}}, None, SAML) == "absent"


@given(
    st.dictionaries(NAMES, ANY_JSON, max_size=6),
    st.none() | st.lists(st.text(), max_size=3).map(tuple),
    st.frozensets(NAMES, max_size=3),
)
def test_any_claims_have_one_state_and_a_list_that_was_read_is_never_absent(
    claims: dict[str, JSON], groups: tuple[str, ...] | None, looked_at: frozenset[str]
) -> None:
    state = groups_state(claims, groups, looked_at)
    assert state in ({"absent", "overage"} if groups is None else {"given", "overage"})


@given(st.dictionaries(NAMES, ANY_JSON, max_size=6))
def test_no_claim_takes_an_announced_overage_back(claims: dict[str, JSON]) -> None:
    announced = {**claims, **ELSEWHERE}
    assert groups_state(announced, None, GROUPS) == groups_state(announced, ("a",), GROUPS) == "overage"


@given(st.dictionaries(st.text().filter(lambda name: name not in {"groups", "hasgroups", "_claim_names"}), ANY_JSON))
def test_claims_about_other_things_are_no_overage(claims: dict[str, JSON]) -> None:
    assert groups_state(claims, None, GROUPS) == "absent"
