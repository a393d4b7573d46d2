"""Whatever is said, held and configured: a login never writes a field that is not its own to write."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import UNSET, User
from jit_middleware.provisioning.fields import new_fields, profile_changes
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.settings import ClaimMapping, FieldPolicy
from jit_middleware.settings.claims import field_policy
from jit_middleware.settings.policy import Authority, OnMissing

NAMES = ("a", "b", "c")
VALUES = st.none() | st.sampled_from(["", "x", "y", 1, ["z"], {"k": "v"}])

texts = st.none() | st.sampled_from(["", "one", "two"])
addresses = st.none() | st.sampled_from(["one@example.org", "two@example.org"])
field_policies = st.builds(
    FieldPolicy, authority=st.sampled_from(get_args(Authority)), on_missing=st.sampled_from(get_args(OnMissing))
)
mappings = st.builds(
    ClaimMapping,
    fields=st.frozensets(st.sampled_from(NAMES)).map(lambda names: {name: name for name in sorted(names)}),
    policies=st.fixed_dictionaries(
        {},
        optional={
            "username": st.builds(FieldPolicy, authority=st.sampled_from(("idp", "first_write"))),
            "email": field_policies,
            "display_name": field_policies,
            **{f"fields.{name}": field_policies for name in NAMES},
        },
    ),
)
held_users = st.builds(
    User,
    id=st.just("1"),
    username=st.sampled_from(["alice", "alice2"]),
    email=addresses,
    display_name=texts,
    attributes=st.dictionaries(st.sampled_from((*NAMES, "own")), VALUES),
    email_verified=st.booleans(),
)
said_claims = st.builds(
    MappedClaims,
    username=st.sampled_from(["alice", "alice2", "one@example.org"]),
    email=addresses,
    email_verified=st.booleans(),
    display_name=texts.filter(lambda text: text != ""),
    groups=st.none(),
    attributes=st.dictionaries(st.sampled_from(NAMES), VALUES.filter(lambda value: value is not None)),
)


@given(held_users, said_claims, mappings)
def test_a_sync_writes_no_field_that_it_does_not_own(user: User, said: MappedClaims, mapping: ClaimMapping) -> None:
    changes = profile_changes(user, said, mapping)
    assert changes.roles is UNSET
    for field, held, written in (
        ("username", user.username, changes.username),
        ("email", user.email, changes.email),
        ("display_name", user.display_name, changes.display_name),
    ):
        authority = field_policy(mapping, field).authority
        if authority in {"app", "scim"} or (authority == "first_write" and held not in {None, ""}):
            assert written is UNSET
        if field_policy(mapping, field).on_missing == "keep":
            assert written is not None
    if changes.email is UNSET and changes.email_verified is not UNSET:
        # The address stays, and what changes is who vouches for it: a matter of the provider's own field.
        assert field_policy(mapping, "email").authority == "idp"
        assert user.email is not None
        assert user.email == said.email
    assert changes.email is UNSET or changes.email_verified is not UNSET
    after = user.attributes if changes.attributes is UNSET else changes.attributes
    for name in {*after, *user.attributes}:
        policy, held_value = field_policy(mapping, f"fields.{name}"), user.attributes.get(name)
        not_mine = name not in mapping.fields or policy.authority in {"app", "scim"}
        if not_mine or (policy.authority == "first_write" and held_value not in (None, "")):
            assert after.get(name) == held_value
            assert (name in after) == (name in user.attributes)


@given(held_users, said_claims, mappings)
def test_a_second_sync_writes_nothing(user: User, said: MappedClaims, mapping: ClaimMapping) -> None:
    changes = profile_changes(user, said, mapping)
    synced = User(
        user.id,
        user.username if changes.username is UNSET else changes.username,
        user.email if changes.email is UNSET else changes.email,
        user.display_name if changes.display_name is UNSET else changes.display_name,
        attributes=user.attributes if changes.attributes is UNSET else changes.attributes,
        email_verified=user.email_verified if changes.email_verified is UNSET else changes.email_verified,
    )
    assert not profile_changes(synced, said, mapping)


@given(said_claims, mappings)
def test_a_new_user_has_no_field_that_is_not_the_logins_to_write(said: MappedClaims, mapping: ClaimMapping) -> None:
    fields = new_fields(said, mapping)
    for field, value in (("email", fields.email), ("display_name", fields.display_name)):
        assert value is None or field_policy(mapping, field).authority in {"idp", "first_write"}
    assert not fields.email_verified or fields.email is not None
    for name in fields.attributes:
        assert field_policy(mapping, f"fields.{name}").authority in {"idp", "first_write"}
