"""From a verified assertion to an identity: who it is for good, which claims a mapping sees, what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jit_middleware.errors import VerificationError
from jit_middleware.model import VerifiedIdentity
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.saml import Subject
from jit_middleware.settings.saml_presets import COMMON_NAMES, PRESETS
from jit_middleware.sso.saml.attributes import searched
from jit_middleware.sso.saml.expectations import VerifiedAssertion
from jit_middleware.sso.saml.identity import identity_of, known_name, session_name
from jit_middleware.sso.saml.subject import qualified_name
from tests.unit.sso.saml.protocol.idp import IDP, NOW, PERSISTENT, SP, connection

EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
MAIL = "urn:oid:0.9.2342.19200300.100.1.3"
WS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"

ASSERTION = VerifiedAssertion(
    assertion_id="_a1",
    issuer=IDP,
    name_id="opaque-1",
    name_id_format=PERSISTENT,
    name_qualifier=None,
    sp_name_qualifier=None,
    session_index="one",
    session_not_on_or_after=NOW + 3600,
    authn_instant=NOW - 5,
    authn_context="urn:ctx",
    attributes={},
    friendly_names={},
    not_on_or_after=NOW + 300,
)


def identity(assertion: VerifiedAssertion = ASSERTION, /, **changes: object) -> VerifiedIdentity:
    return identity_of(assertion, connection(**{"claims": COMMON_NAMES, **changes}), sp_entity_id=SP)


def with_attributes(friendly: dict[str, str] | None = None, /, **attributes: tuple[str, ...]) -> VerifiedAssertion:
    return replace(ASSERTION, attributes=attributes, friendly_names=friendly or {})


def refusal(assertion: VerifiedAssertion, /, **changes: object) -> str:
    with pytest.raises(VerificationError) as refused:
        identity(assertion, **changes)
    return str(refused.value.reason)


# --- subject ----------------------------------------------------------------------------------------------------------


def test_a_persistent_name_is_the_subject() -> None:
    found = identity()
    assert (found.connection, found.issuer, found.subject) == ("saml", IDP, "opaque-1")
    assert (found.auth_time, found.acr, found.session_ceiling) == (NOW - 5, "urn:ctx", NOW + 3600)


def test_the_usual_qualifiers_change_nothing_and_foreign_ones_make_another_person() -> None:
    usual = replace(ASSERTION, name_qualifier=IDP, sp_name_qualifier=SP)
    foreign = replace(ASSERTION, name_qualifier="urn:other-idp")
    group = replace(ASSERTION, sp_name_qualifier="urn:affiliation")
    assert identity(usual).subject == "opaque-1"
    assert identity(usual).idp_session == identity().idp_session
    assert len({identity(each).subject for each in (ASSERTION, foreign, group)}) == 3


NAMES = [
    (None, None, "bob"),
    (None, None, "urn:a!!bob"),
    (None, None, "!urn:a!!bob"),
    (None, None, "!bob"),
    (None, None, "!!!bob"),
    ("urn:a", None, "bob"),
    (None, "urn:a", "bob"),
    ("urn:a", None, "!bob"),
    ("urn:a!", None, "bob"),
    ("urn:a%21", None, "bob"),
    ("urn:a", "urn:b", "bob"),
    ("urn:a!urn:b", None, "bob"),
    ("urn:a", None, "urn:b!bob"),
    ("!", None, "bob"),
    (None, "!", "bob"),
]


def test_names_with_different_qualifiers_are_different_subjects_however_they_are_written() -> None:
    """A provider whose people choose their names, or one of several that one is relayed from, makes nobody another."""
    subjects = {qualified_name(name, one, two, idp=IDP, sp=SP) for one, two, name in NAMES}
    assert len(subjects) == len(NAMES)
    assert qualified_name("bob", IDP, SP, idp=IDP, sp=SP) == qualified_name("bob", "", None, idp=IDP, sp=SP) == "bob"


@pytest.mark.parametrize("kind", ["persistent", "email", "unspecified"])
def test_a_transient_name_is_never_a_subject(kind: str) -> None:
    assert refusal(replace(ASSERTION, name_id_format=TRANSIENT), subject=Subject(kind)) == "subject_transient"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "sent", "accepted"),
    [
        ("persistent", PERSISTENT, True),
        ("persistent", EMAIL, False),
        ("persistent", UNSPECIFIED, False),
        ("email", EMAIL, True),
        ("email", UNSPECIFIED, False),
        ("email", PERSISTENT, False),
        ("unspecified", UNSPECIFIED, True),
        ("unspecified", EMAIL, False),
        ("unspecified", PERSISTENT, False),
    ],
)
def test_a_name_counts_only_in_the_format_that_the_operator_chose(kind: str, sent: str, accepted: bool) -> None:
    assertion = replace(ASSERTION, name_id_format=sent)
    if accepted:
        assert identity(assertion, subject=Subject(kind)).subject == "opaque-1"  # type: ignore[arg-type]
    else:
        assert refusal(assertion, subject=Subject(kind)) == "subject_format_mismatch"  # type: ignore[arg-type]


def test_an_attribute_is_the_subject_by_its_formal_or_friendly_name() -> None:
    assertion = replace(with_attributes({"uid": "urn:oid:x"}, **{"urn:oid:x": ("u-1",)}), name_id_format=TRANSIENT)
    for name in ("urn:oid:x", "uid"):
        assert identity(assertion, subject=Subject("attribute", name)).subject == "u-1"


def test_a_formal_name_goes_before_a_friendly_one() -> None:
    assertion = with_attributes({"uid": "urn:oid:x"}, **{"urn:oid:x": ("friendly",), "uid": ("formal",)})
    found = identity(assertion, subject=Subject("attribute", "uid"))
    assert (found.subject, found.claims["uid"]) == ("formal", "formal")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((), "subject_attribute_missing"),
        (("a", "b"), "subject_attribute_ambiguous"),
        (("",), "subject_unusable"),
        (("  ",), "subject_unusable"),
        ((" a",), "subject_unusable"),
        (("a\n",), "subject_unusable"),
        (("a\u200bb",), "subject_unusable"),
        (("x" * 256,), "subject_unusable"),
    ],
)
def test_an_attribute_that_names_nobody_is_refused(values: tuple[str, ...], reason: str) -> None:
    assert refusal(with_attributes(uid=values), subject=Subject("attribute", "uid")) == reason


# --- claims -----------------------------------------------------------------------------------------------------------


def test_attributes_are_lists_and_plain_names_are_values() -> None:
    assertion = with_attributes({"mail": MAIL}, **{MAIL: ("a@example.org",), "memberOf": ("x", "y"), "cn": ("Alice",)})
    claims = identity(assertion).claims
    assert claims["attributes"] == {MAIL: ["a@example.org"], "memberOf": ["x", "y"], "cn": ["Alice"]}
    assert (claims["mail"], claims["memberOf"], claims["cn"]) == ("a@example.org", ["x", "y"], "Alice")
    assert (claims["name_id"], claims["name_id_format"], claims["subject"]) == ("opaque-1", PERSISTENT, "opaque-1")
    assert MAIL not in claims


def test_an_attribute_cannot_take_the_place_of_a_claim_of_ours() -> None:
    claims = identity(with_attributes(name_id=("x",), subject=("x",), attributes=("x",))).claims
    assert (claims["name_id"], claims["subject"]) == ("opaque-1", "opaque-1")
    assert claims["attributes"] == {"name_id": ["x"], "subject": ["x"], "attributes": ["x"]}


def test_one_group_is_a_list_of_one() -> None:
    assert identity(with_attributes(groups=("staff",))).claims["groups"] == ["staff"]
    assert identity(with_attributes(groups=("a", "b"))).claims["groups"] == ["a", "b"]
    mapping = ClaimMapping(groups="role")
    assert identity(with_attributes(role=("staff",)), claims=mapping).claims["groups"] == ["staff"]
    assert "groups" not in identity().claims


def test_an_address_is_vouched_for_only_in_the_domains_the_operator_named() -> None:
    assertion = with_attributes(mail=("A@Example.org",))
    assert (identity(assertion).email, identity(assertion).email_verified) == ("A@Example.org", None)
    assert identity(assertion, verified_domains=("example.org",)).email_verified is True
    assert identity(assertion, verified_domains=("ample.org",)).email_verified is None
    assert identity(with_attributes(mail=("a@x", "b@x"))).email == "a@x"
    assert identity(with_attributes(mail=("a\n@x",))).email is None
    assert identity(assertion, claims=ClaimMapping(email="")).email is None


PEOPLE = {
    "entra": {
        f"{WS}/name": ("alice@corp.example",),
        f"{WS}/emailaddress": ("a@corp.example",),
        "http://schemas.microsoft.com/identity/claims/displayname": ("Alice",),
        "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups": ("g-1", "g-2"),
    },
    "okta": {
        "login": ("alice@corp.example",),
        "email": ("a@corp.example",),
        "displayName": ("Alice",),
        "groups": ("g-1", "g-2"),
    },
    "adfs": {
        f"{WS}/upn": ("alice@corp.example",),
        f"{WS}/emailaddress": ("a@corp.example",),
        f"{WS}/name": ("Alice",),
        "http://schemas.xmlsoap.org/claims/Group": ("g-1", "g-2"),
    },
    "google": {"email": ("a@corp.example",), "displayName": ("Alice",), "groups": ("g-1", "g-2")},
    "keycloak": {"username": ("alice",), "email": ("a@corp.example",), "name": ("Alice",), "groups": ("g-1", "g-2")},
    "shibboleth": {
        "urn:oid:1.3.6.1.4.1.5923.1.1.1.6": ("alice@corp.example",),
        MAIL: ("a@corp.example",),
        "urn:oid:2.16.840.1.113730.3.1.241": ("Alice",),
        "urn:oid:1.3.6.1.4.1.5923.1.5.1.1": ("g-1", "g-2"),
    },
}


def test_every_preset_has_a_person() -> None:
    assert set(PEOPLE) == set(PRESETS)


@pytest.mark.parametrize("preset", PEOPLE)
def test_a_preset_maps_the_products_names(preset: str) -> None:
    mapping = PRESETS[preset]
    claims = identity(replace(ASSERTION, attributes=PEOPLE[preset]), claims=mapping).claims
    assert searched(mapping.email, claims) == "a@corp.example"
    assert searched(mapping.display_name, claims) == "Alice"
    assert searched(mapping.groups, claims) == ["g-1", "g-2"]
    assert str(searched(mapping.username, claims)).startswith("a")


@pytest.mark.parametrize("preset", PEOPLE)
def test_without_attributes_the_name_id_is_the_username_and_nothing_is_a_group(preset: str) -> None:
    mapping = PRESETS[preset]
    claims = identity(claims=mapping).claims
    assert searched(mapping.username, claims) == "opaque-1"
    assert searched(mapping.groups, claims) is None


def test_first_and_last_names_make_a_display_name() -> None:
    claims = identity(with_attributes(firstName=("Ada",), lastName=("Lovelace",))).claims
    for preset in ("okta", "google", "keycloak"):
        assert searched(PRESETS[preset].display_name, claims) == "Ada Lovelace"


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_an_assertion_is_used_once_and_remembered_until_it_ends() -> None:
    (once,) = identity().once
    assert (once.purpose, once.until) == ("saml_assertion", NOW + 300 + 60)
    (other_id,) = identity(replace(ASSERTION, assertion_id="_a2")).once
    (other_idp,) = identity(replace(ASSERTION, issuer="urn:other")).once
    assert len({once.key, other_id.key, other_idp.key}) == 3


def test_a_session_is_of_one_name_and_one_index() -> None:
    names = {
        session_name("alice", "one"),
        session_name("alice", "two"),
        session_name("alice", None),
        session_name("bob", "one"),
    }
    assert len(names) == 4
    assert identity().idp_session == session_name("opaque-1", "one")
    assert all(len(name) <= 255 and "alice" not in name for name in names)


def test_the_name_is_kept_for_the_logout_as_it_was_given() -> None:
    name = known_name(identity(replace(ASSERTION, sp_name_qualifier=SP)).logout_hint)
    assert name is not None
    assert (name.name_id, name.format, name.qualifier) == ("opaque-1", PERSISTENT, None)
    assert (name.sp_qualifier, name.session_index) == (SP, "one")
    assert [known_name(hint) for hint in (None, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "[]", "{}", '"x"')] == [None] * 5
