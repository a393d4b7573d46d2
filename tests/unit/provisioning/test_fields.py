"""Who owns which field: what a login writes at first, and what it changes later."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jit_middleware.model import UNSET, ProfileChanges, Unset, User
from jit_middleware.provisioning.fields import new_fields, profile_changes
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.settings import ClaimMapping, FieldPolicy
from jit_middleware.settings.policy import Authority

SAID = MappedClaims(
    username="alice2",
    email="new@example.org",
    email_verified=True,
    display_name="New",
    groups=None,
    attributes={"department": "it", "office": "B"},
)
NOTHING = replace(SAID, email=None, email_verified=False, display_name=None, attributes={})
HELD = User(
    "1", "alice", "old@example.org", "Old", attributes={"department": "hr", "theme": "dark"}, email_verified=True
)
BARE = User("1", "alice")


def owned_by(authority: Authority, **more: FieldPolicy) -> ClaimMapping:
    policy = FieldPolicy(authority=authority)
    names = ("email", "display_name", "fields.department", "fields.office")
    fields = {"department": "department", "office": "office"}
    return ClaimMapping(fields=fields, policies={**dict.fromkeys(names, policy), **more})


def test_what_is_the_providers_is_written_whenever_it_differs() -> None:
    assert profile_changes(HELD, SAID, owned_by("idp")) == ProfileChanges(
        email="new@example.org",
        email_verified=True,
        display_name="New",
        attributes={"department": "it", "office": "B", "theme": "dark"},
    )


def test_what_is_the_same_is_not_written() -> None:
    same = User("1", "alice2", "new@example.org", "New", attributes=SAID.attributes, email_verified=True)
    assert not profile_changes(same, SAID, owned_by("idp"))


def test_what_the_provider_stops_saying_stays() -> None:
    assert not profile_changes(HELD, NOTHING, owned_by("idp"))


def test_what_is_to_be_cleared_goes_when_the_provider_stops_saying_it() -> None:
    clear = FieldPolicy(on_missing="clear")
    mapping = ClaimMapping(
        fields={"department": "department", "office": "office"},
        policies={"email": clear, "display_name": clear, "fields.department": clear, "fields.office": clear},
    )
    assert profile_changes(HELD, NOTHING, mapping) == ProfileChanges(
        email=None, email_verified=False, display_name=None, attributes={"theme": "dark"}
    )
    assert not profile_changes(BARE, NOTHING, mapping)


def test_what_belongs_to_the_first_who_writes_it_is_written_while_it_is_empty() -> None:
    mapping = owned_by("first_write")
    assert profile_changes(HELD, SAID, mapping) == ProfileChanges(
        attributes={"department": "hr", "office": "B", "theme": "dark"}
    )
    blank = replace(BARE, display_name="", attributes={"department": None, "office": ""})
    assert profile_changes(blank, SAID, mapping) == ProfileChanges(
        email="new@example.org", email_verified=True, display_name="New", attributes=SAID.attributes
    )
    assert not profile_changes(BARE, NOTHING, mapping)


@pytest.mark.parametrize("authority", ["app", "scim"])
def test_what_is_the_apps_or_scims_is_never_written(authority: Authority) -> None:
    mapping = owned_by(authority)
    assert not profile_changes(HELD, SAID, mapping)
    assert not profile_changes(BARE, SAID, mapping)
    fields = new_fields(SAID, mapping)
    assert (fields.username, fields.email, fields.email_verified, fields.display_name) == ("alice2", None, False, None)
    assert fields.attributes == {}


@pytest.mark.parametrize("authority", ["idp", "first_write"])
def test_a_new_user_has_what_a_login_may_write(authority: Authority) -> None:
    fields = new_fields(SAID, owned_by(authority))
    assert (fields.username, fields.email, fields.email_verified) == ("alice2", "new@example.org", True)
    assert (fields.display_name, fields.attributes) == ("New", SAID.attributes)


def test_a_username_is_given_once_unless_it_is_the_providers() -> None:
    assert profile_changes(HELD, SAID, ClaimMapping()).username is UNSET
    theirs = ClaimMapping(policies={"username": FieldPolicy(authority="idp")})
    assert profile_changes(HELD, SAID, theirs).username == "alice2"
    assert profile_changes(replace(HELD, username="alice2"), SAID, theirs).username is UNSET


@pytest.mark.parametrize(
    ("username", "email", "verified", "taken"),
    [
        ("new@example.org", "new@example.org", True, True),
        ("new@example.org", "new@example.org", False, False),
        ("root@example.org", "new@example.org", True, False),
        ("root@example.org", None, False, False),
    ],
)
def test_a_new_username_in_the_form_of_an_address_must_be_the_vouched_one(
    username: str, email: str | None, verified: bool, taken: bool
) -> None:
    theirs = ClaimMapping(policies={"username": FieldPolicy(authority="idp")})
    said = replace(SAID, username=username, email=email, email_verified=verified)
    assert (profile_changes(HELD, said, theirs).username == username) is taken


def test_an_address_takes_along_whether_somebody_vouches_for_it() -> None:
    unvouched = replace(SAID, email_verified=False)
    changes = profile_changes(HELD, unvouched, ClaimMapping())
    assert (changes.email, changes.email_verified) == ("new@example.org", False)
    kept = profile_changes(HELD, replace(unvouched, email=HELD.email), ClaimMapping())
    assert (kept.email, kept.email_verified) == (UNSET, UNSET)


@pytest.mark.parametrize(
    ("held", "said", "disowned", "after"),
    [
        (False, True, False, True),
        (True, False, True, False),
        (True, False, False, UNSET),
        (True, True, False, UNSET),
        (False, False, True, UNSET),
    ],
)
def test_an_address_that_stays_is_vouched_for_until_the_provider_says_false(
    held: bool, said: bool, disowned: bool, after: bool | Unset
) -> None:
    user = replace(HELD, email_verified=held)
    same = replace(SAID, email=HELD.email, email_verified=said, email_disowned=disowned)
    changes = profile_changes(user, same, owned_by("idp"))
    assert (changes.email, changes.email_verified) == (UNSET, after)
    for authority in ("app", "scim", "first_write"):
        assert profile_changes(user, same, owned_by(authority)).email_verified is UNSET


def test_attributes_that_are_not_mapped_are_the_apps_own() -> None:
    mapping = ClaimMapping(fields={"department": "department"})
    stray = replace(SAID, attributes={"department": "it", "theme": "light"})
    assert profile_changes(HELD, stray, mapping).attributes == {"department": "it", "theme": "dark"}


def test_a_default_fills_what_is_empty_and_leaves_what_is_to_be_kept() -> None:
    mapping = owned_by("idp")
    defaulted = replace(
        NOTHING,
        display_name="Somebody",
        attributes={"department": "none", "office": "none"},
        defaulted=frozenset({"display_name", "fields.department", "fields.office"}),
    )
    assert profile_changes(HELD, defaulted, mapping) == ProfileChanges(
        attributes={"department": "hr", "theme": "dark", "office": "none"}
    )
    clear = FieldPolicy(on_missing="clear", default="none")
    cleared = owned_by("idp", **{"display_name": clear, "fields.department": clear})
    assert profile_changes(HELD, defaulted, cleared) == ProfileChanges(
        display_name="Somebody", attributes={"department": "none", "theme": "dark", "office": "none"}
    )
