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
from jit_middleware.provisioning.steps import Step, Steps
from jit_middleware.settings import ClaimMapping, FieldPolicy
from jit_middleware.settings.expressions import paths_mentioned
from jit_middleware.settings.saml_presets import COMMON_NAMES, PRESETS

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


def test_only_a_false_of_the_provider_disowns_the_address_it_names() -> None:
    said_no = identity(email="a@example.com", email_verified=False, contact="b@example.com")
    silent = replace(said_no, email_verified=None)
    other = ClaimMapper(ClaimMapping(email="contact"))
    assert [MAPPER.map(each).email_disowned for each in (said_no, silent)] == [True, False]
    assert other.map(said_no).email_disowned is False


@pytest.mark.parametrize("username", [None, 7, "", [], ["alice", "bob"], [["alice"]], {"a": 1}, "al\nice"])
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


# --- a value of another shape than its field -------------------------------------------------------------------------

OVERAGE: Claims = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://graph.example"}},
}


@pytest.mark.parametrize(
    ("found", "groups"),
    [
        (None, None),
        ([], ()),
        (["b", "a", "b"], ("a", "b")),
        ("staff", ("staff",)),
        ("x,admin", ("x,admin",)),
        ("staff admin", ("staff admin",)),
        ("cn=ops,ou=it", ("cn=ops,ou=it",)),
        ("", None),
        ("a;b", None),
        (["a", 1], None),
        ([["a"]], None),
        ({"a": True}, None),
        (1, None),
        (True, None),
        ([f"g{number}" for number in range(2_001)], None),
    ],
    ids=repr,
)
def test_groups_are_the_texts_of_a_list_and_one_text_is_a_list_of_one(found: JSON, groups: object) -> None:
    assert MAPPER.map(identity(groups=found)).groups == groups


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (["Alice"], "Alice"),
        ("Alice", "Alice"),
        ([], None),
        ("", None),
        (None, None),
        (["Alice", "Al"], None),
        ([["Alice"]], None),
        ({"given": "Alice"}, None),
        (7, None),
    ],
    ids=repr,
)
def test_a_field_with_one_value_takes_a_list_of_one_and_no_longer_list(found: JSON, name: object) -> None:
    mapped = MAPPER.map(identity(name=found))
    assert mapped.display_name == name
    assert ("display_name" in mapped.missing) is (name is None)


def test_a_further_field_keeps_the_shape_that_the_provider_gives_it() -> None:
    mapper = ClaimMapper(ClaimMapping(fields={"a": "a", "b": "b", "c": "c", "d": "d"}))
    mapped = mapper.map(identity(a=["x"], b={"c": [1, True]}, c={"deep": {"er": {"and": {"down": {"there": 1}}}}}))
    assert mapped.attributes == {"a": ["x"], "b": {"c": [1, True]}, "c": {"deep": {"er": {"and": {"down": None}}}}}
    assert mapped.missing == {"email", "display_name", "groups", "fields.d"}


def test_a_saml_attribute_without_values_says_that_there_are_none_and_a_missing_one_says_nothing() -> None:
    for preset in (COMMON_NAMES, *PRESETS.values()):
        names = {name for path in paths_mentioned(preset.groups) for name in path[1:]}
        for name in names:
            said = replace(identity(), claims={"name_id": "a", "attributes": {name: []}})
            assert (ClaimMapper(preset).map(said).groups, ClaimMapper(preset).map(said).groups_state) == ((), "given")
        silent = replace(identity(), claims={"name_id": "a", "attributes": {}})
        assert (ClaimMapper(preset).map(silent).groups, ClaimMapper(preset).map(silent).groups_state) == (
            None,
            "absent",
        )


# --- policies ----------------------------------------------------------------------------------------------------------


def mapper(**policies: FieldPolicy) -> ClaimMapper:
    fields = {"department": "org.department", "domain": "email"}
    named = {name.replace("fields_", "fields."): policy for name, policy in policies.items()}
    return ClaimMapper(ClaimMapping(fields=fields, roles="app_roles", policies=named))


@pytest.mark.parametrize("name", ["username", "email", "display_name", "groups", "roles", "fields.department"])
def test_a_required_field_without_a_value_refuses_and_names_the_field_only(name: str) -> None:
    strict = ClaimMapper(
        ClaimMapping(
            username="login",
            roles="app_roles",
            fields={"department": "org"},
            policies={name: FieldPolicy(required=True)},
        )
    )
    full: dict[str, JSON] = {
        "login": "alice",
        "email": "a@example.org",
        "name": "A",
        "groups": [],
        "app_roles": [],
        "org": "x",
    }
    strict.map(replace(identity(), claims=full))
    claim = {"username": "login", "display_name": "name", "roles": "app_roles", "fields.department": "org"}.get(
        name, name
    )
    steps = Steps()
    with pytest.raises(NotProvisioned) as refused:
        strict.map(replace(identity(), claims={key: value for key, value in full.items() if key != claim}), steps)
    assert (refused.value.reason, refused.value.detail) == ("claim_required", f"there is no usable value for {name}")
    assert steps.taken[-1] == Step("claims", "refused", "claim_required")


def test_a_required_field_of_an_unusable_shape_is_a_field_without_a_value() -> None:
    with pytest.raises(NotProvisioned, match=r"claim_required.*email"):
        mapper(email=FieldPolicy(required=True)).map(identity(email="Alice <alice@example.org>"))


def test_a_default_stands_in_for_what_is_missing_or_unusable() -> None:
    defaults = mapper(
        display_name=FieldPolicy(default="Somebody"),
        groups=FieldPolicy(default=("everyone",)),
        roles=FieldPolicy(default=()),
        fields_department=FieldPolicy(default="unknown"),
    )
    steps = Steps()
    mapped = defaults.map(identity(name={"no": "text"}), steps)
    assert (mapped.display_name, mapped.groups, mapped.roles) == ("Somebody", ("everyone",), ())
    assert (mapped.groups_state, mapped.attributes["department"]) == ("given", "unknown")
    assert mapped.missing == {"email", "fields.domain"}
    assert Step("field:display_name", "default") in steps.taken
    given = defaults.map(identity(name="Alice", groups=["ops"], app_roles=["x"], org={"department": "it"}))
    assert (given.display_name, given.groups, given.roles) == ("Alice", ("ops",), ("x",))
    assert given.attributes["department"] == "it"


def test_a_default_is_never_read_into_more_groups_than_we_were_told() -> None:
    mapped = mapper(groups=FieldPolicy(default=("everyone",))).map(identity(**OVERAGE))
    assert (mapped.groups, mapped.groups_state) == (None, "overage")


def test_roles_are_nobodys_word_without_an_expression_and_without_their_claim() -> None:
    assert MAPPER.map(identity(app_roles=["x"])).roles is None
    assert "roles" not in MAPPER.map(identity()).missing
    assert mapper().map(identity()).roles is None
    assert mapper().map(identity(app_roles="editor")).roles == ("editor",)
    assert mapper().map(identity(app_roles=["editor", {"name": "admin"}])).roles is None


def test_normalisers_work_before_the_field_is_judged() -> None:
    tidy = mapper(
        username=FieldPolicy(normalise=("trim", "lower")),
        email=FieldPolicy(normalise=("trim", "lower")),
        groups=FieldPolicy(normalise=("lower",)),
        fields_domain=FieldPolicy(normalise=("domain",)),
    )
    mapped = tidy.map(identity(preferred_username=" Alice ", email=" Alice@Example.ORG ", groups=["OPS", "ops"]))
    assert (mapped.username, mapped.email, mapped.groups) == ("alice", "alice@example.org", ("ops",))
    assert mapped.attributes == {}  # " Alice@Example.ORG " is no plain address
    assert tidy.map(identity(email="Alice@Example.ORG")).attributes == {"domain": "example.org"}


@pytest.mark.parametrize("address", ["mi\u212ae@example.org", "mike@example.or\uff47", "m\u0131ke@example.org"])
@pytest.mark.parametrize("normalise", [(), ("nfc",), ("lower", "nfc"), ("nfc", "trim", "lower")])
def test_no_canonical_form_makes_a_plain_address_of_one_that_is_none(address: str, normalise: tuple[str, ...]) -> None:
    loose = mapper(email=FieldPolicy(normalise=normalise))  # type: ignore[arg-type]
    assert loose.map(identity(email=address, email_verified=True)).email is None


def test_what_the_provider_vouches_for_is_judged_before_the_address_is_normalised() -> None:
    lower = mapper(email=FieldPolicy(normalise=("lower",)))
    mapped = lower.map(identity(email="Alice@example.org", email_verified=True))
    assert (mapped.email, mapped.email_verified) == ("alice@example.org", True)
    assert lower.map(identity(email="Alice@example.org", email_verified=False)).email_verified is False


# --- limits ------------------------------------------------------------------------------------------------------------


def deep(levels: int) -> JSON:
    value: JSON = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bomb",
    [deep(32), ["x"] * 20_000, {str(number): 1 for number in range(20_000)}, "x" * 262_145, ["x" * 200_000] * 11],
    ids=["deep", "long list", "many members", "long text", "much text"],
)
def test_claims_beyond_the_limits_are_refused_before_any_expression_is_asked(bomb: JSON) -> None:
    steps = Steps()
    with pytest.raises(NotProvisioned, match="claims_too_large"):
        # the expression would be too costly: that it is not asked shows in the reason
        ClaimMapper(ClaimMapping(username="[@, @][] | " * 20 + "@")).map(identity(unused=bomb), steps)
    assert steps.taken == (Step("claims", "refused", "claims_too_large"),)


def test_claims_at_the_limits_are_mapped() -> None:
    large = identity(
        a=deep(31), b=["x"] * 18_000, c="x" * 262_144, groups=[f"group-{number}" for number in range(1_000)]
    )
    assert len(MAPPER.map(large).groups or ()) == 1_000


def test_an_expression_that_grows_beyond_its_budget_refuses_by_name() -> None:
    with pytest.raises(NotProvisioned, match="expression_too_costly"):
        ClaimMapper(ClaimMapping(display_name="[@, @][] | " * 20 + "@")).map(identity())
